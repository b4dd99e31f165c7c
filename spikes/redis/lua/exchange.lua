-- celeriac_exchange: commit outcomes, note starts, promote what is due, lease the next batch.
--   KEYS[1] P   ARGV[1] packed [owner, lane, seq, commits, started, queues, free, ahead,
--               {brief name: true}]; ARGV[2...] bodies and messages, by index
--     commit [id, attempt, nonce, state, body index|false, keep, reason, due ms|0, delay ms,
--             charge, message index|false]      start [id, attempt, nonce]
--   Returns [lost 0|1, more 0|1, verdicts as one string of O A F, deliveries], a delivery being
--     [id, attempt, wire, queue, retries, crashes, losses, input|""]; their nonce is
--     "owner.lane.seq" by construction and not sent. Error: SEQ last.

local function fence_of(rec, id, attempt, nonce)
  if not rec then return 'F' end
  if HELD[rec.v.s] and rec.v.n == nonce and tonumber(rec.v.a) == attempt then return 'O' end
  if rec.v.f == attempt .. ' ' .. nonce then return 'A' end
  return 'F'
end

local function count(S, rec, field)
  put(S, rec, field, (tonumber(rec.v[field]) or 0) + 1)
end

local function apply(S, rec, c)
  local state, body = c[4], c[5] and S.args[c[5]] or nil
  put(S, rec, 'f', c[2] .. ' ' .. c[3])
  if OVER[state] then
    finish(S, rec, state, c[7], '', body, c[6])
    return
  end
  if c[11] then
    rec.wire, rec.head = S.args[c[11]], nil
    set(S, S.P .. 'm:' .. rec.id, rec.wire)
  end
  if rec.v.rv then
    finish(S, rec, 'c', 'TaskRevokedError: revoked', '', nil, true)
    return
  end
  if c[7] ~= '' then set(S, S.P .. 'r:' .. rec.id, c[7] .. '\n' .. (body or '')) end
  forget_lease(S, rec)
  drop(S, rec, 'p')
  if c[10] == 'retry' then count(S, rec, 'rt') end
  if c[10] == 'crash' then count(S, rec, 'cr') end
  if state == 'W' then
    put(S, rec, 's', 'W')
  else
    local h = head(S, rec)
    place(S, rec, h.queue, h.priority, state == 'S' and math.max(c[8], S.now + c[9]) or nil)
  end
end

