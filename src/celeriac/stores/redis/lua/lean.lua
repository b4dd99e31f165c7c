-- lean.lua: the exchange that is made most, before all that the other scripts share is even defined.
-- It ends runs that went well and leases what was simply queued: no edges, no expiry, nothing due,
-- nothing that came back. It reads first, and where anything is not so it has written nothing and
-- exchange.lua does the whole. What is written is the same (see `finish`, `lease`).
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

-- Where work is queued, by the counts: of each queue that has any its lines, the most urgent first,
-- a line being one priority of it.
local function lines_of(queues)
  local cells, found = {}, {}
  for i = 1, #queues do
    for p = 9, 0, -1 do cells[#cells + 1] = queues[i] .. '\0Q' .. p end
  end
  local counts = call('HMGET', P .. 'n', unpack(cells))
  for i = 1, #queues do
    local here = {queue = queues[i], number = i, lines = {}, at = 1}
    for p = 9, 0, -1 do
      local ready = tonumber(counts[10 * i - p] or 0)
      if ready > 0 then
        here.lines[#here.lines + 1] = {
          queue = here.queue, priority = p, ready = ready, key = here.queue .. ':' .. p,
          taken = 0, read = 0, at = 0, ids = {}, wires = {}, known = {}}
      end
    end
    if #here.lines > 0 then found[#found + 1] = here end
  end
  return found
end

-- Queues with work in their turn: those behind `last` first.
local function in_turn(found, queues, last)
  local turn, first = {}, 0
  for i = 1, #queues do
    if queues[i] == last then first = i end
  end
  for i = 1, #found do
    if found[i].number > first then turn[#turn + 1] = found[i] end
  end
  for i = 1, #found do
    if found[i].number <= first then turn[#turn + 1] = found[i] end
  end
  return turn
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

-- Read the next `most` entries of a line; false: something is not plain.
local function read_on(line, most)
  local entries = call('LRANGE', P .. 'q:' .. line.key, line.read, line.read + most - 1)
  if line.read == 0 and (#entries == 0 or call('EXISTS', P .. 'b:' .. line.key) == 1) then
    return false
  end
  local ids, keys, states, n = {}, {}, {}, #entries
  line.ids, line.entries, line.states, line.at, line.read = ids, entries, states, 0, line.read + n
  if n == 0 then return true end
  for i = 1, n do
    local id = sub(entries[i], 7)
    ids[i], keys[i], states[i] = id, P .. 'm:' .. id, P .. 't:' .. id
  end
  -- What has a state has come back, or ended.
  if call('EXISTS', unpack(states)) > 0 then return false end
  -- The last one is asked for only to be looked at, mostly; if it is long, that needs its beginning.
  if n == most and n > 1 then
    line.wires = call('MGET', unpack(keys, 1, n - 1))
    line.wires[n] = call('GETRANGE', keys[n], 0, $long - 1)
  else
    line.wires = call('MGET', unpack(keys))
  end
  line.keys = keys
  return true
end

-- The message of the entry that a line is at, whole.
local function whole(line)
  local i = line.at + 1
  local m = line.wires[i]
  if m and #m == $long then
    m = call('GET', line.keys[i])
    line.wires[i] = m
  end
  return m
end

-- The message of the entry that a line is at, the size of its base, its sequence and what leases of
-- its like have in common; nil: it is not plain.
local function look_at(line, q, nonce, name, now)
  local i, queue, priority = line.at + 1, line.queue, line.priority
  local m = line.wires[i]
  if not m or m == '' then return nil end
  if #m == $long and struct.unpack('>I', m) > $long then m = whole(line) end
  local size, _, order, flags, urgency, task, place = struct.unpack(HEAD, m)
  if band(flags, ODD) > 0 or place ~= queue or urgency ~= priority
    or order ~= struct.unpack('>I6', line.entries[i]) then return nil end
  local alike = task .. '\0' .. flags
  local as = line.known[alike]
  if as == nil then
    as = leasing(q, nonce, name, now, task, queue, flags, priority)
    line.known[alike] = as
  end
  if not as then return nil end
  return m, size, order, as
end

-- The line whose entry is the next of a queue; nil: there is none; false: something is not plain.
local function next_line(here, most)
  while here.at <= #here.lines do
    local line = here.lines[here.at]
    if line.at == #line.ids and not read_on(line, most) then return false end
    if line.at < #line.ids then return line end
    here.at = here.at + 1
  end
  return nil
end

-- What is to be written for the next leases, in `W`; false: not plain. The queues take turns, and one
-- whose head finds no room has had its turns: nothing scans past it. So of each of them the one
-- behind the last that there is room for is looked at, too.
local function read_leases(W, q, turn, nonce, name, now)
  local free, ahead, left, at = q[10], q[11], #turn, 1
  local set, n, out, o = W.set, #W.set, W.deliveries, 0
  local going = {unpack(turn)}
  while left > 0 do
    local here = going[at]
    local line = next_line(here, math.ceil((free + ahead) / left) + 1)
    if line == false then return false end
    local m, size, order, as
    if line then
      m, size, order, as = look_at(line, q, nonce, name, now)
      if not m then return false end
    end
    local begins = line and free > 0
    if begins or line and ahead > 0 and as[1] % 2 == 0 and as[2] then
      if begins then free = free - 1 else ahead = ahead - 1 end
      local i = line.at + 1
      m = whole(line)
      line.at, line.taken = i, line.taken + 1
      set[n + 1] = line.states[i]
      set[n + 2] = sub(m, 1, size) .. as[3] .. pack(order) .. as[4]
      out[o + 1], out[o + 2], out[o + 3], out[o + 4] = line.ids[i], m, '', ''
      n, o = n + 2, o + 4
      W.held[o / 4], W.last = line.ids[i], here.queue
      W.count(here.queue, as[5], 1)
      at = at + 1
    else
      table.remove(going, at)
      left = left - 1
    end
    if at > left then at = 1 end
  end
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

-- Take what was leased out of the queues; ring where there is more, and whether there is.
local function leave(W, turn)
  local more = 0
  for i = 1, #turn do
    local here, ready = turn[i], 0
    for k = 1, #here.lines do
      local line = here.lines[k]
      ready = ready + line.ready - line.taken
      if line.taken > 0 then
        call('LTRIM', P .. 'q:' .. line.key, line.taken, -1)
        W.count(here.queue, 'Q' .. line.priority, -line.taken)
      end
    end
    if ready > 0 then
      local bell = P .. 'bell:' .. here.queue
      if call('LLEN', bell) == 0 then call('RPUSH', bell, '1') end
      more = 1
    end
  end
  return more
end

local function write(W, q, turn, key, o)
  local owner, lane, ids = q[1], q[2], q[5]
  local more = leave(W, turn)
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
  local verdicts = string.rep('O', #ids)
  call('HSET', key, 'l' .. lane, pack({q[3], q[4], verdicts, more, W.held}), 'lq', W.last or '')
  if #ids > 0 then publish(ids, q[6], q[7], W.said, o) end
  return {0, more, 0, verdicts, W.deliveries, '-'}
end

-- Nothing is leased; the ring that was heard is passed on if there is work.
local function called_away(queues)
  for i = 1, #queues do
    local bell = P .. 'bell:' .. queues[i]
    if #lines_of({queues[i]}) > 0 and call('LLEN', bell) == 0 then call('RPUSH', bell, '1') end
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
  if #q[8] > 0 or o[$o_mirror] or #ids > 1000 or q[10] + q[11] > 1500
    or #queues > 400 then return nil end
  -- Looked for at once: an idle worker's exchange is counted by its commands, and finds neither.
  local odd = away == '' or call('EXISTS', away, P .. 'kn') > 0
  if odd and away ~= '' and call('EXISTS', away) == 1 then return called_away(queues) end
  local due, now = call('ZRANGE', P .. 'due', 0, 0, 'WITHSCORES')[2], nil
  if due then
    now = time()
    if tonumber(due) <= now then return nil end
  end
  local found = lines_of(queues)
  local parked = odd and call('EXISTS', P .. 'kn') == 1
  if away ~= '' and #found == 0 and not parked then
    return due and string.format('%.6f', tonumber(due) - now) or '-'
  end
  if parked and knows_parked(owner, queues) then return nil end
  local key = P .. 'w:' .. owner
  local known = call('HMGET', key, 'reg', 'l' .. lane, 'lq', 'host')
  if not known[1] or known[2] and seq <= cmsgpack.unpack(known[2])[1] then return nil end
  now = now or time()
  local counts = {}
  local W = {set = {}, gone = {}, drops = {}, unheld = {}, held = {}, deliveries = {}, said = {},
             n = counts, last = known[3]}
  W.count = function(queue, letter, by)
    local row = counts[queue]
    if not row then
      row = {}
      counts[queue] = row
    end
    row[letter] = (row[letter] or 0) + by
  end
  if #ids > 0 and not read_commits(W, ids, q[6], q[7], now, o) then return nil end
  local turn = in_turn(found, queues, known[3])
  if #turn > 0 and not read_leases(W, q, turn, owner .. '.' .. lane .. '.' .. seq,
                                   known[4] ~= '' and known[4] or owner, now) then return nil end
  return write(W, q, turn, key, o), due, now
end

local answer, due, now = exchange()
if due then answer[6] = string.format('%.6f', tonumber(due) - now) end
if answer then return answer end

end
