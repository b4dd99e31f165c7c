-- enqueue_plain: store messages that are simply queued, of one queue and priority. It stands alone.
-- KEYS[1] P · ARGV[1] "" or wall and monotonic clock, packed · ARGV[2] queue · ARGV[3] priority ·
-- ARGV[4 ...] id, then the tail of its base and its wire in one, for each; all ids differ.
-- Returns 1, or 0 with nothing stored if anything is known of one of them (see enqueue.lua).
-- Honours maxmemory: a full server refuses the first write.

local call, P, queue, priority = redis.call, KEYS[1], ARGV[2], ARGV[3]
local n = (#ARGV - 3) / 2

local known = {}
for i = 1, n do
  local id, at = ARGV[2 + 2 * i], 4 * i
  known[at - 3], known[at - 2] = P .. 'm:' .. id, P .. 't:' .. id
  known[at - 1], known[at] = P .. 'rd:' .. id, P .. 'rv:' .. id
end
for from = 1, 4 * n, 4000 do
  if call('EXISTS', unpack(known, from, math.min(from + 3999, 4 * n))) > 0 then return 0 end
end

local now
if ARGV[1] == '' then
  local time = call('TIME')
  now = time[1] + time[2] / 1000000
else
  now = struct.unpack('>d', ARGV[1])
end
local last = call('INCRBY', P .. 'seq', n)
local values, entries, chunks = {}, {}, {}
for i = 1, n do
  local order, id, rest = last - n + i, ARGV[2 + 2 * i], ARGV[3 + 2 * i]
  local size = struct.unpack('>I', rest)
  values[2 * i - 1] = known[4 * i - 3]
  values[2 * i] = struct.pack('>Idd', 20 + size, now, order) .. string.sub(rest, 5)
  entries[i] = struct.pack('>I6', order) .. id
  local chunk = math.floor(order / 4096)
  chunks[chunk] = chunks[chunk] or {}
  table.insert(chunks[chunk], id)
end
for from = 1, 2 * n, 4000 do call('MSET', unpack(values, from, math.min(from + 3999, 2 * n))) end
for from = 1, n, 4000 do
  call('RPUSH', P .. 'q:' .. queue .. ':' .. priority,
       unpack(entries, from, math.min(from + 3999, n)))
end
for chunk, ids in pairs(chunks) do
  for from = 1, #ids, 4000 do
    call('RPUSH', P .. 'o:' .. chunk, unpack(ids, from, math.min(from + 3999, #ids)))
  end
end
call('HINCRBY', P .. 'n', queue .. '\0Q' .. priority, n)
local bell = P .. 'bell:' .. queue
if call('LLEN', bell) == 0 then call('RPUSH', bell, '1') end
return 1