-- A source of candidates: what the list holds, then what this very step is about to push to it.
local function source(S, queue, priority, key, count)
  local ids = redis.call('LRANGE', key, 0, count - 1)
  local stored, coming = #ids, S.lists[key]
  if coming and stored < count then
    for i = 3, #coming do
      ids[#ids + 1] = coming[i]
      coming[i] = nil
    end
  end
  return {queue = queue, priority = priority, key = key, ids = ids, at = 0, stored = stored}
end

local function sources_of(S, queue, priorities, count)
  local found = {}
  local back = redis.call('ZRANGE', S.P .. 'b:' .. queue, 0, count - 1, 'WITHSCORES')
  local per = {}
  for i = 1, #back, 2 do
    local p = 9 - math.floor(tonumber(back[i + 1]) / BAND)
    per[p] = per[p] or {}
    table.insert(per[p], back[i])
  end
  for p = 9, 0, -1 do
    if per[p] then
      found[#found + 1] = {queue = queue, priority = p, key = S.P .. 'b:' .. queue, ids = per[p],
                           at = 0}
    end
    if string.find(priorities, p, 1, true) then
      local s = source(S, queue, p, S.P .. 'q:' .. queue .. ':' .. p, count)
      if #s.ids > 0 then found[#found + 1] = s end
    end
  end
  return found
end

local function load_batch(S, source)
  local keys = {'MGET'}
  for i, id in ipairs(source.ids) do keys[i + 1] = S.P .. 'm:' .. id end
  source.wires = #keys > 1 and redis.call(unpack(keys)) or {}
  prefetch(S, source.ids)
end

-- Lease one candidate. Returns 'taken', 'skip' (stale, ended or parked) or 'stop' (no room for it).
local function lease_one(S, W, source, id, wire)
  if not wire then return 'skip' end
  local rec = record(S, id, true)
  if rec.v.s ~= 'Q' then return 'skip' end
  rec.wire = rec.wire or wire
  local h = head(S, rec)
  if (h.queue or 'celery') ~= source.queue then return 'skip' end
  if rec.v.x and tonumber(rec.v.x) <= S.now then
    finish(S, rec, 'x', 'TaskRevokedError: expired', '', nil, true)
    return 'skip'
  end
  local name = h.task or ''
  local stamp = W.known[name]
  if stamp == nil then
    stamp = redis.call('HGET', S.P .. 'w:' .. W.owner .. ':n', name)
    W.known[name] = stamp
  end
  if not stamp then
    local place_of = source.queue .. ' ' .. name
    put(S, rec, 'pk', 1)
    push(S, S.P .. 'k:' .. place_of, id)
    write(S, 'HSET', S.P .. 'kp', place_of, 1)
    return 'skip'
  end
  if W.free <= 0 then
    local fit = W.ahead > 0 and W.brief[name] and not rec.v.cr and not rec.v.lo
      and tonumber(stamp) % 2 == 0
    if not fit then return 'stop' end
    W.ahead = W.ahead - 1
  else
    W.free = W.free - 1
  end
  local attempt = (tonumber(rec.v.a) or 0) + 1
  local v = rec.v
  put(S, rec, 's', (tonumber(stamp) % 2 == 1) and 'R' or 'L')
  v.a, v.n, v.at = attempt, W.nonce, S.now
  if stamp ~= '0' then put(S, rec, 'st', stamp) end
  if not rec.v.p then
    W.taken = W.taken + 1
    put(S, rec, 'p', W.sequence + W.taken)
  end
  if not rec.v.sn then put(S, rec, 'sn', h.nonce) end
  drop(S, rec, 'pk')
  local input = ''
  if h.edges and h.edges.takes then
    local before = S.recs[h.edges.takes]
    local body = before and before.body  -- its commit is in this very step
    if not body then
      local packed = redis.call('GET', S.P .. 'r:' .. h.edges.takes)
      body = packed and string.match(packed, '\n(.*)$')
    end
    if body and #body <= 65536 then input = body end
  end
  W.held[#W.held + 1] = id
  W.deliveries[#W.deliveries + 1] = {id, attempt, rec.wire, source.queue, tonumber(rec.v.rt) or 0,
                                     tonumber(rec.v.cr) or 0, tonumber(rec.v.lo) or 0, input}
  return 'taken'
end

local function drain(S, W, source, most)
  if not source.wires then load_batch(S, source) end
  local took = 0
  while source.at < #source.ids and took < most do
    if W.free <= 0 and W.ahead <= 0 then return 'full' end
    local i = source.at + 1
    local what = lease_one(S, W, source, source.ids[i], source.wires[i])
    if what == 'stop' then return 'stop' end
    source.at = i
    if what == 'taken' then took = took + 1 end
  end
  return source.at < #source.ids and 'more' or 'empty'
end

local function settle(S, source)
  if source.stored then
    local at = math.min(source.at, source.stored)
    if at > 0 then write(S, 'LTRIM', source.key, at, -1) end
    for i = math.max(source.at, source.stored) + 1, #source.ids do
      push(S, source.key, source.ids[i])
    end
  elseif source.at > 0 then
    write(S, 'ZREM', source.key, unpack(source.ids, 1, source.at))
  end
end

local function lease(S, W, queues, turn)
  local want, more = W.free + W.ahead, 0
  if redis.call('HLEN', S.P .. 'kp') > 0 then
    for _, place_of in ipairs(redis.call('HKEYS', S.P .. 'kp')) do
      local queue, name = string.match(place_of, '^(%S+) (.+)$')
      if redis.call('HEXISTS', S.P .. 'w:' .. W.owner .. ':n', name) == 1 then
        local s = source(S, queue, 0, S.P .. 'k:' .. place_of, want)
        if #s.ids < want then write(S, 'HDEL', S.P .. 'kp', place_of) end
        drain(S, W, s, want)
        if s.at < #s.ids then write(S, 'HSET', S.P .. 'kp', place_of, 1) end
        settle(S, s)
      end
    end
  end
  local used = redis.call('HMGET', S.P .. 'qs', unpack(queues))
  local lanes = {}
  for k = 1, #queues do
    local i = (turn + k) % #queues + 1
    lanes[k] = used[i] and sources_of(S, queues[i], used[i], want) or {}
  end
  local open, share = true, #queues == 1 and want or 1
  while open and (W.free > 0 or W.ahead > 0) do
    open = false
    for k = 1, #lanes do
      local s = lanes[k][1]
      if s then
        local what = drain(S, W, s, share)
        if what == 'empty' then
          settle(S, s)
          table.remove(lanes[k], 1)
          open = open or #lanes[k] > 0
        elseif what == 'more' then
          open = true
        else  -- its head finds no room: nothing scans past the head
          for _, left in ipairs(lanes[k]) do settle(S, left) end
          lanes[k] = {}
          more = 1
        end
      end
    end
  end
  for k = 1, #lanes do
    for _, s in ipairs(lanes[k]) do
      settle(S, s)
      more = 1
    end
  end
  if want > 0 and W.free <= 0 and W.ahead <= 0 then more = 1 end
  return more
end

local function again(S, W)
  for _, id in ipairs(redis.call('SMEMBERS', S.P .. 'h:' .. W.owner)) do
    local rec = record(S, id)
    if rec and HELD[rec.v.s] and rec.v.n == W.nonce then
      local wire = redis.call('GET', S.P .. 'm:' .. id)
      rec.wire = wire
      W.deliveries[#W.deliveries + 1] = {id, tonumber(rec.v.a), wire, head(S, rec).queue or 'celery',
        tonumber(rec.v.rt) or 0, tonumber(rec.v.cr) or 0, tonumber(rec.v.lo) or 0, ''}
    end
  end
end

local function exchange(keys, args)
  local S = begin(keys)
  local q = cmsgpack.unpack(args[1])
  local owner, lane, seq, commits, started = q[1], q[2], q[3], q[4], q[5]
  S.args = args
  local nonce = owner .. '.' .. lane .. '.' .. seq
  local known = redis.call('HMGET', S.P .. 'w:' .. owner, 'reg', 'l' .. lane)
  local last = tonumber(known[2]) or -1
  if known[1] and seq < last then return redis.error_reply('SEQ ' .. last) end
  local verdicts, ids = {}, {}
  for i = 1, #commits do ids[i] = commits[i][1] end
  for i = 1, #started do ids[#ids + 1] = started[i][1] end
  prefetch(S, ids)
  for i = 1, #commits do
    local c = commits[i]
    local rec = record(S, c[1])
    local verdict = fence_of(rec, c[1], c[2], c[3])
    if verdict == 'O' then apply(S, rec, c) end
    verdicts[i] = verdict
  end
  for i = 1, #started do
    local f = started[i]
    local rec = record(S, f[1])
    if fence_of(rec, f[1], f[2], f[3]) == 'O' and rec.v.s == 'L' then
      put(S, rec, 's', 'R')
      put(S, rec, 'sa', S.now)
    end
  end
  cascade(S)
  promote(S, 200)
  -- What this step made ready can be leased in it: `source` looks at the lists not yet written.
  local W = {owner = owner, nonce = nonce, free = q[7], ahead = q[8], brief = q[9], known = {},
             deliveries = {}, held = {}, taken = 0}
  local more = next(S.rings) and 1 or 0
  if known[1] then
    if seq == last then
      again(S, W)
    else
      W.sequence = tonumber(redis.call('GET', S.P .. 'seq')) or 0
      if W.free + W.ahead > 0 then more = math.max(more, lease(S, W, q[6], seq)) end
      write(S, 'HSET', S.P .. 'w:' .. owner, 'l' .. lane, seq)
      if W.taken > 0 then write(S, 'INCRBY', S.P .. 'seq', W.taken) end
    end
  end
  cascade(S)  -- what was found expired at a head
  if #W.held > 0 then write(S, 'SADD', S.P .. 'h:' .. owner, unpack(W.held)) end
  flush_leases(S)
  flush(S)
  return {known[1] and 0 or 1, more, table.concat(verdicts), W.deliveries}
end

redis.register_function{function_name = 'celeriac_exchange', callback = exchange,
                        flags = {'allow-oom'}}
