-- enqueue_plain: store messages that are simply queued, of one queue and priority. It stands alone:
-- functions shared with enqueue_members would be made anew at each call, which costs a call for one
-- message a twelfth of the script's time.
-- KEYS[1] P · ARGV[1] "" or wall and monotonic clock, packed · ARGV[2] queue · ARGV[3] priority ·
-- ARGV[4 ...] id, then its base and its wire in one, for each; all ids differ. Time and number are
-- filled in here: in the base's first 20 bytes, behind its size.
-- Returns 1, or 0 with nothing stored if anything is known of one of them (see enqueue.lua).
-- Honours maxmemory: a full server refuses the first write.

local call, P, queue, priority = redis.call, KEYS[1], ARGV[2], ARGV[3]
local n = (#ARGV - 3) / 2

-- Nearly always all of them are new. Who refers to one, or revoked it, before it came is asked for
-- one by one only if there is anybody.
local kinds, keys = {'m:', 't:', 'rv:', 'rd:'}, {}
if n > 1 and call('EXISTS', P .. 'rvs', P .. 'refs') == 0 then kinds = {'m:', 't:'} end
for k = 1, #kinds do
  local kind = P .. kinds[k]
  for i = 1, n do keys[(k - 1) * n + i] = kind .. ARGV[2 + 2 * i] end
end
for from = 1, #keys, 4000 do
  if call('EXISTS', unpack(keys, from, math.min(from + 3999, #keys))) > 0 then return 0 end
end

local now
if ARGV[1] == '' then
  local time = call('TIME')
  now = time[1] + time[2] / 1000000
else
  now = struct.unpack('>d', ARGV[1])
end
local last = call('INCRBY', P .. 'seq', n)
local values, entries, chunks, long = {}, {}, {}, {}
for i = 1, n do
  local order, id, whole = last - n + i, ARGV[2 + 2 * i], ARGV[3 + 2 * i]
  local filled = struct.pack('>dd', now, order)
  values[2 * i - 1] = keys[i]
  if #whole > $long then  -- Lua takes a nanosecond for each byte of a string that it makes
    values[2 * i], long[#long + 1], long[#long + 2] = whole, keys[i], filled
  else
    values[2 * i] = string.sub(whole, 1, 4) .. filled .. string.sub(whole, 21)
  end
  entries[i] = struct.pack('>I6', order) .. id
  local chunk = math.floor(order / 4096)
  local ids = chunks[chunk]
  if not ids then
    ids = {}
    chunks[chunk] = ids
  end
  ids[#ids + 1] = id
end

-- What can fail is a key of another program's under one of our names, of another type. A script is
-- not rolled back, so these come before the messages, and a later one takes the earlier ones back.
local bell, line = P .. 'bell:' .. queue, P .. 'q:' .. queue .. ':' .. priority
local silent = call('LLEN', bell) == 0
local count, pushed = queue .. '\0Q' .. priority, {}
call('HINCRBY', P .. 'n', count, n)
local function push(key, list)
  for from = 1, #list, 4000 do
    local to = math.min(from + 3999, #list)
    local reply = redis.pcall('RPUSH', key, unpack(list, from, to))
    if type(reply) == 'table' then
      for j = 1, #pushed do call('RPOP', pushed[j][1], pushed[j][2]) end
      call('HINCRBY', P .. 'n', count, -n)
      return reply
    end
    pushed[#pushed + 1] = {key, to - from + 1}
  end
end
local refused = push(line, entries)
for chunk, ids in pairs(chunks) do refused = refused or push(P .. 'o:' .. chunk, ids) end
if refused then return refused end
for from = 1, 2 * n, 4000 do call('MSET', unpack(values, from, math.min(from + 3999, 2 * n))) end
for i = 1, #long, 2 do call('SETRANGE', long[i], 4, long[i + 1]) end
if silent then call('RPUSH', bell, '1') end
return 1
