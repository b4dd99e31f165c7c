-- enqueue_members: store parts of a workflow that are simply queued, of one queue and priority, perhaps
-- members of an open join; none of them waits, is due later, expires, or refers to another. It stands
-- alone, as enqueue_plain does.
-- KEYS[1] P · ARGV[1] "" or wall and monotonic clock, packed · ARGV[2] join or "" · ARGV[3] queue ·
-- ARGV[4] priority · ARGV[5] workflow · ARGV[6 ...] id, then its base and its wire in one, as
-- enqueue_plain takes them, for each; all ids differ.
-- Returns 1, or 0 with nothing stored where the join is not simply open, or anything is known of one
-- of them: enqueue.lua does the whole then, and writes the same.
-- Honours maxmemory: a full server refuses the first write.

local call, P = redis.call, KEYS[1]
local join, queue, priority, flow = P .. 'j:' .. ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local n = (#ARGV - 5) / 2

local joined, arrived = ARGV[2] ~= '', 0
if joined then
  local known = call('HMGET', join, 'body', 'size', 'decided', 'arrived')
  if not known[1] or known[2] or known[3] then return 0 end
  arrived = tonumber(known[4]) or 0
end
if call('EXISTS', P .. 'rvs') > 0 then return 0 end
-- Who refers to one before it came is asked for only if there is anybody.
local prefixes, keys = {'m:', 't:', 'rd:', 'pa:'}, {}
if call('EXISTS', P .. 'refs') == 0 then prefixes = {'m:', 't:'} end
for k = 1, #prefixes do
  local kind = P .. prefixes[k]
  for i = 1, n do keys[(k - 1) * n + i] = kind .. ARGV[4 + 2 * i] end
end
for from = 1, #keys, 4000 do
  if call('EXISTS', unpack(keys, from, math.min(from + 3999, #keys))) > 0 then return 0 end
end

local now, mono
if ARGV[1] == '' then
  local time = call('TIME')
  now = time[1] + time[2] / 1000000
  mono = now
else
  now, mono = struct.unpack('>dd', ARGV[1])
end
local last = tonumber(call('GET', P .. 'seq') or 0) + n
local values, entries, parts, chunks, long = {}, {}, {}, {}, {}
for i = 1, n do
  local order, id, whole = last - n + i, ARGV[4 + 2 * i], ARGV[5 + 2 * i]
  local filled = struct.pack('>dd', now, order)
  values[2 * i - 1] = keys[i]
  if #whole > $long then  -- as in enqueue_plain
    values[2 * i], long[#long + 1], long[#long + 2] = whole, keys[i], filled
  else
    values[2 * i] = string.sub(whole, 1, 4) .. filled .. string.sub(whole, 21)
  end
  entries[i] = struct.pack('>I6', order) .. id
  parts[2 * i - 1], parts[2 * i] = order, id
  local chunk = math.floor(order / 4096)
  local ids = chunks[chunk]
  if not ids then
    ids = {}
    chunks[chunk] = ids
  end
  ids[#ids + 1] = id
end

-- A script is not rolled back: another program's key of another type is looked for before anything is
-- written. The general script would stop half way.
local bell, line = P .. 'bell:' .. queue, P .. 'q:' .. queue .. ':' .. priority
local kinds = {[bell] = 'list', [line] = 'list', [P .. 'fl:' .. flow] = 'zset',
               [P .. 'jopen'] = 'zset', [P .. 'n'] = 'hash'}
for chunk in pairs(chunks) do kinds[P .. 'o:' .. chunk] = 'list' end
for key, kind in pairs(kinds) do
  local found = call('TYPE', key).ok
  if found ~= 'none' and found ~= kind then
    return redis.error_reply('WRONGTYPE Operation against a key holding the wrong kind of value')
  end
end

local function in_parts(command, list, key)
  for from = 1, #list, 4000 do
    local to = math.min(from + 3999, #list)
    if key then
      call(command, key, unpack(list, from, to))
    else
      call(command, unpack(list, from, to))
    end
  end
end

if joined then
  call('HSET', join, 'touched', mono, 'arrived', arrived + n)
  call('ZADD', P .. 'jopen', mono, ARGV[2])
end
call('SET', P .. 'seq', last)
in_parts('MSET', values)
for i = 1, #long, 2 do call('SETRANGE', long[i], 4, long[i + 1]) end
in_parts('RPUSH', entries, line)
for chunk, ids in pairs(chunks) do in_parts('RPUSH', ids, P .. 'o:' .. chunk) end
in_parts('ZADD', parts, P .. 'fl:' .. flow)
call('HINCRBY', P .. 'n', queue .. '\0Q' .. priority, n)
if call('LLEN', bell) == 0 then call('RPUSH', bell, '1') end
return 1
