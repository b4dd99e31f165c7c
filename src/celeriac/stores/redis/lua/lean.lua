-- lean.lua: the exchange that is made most, before all that the other scripts share is even defined.
-- It ends runs that went well and leases what was simply queued: no edges, no expiry, nothing due, one
-- queue at one priority with work in it. It reads first, and where anything is not so it has written
-- nothing and exchange.lua does the whole. What is written is the same (see `finish`, `lease`).
--
-- Records that were leased together differ in base and sequence alone. So their states are not
-- unpacked one by one: what stands before and behind the sequence is worked out once for all alike.

do

local call, sub, byte = redis.call, string.sub, string.byte
local pack, band = cmsgpack.pack, bit.band
local P = KEYS[1]
local HEAD = '>IddBBHc0Hc0'            -- as in step.lua, up to the queue
local ARRAY = '\220\0' .. string.char($last)  -- the MessagePack mark of a state
local WIDTH = {[204] = 2, [205] = 3, [206] = 5, [207] = 9}  -- of a number, by its first byte
local ODD = 1 + 4                      -- flags: it expires, it has edges
local FORGET, BODY, SHRUNK = 1, 8, 16

-- A state's packed fields before and behind its sequence.
local function before(v) return ARRAY .. pack(unpack(v, 1, $sequence - 1)) end
local function behind(v) return pack(unpack(v, $sequence + 1, $last)) end

-- What the end of runs of a kind makes of a state that reads `v`: {fields behind its sequence, the
-- beginning of the news, when it is dropped|false, queue, cell}; false: it is not plain.
local function ending(v, kind, now, o)
  if #v ~= $last or band(v[$flags], ODD) > 0 or v[$expires] or v[$special] ~= 0
    or v[$progress] ~= 0 or v[$due] then return false end
  local forget, has_body = kind[5] == 1, kind[6] == 1
  local kept = forget and o[$o_tombstone_expires] or not forget and o[$o_result_expires]
  if kept and band(v[$flags], 8) > 0 then kept = math.max(kept, o[$o_revoke_expires]) end
  local cell = v[$state]
  v[$reason], v[$cause], v[$ended], v[$drop] = kind[4], '', now, kept and now + kept
  v[$special] = forget and FORGET + SHRUNK or has_body and BODY or 0
  return {behind(v), struct.pack('>BIdBHc0', byte('s'), v[$retries], now,
                                 (has_body and not forget) and 1 or 0, #kind[4], kind[4]),
          v[$drop], v[$queue], cell}
end

-- What is to be written for the commits, in `W`; false: not plain.
local function read_commits(W, ids, which, kinds, now, o)
  local heads, known, owners, keys, seen = {}, {}, {}, {}, {}
  for k = 1, #kinds do
    local kind = kinds[k]
    local attempt, nonce = kind[1], kind[2]
    local owner = string.match(nonce, '^(.*)%.[^.]*%.[^.]*$')
    if kind[3] ~= 's' or kind[7] ~= '' or kind[10] or #kind[11] > 0 or not owner then return false end
    heads[k] = {before({'L', attempt, nonce, ''}), before({'R', attempt, nonce, ''}),
                before({'s', attempt, '', attempt .. ' ' .. nonce})}
    known[k] = {}
    W.unheld[owner] = W.unheld[owner] or {}
    owners[k] = W.unheld[owner]
  end
  for i = 1, #ids do
    if seen[ids[i]] then return false end
    seen[ids[i]] = true
    keys[i] = P .. 't:' .. ids[i]
  end
  local found = call('MGET', unpack(keys))
  local set, n, gone, drops, d = W.set, #W.set, W.gone, W.drops, 0
  for i = 1, #ids do
    local id, k, packed = ids[i], which[i], found[i]
    if not packed then return false end
    local head, size = heads[k], struct.unpack('>I', packed)
    local at = size + #head[1]
    local front = sub(packed, size + 1, at)
    if front ~= head[1] and front ~= head[2] then return false end
    local upto = at + (WIDTH[byte(packed, at + 1)] or 1)
    local tail = front .. sub(packed, upto + 1)
    local ends = known[k][tail]
    if ends == nil then
      ends = ending(cmsgpack.unpack(sub(packed, size + 1)), kinds[k], now, o)
      known[k][tail] = ends
    end
    if not ends then return false end
    set[n + 1] = keys[i]
    set[n + 2] = sub(packed, 1, size) .. head[3] .. sub(packed, at + 1, upto) .. ends[1]
    n = n + 2
    if kinds[k][5] == 1 then
      gone[#gone + 1] = P .. 'm:' .. id
    elseif kinds[k][6] == 1 then
      set[n + 1], set[n + 2] = P .. 'r:' .. id, ARGV[3 + i]
      n = n + 2
    end
    if ends[3] then
      drops[d + 1], drops[d + 2] = ends[3], id
      d = d + 2
    end
    owners[k][#owners[k] + 1] = id
    W.count(ends[4], ends[5], -1)
    W.count(ends[4], 's', 1)
    W.said[i] = ends[2]
  end
  return true
end

-- Where work is queued: {queue, priority, how much}; nil: nowhere; false: in more than one place.
local function line_of(queues)
  local line
  for i = 1, #queues do
    local cells = {}
    for p = 0, 9 do cells[p + 1] = queues[i] .. '\0Q' .. p end
    local found = call('HMGET', P .. 'n', unpack(cells))
    for p = 0, 9 do
      local ready = tonumber(found[p + 1] or 0)
      if ready > 0 then
        if line then return false end
        line = {queues[i], p, ready}
      end
    end
  end
  return line
end

-- Whether something is parked that this owner knows.
local function knows_parked(owner, queues)
  local names = call('HKEYS', P .. 'kn')
  for i = 1, #names do
    local at = string.find(names[i], '\0', 1, true)
    for k = 1, #queues do
      if queues[k] == sub(names[i], 1, at - 1)
        and call('HEXISTS', P .. 'w:' .. owner .. ':n', sub(names[i], at + 1)) == 1 then
        return true
      end
    end
  end
  return false
end

-- What leases of one task's records have in common: {stamp, brief, fields before the sequence, those
-- behind it, state}; false: this owner does not know the name.
local function leasing(q, nonce, name, now, task, queue, flags, priority)
  local stamp = tonumber(call('HGET', P .. 'w:' .. q[1] .. ':n', task) or nil)
  if not stamp then return false end
  local begun = stamp % 2 == 1
  local state = begun and 'R' or 'L'
  local v = {state, 1, nonce, '', 0, 0, 0, 0, 0, stamp, now, begun and now, false, false, false,
             false, '', '', 0, false, name, 0, false, queue, flags, priority}
  return {stamp, string.find(q[12], '\0' .. task .. '\0', 1, true) ~= nil, before(v), behind(v),
          state}
end

-- What is to be written for the next leases, in `W`; false: not plain.
local function read_leases(W, q, line, nonce, name, now)
  local queue, free, ahead, P_m, P_t = line[1], q[10], q[11], P .. 'm:', P .. 't:'
  local at = queue .. ':' .. line[2]
  -- The one behind the last that there is room for is looked at, too.
  local entries = call('LRANGE', P .. 'q:' .. at, 0, free + ahead)
  if #entries == 0 or call('EXISTS', P .. 'b:' .. at) == 1 then return false end
  local keys, states, known = {}, {}, {}
  for i = 1, #entries do
    local id = sub(entries[i], 7)
    W.held[i], keys[i], states[i] = id, P_m .. id, P_t .. id
  end
  -- What has a state has come back, or ended.
  if call('EXISTS', unpack(states)) > 0 then return false end
  local wires = call('MGET', unpack(keys))
  local set, n, out = W.set, #W.set, W.deliveries
  for i = 1, #entries do
    local m = wires[i]
    if not m then return false end
    local size, _, order, flags, priority, task, place = struct.unpack(HEAD, m)
    if band(flags, ODD) > 0 or place ~= queue or priority ~= line[2]
      or order ~= struct.unpack('>I6', entries[i]) then return false end
    local alike = task .. '\0' .. flags
    local as = known[alike]
    if as == nil then
      as = leasing(q, nonce, name, now, task, queue, flags, priority)
      known[alike] = as
    end
    if not as then return false end
    if free > 0 then
      free = free - 1
    elseif ahead > 0 and as[1] % 2 == 0 and as[2] then
      ahead = ahead - 1
    else
      -- Nothing scans past a head that finds no room.
      for k = i, #entries do W.held[k] = nil end
      break
    end
    set[n + 1], set[n + 2] = states[i], sub(m, 1, size) .. as[3] .. pack(order) .. as[4]
    n = n + 2
    W.count(queue, as[5], 1)
    local o = 4 * i
    out[o - 3], out[o - 2], out[o - 1], out[o] = W.held[i], m, '', ''
  end
  local taken = #W.held
  if taken > 0 then W.count(queue, 'Q' .. line[2], -taken) end
  line[3], W.list, W.taken = line[3] - taken, P .. 'q:' .. at, taken
  return true
end

local function in_parts(command, key, list)
  for from = 1, #list, 4000 do
    if key then
      call(command, key, unpack(list, from, math.min(from + 3999, #list)))
    else
      call(command, unpack(list, from, math.min(from + 3999, #list)))
    end
  end
end

-- As `publish` of step.lua.
local function publish(ids, which, kinds, said, o)
  local channels, n, heard = {}, #ids, nil
  for i = 1, n do channels[i] = P .. 'done:' .. ids[i] end
  if n > 4 and not o[$o_cluster] then
    heard = redis.pcall('PUBSUB', 'NUMSUB', unpack(channels))
    if heard.err then heard = nil end
  end
  for i = 1, n do
    if not heard or heard[2 * i] > 0 then
      local kind, body = kinds[which[i]], ARGV[3 + i]
      local news = said[i]
      if kind[6] == 1 then
        if #body > 4096 then news = '' elseif kind[5] == 0 then news = news .. body end
      end
      call('PUBLISH', channels[i], news)
    end
  end
end

local function write(W, q, line, key, o)
  local owner, lane, ids = q[1], q[2], q[5]
  if W.taken > 0 then call('LTRIM', W.list, W.taken, -1) end
  in_parts('UNLINK', nil, W.gone)
  in_parts('MSET', nil, W.set)
  for each, held in pairs(W.unheld) do in_parts('SREM', P .. 'h:' .. each, held) end
  in_parts('SADD', P .. 'h:' .. owner, W.held)
  in_parts('ZADD', P .. 'drop', W.drops)
  for queue, row in pairs(W.n) do
    for letter, by in pairs(row) do
      if by ~= 0 then call('HINCRBY', P .. 'n', queue .. '\0' .. letter, by) end
    end
  end
  local more, verdicts = line and line[3] > 0, string.rep('O', #ids)
  call('HSET', key, 'l' .. lane, pack({q[3], q[4], verdicts, more and 1 or 0, W.held}), 'lq',
       W.taken > 0 and line[1] or W.last or '')
  if more then
    local bell = P .. 'bell:' .. line[1]
    if call('LLEN', bell) == 0 then call('RPUSH', bell, '1') end
  end
  if #ids > 0 then publish(ids, q[6], q[7], W.said, o) end
  return {0, more and 1 or 0, 0, verdicts, W.deliveries, '-'}
end

-- Nothing is leased; the ring that was heard is passed on if there is work.
local function called_away(queues)
  for i = 1, #queues do
    local bell = P .. 'bell:' .. queues[i]
    if line_of({queues[i]}) ~= nil and call('LLEN', bell) == 0 then call('RPUSH', bell, '1') end
  end
  return '!'
end

local function time()
  if ARGV[1] ~= '' then return (struct.unpack('>d', ARGV[1])) end
  local now = call('TIME')
  return now[1] + now[2] / 1000000
end

local function exchange()
  local q, o = cmsgpack.unpack(ARGV[3]), cmsgpack.unpack(ARGV[2])
  local owner, lane, seq, ids, queues, away = q[1], q[2], q[3], q[5], q[9], q[13]
  if #q[8] > 0 or o[$o_mirror] or #ids > 1000 or q[10] + q[11] > 1500 then return nil end
  if away ~= '' and call('EXISTS', away) == 1 then return called_away(queues) end
  local due, now = call('ZRANGE', P .. 'due', 0, 0, 'WITHSCORES')[2], nil
  if due then
    now = time()
    if tonumber(due) <= now then return nil end
  end
  local line = line_of(queues)
  if line == false then return nil end
  local parked = call('EXISTS', P .. 'kn') == 1
  if away ~= '' and not line and not parked then
    return due and string.format('%.6f', tonumber(due) - now) or '-'
  end
  if parked and knows_parked(owner, queues) then return nil end
  local key = P .. 'w:' .. owner
  local known = call('HMGET', key, 'reg', 'l' .. lane, 'lq', 'host')
  if not known[1] or known[2] and seq <= cmsgpack.unpack(known[2])[1] then return nil end
  now = now or time()
  local counts = {}
  local W = {set = {}, gone = {}, drops = {}, unheld = {}, held = {}, deliveries = {}, said = {},
             n = counts, taken = 0, last = known[3]}
  W.count = function(queue, letter, by)
    local row = counts[queue]
    if not row then
      row = {}
      counts[queue] = row
    end
    row[letter] = (row[letter] or 0) + by
  end
  if #ids > 0 and not read_commits(W, ids, q[6], q[7], now, o) then return nil end
  if line and not read_leases(W, q, line, owner .. '.' .. lane .. '.' .. seq,
                              known[4] ~= '' and known[4] or owner, now) then return nil end
  return write(W, q, line, key, o), due, now
end

local answer, due, now = exchange()
if due then answer[6] = string.format('%.6f', tonumber(due) - now) end
if answer then return answer end

end
