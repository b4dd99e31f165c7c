-- step.lua: what all scripts but the lean one share: a step, its records, its places.
--
-- Every script has KEYS[1] = P, the prefix of all keys, whose hash tag holds them on one node;
-- ARGV[1] = "" (the server's clock decides) or wall and monotonic clock as two packed doubles (a
-- test drives the clock); ARGV[2] = the options, packed (scripts.py). A name behind a dollar sign is
-- the place of a
-- field in a packed state, put in by scripts.py.
--
-- Keys:
--   m:ID        string  base and wire of a message; see `decode`
--   t:ID        string  base and packed state; absent while a record is simply queued
--   r:ID        string  body of the result          p:ID  string  what `update` set
--   q:QUEUE:P   list    entries (sequence as 6 bytes, id) at priority P, in order of sequence
--   b:QUEUE:P   zset    ids that came back with their old sequence
--   k:QUEUE\0N  zset    parked ids whose task N no worker knew; kn hash: "QUEUE\0N" -> how many
--   due exp drop zset   id -> when it is due, expires, is dropped (seconds)
--   aside:f aside:d zset  failed and dead ids in order of their end
--   n           hash    "QUEUE\0S" -> how many, S the letter of a state; queued: Q0 to Q9
--   o:K og      list, hash  ids in order of creation, 4096 numbers each; how many of them are gone
--   rd:ID pa:ID set, string  who takes the result of ID; whose errback ID is; refs: there are such
--   owners      zset    owner -> deadline; w:OWNER hash (rev: something it holds was revoked),
--                       w:OWNER:n hash name -> stamp,
--                       h:OWNER set of held ids; pass hash: the reaper's last pass
--   j:JOIN hash, j:JOIN:m hash index -> +id or -id, * while it is added and has not ended; jopen
--               zset of joins that are not sealed
--   j:JOIN:a list of the indexes it has grown by; j:JOIN:w list of what waits for what was not sent
--               with it, until it is sealed
--   fl:FLOW     zset    parts of a workflow in order of creation
--   pend        list    packed ends whose edges are not followed yet
--   rv:ID f:ID  string  revoked before it came; result of another store; rvs fs zset: until when
--   rs rsn      hash, zset  revoked stamp -> until when and terminate, packed; -> its number. The
--               highest number is in `pass`, which every beat reads
--   once:TOKEN  string  what was answered to a call that may be sent again; see once.lua
--   outbox      zset    ended ids to be mirrored     seq  string  the last number
--   bell:QUEUE  list    at most a token or few: look at that queue
--
-- A list may hold stale entries: only one whose sequence is that of a queued record counts. A
-- sorted set b may, too. Everything else is exact.
--
-- A script's refusals come before its first write. Records and what is said of them are written at
-- the end, in one command each for all of them.

local call = redis.call
local LIMIT = 500
local OVER = {s = true, f = true, c = true, x = true, i = true, r = true, d = true}
local HELD = {L = true, R = true}
local NAMES = {W = 'waiting', S = 'scheduled', Q = 'queued', P = 'queued', s = 'succeeded',
               f = 'failed', c = 'revoked', x = 'expired', i = 'ignored', r = 'rejected', d = 'dead'}
local EXPIRES, ETA, EDGES, UNIQUE, WAITS, FLOW = 1, 2, 4, 8, 16, 32  -- flags of a base
local FORGET, FORGOTTEN, LINKED, BODY, SHRUNK = 1, 2, 4, 8, 16     -- special of a state
local REVOKED = 'TaskRevokedError: revoked'
local EXPIRED = 'TaskRevokedError: expired'
local band, bor = bit.band, bit.bor
local READY = {[0] = 'Q0', 'Q1', 'Q2', 'Q3', 'Q4', 'Q5', 'Q6', 'Q7', 'Q8', 'Q9'}

local function begin()
  local now, mono
  if ARGV[1] == '' then
    local time = call('TIME')
    now = time[1] + time[2] / 1000000
    mono = now
  else
    now, mono = struct.unpack('>dd', ARGV[1])
  end
  return {P = KEYS[1], now = now, mono = mono, o = cmsgpack.unpack(ARGV[2]), recs = {}, dirty = {},
          n = {}, kn = {}, set = {}, gone = {}, drops = {}, undrop = {}, unheld = {}, said = {},
          og = {}, todo = {}, first = 1, followed = 0, rings = {}, park_rings = {}, joins = {},
          states = {}, owner_in = {}, bodies = {}, flow_in = {}, flow_out = {}, created = {}}
end

local function number(S)
  local last = (S.seq or tonumber(call('GET', S.P .. 'seq') or 0)) + 1
  S.seq = last
  return last
end

-- --- base: what is known of a message without its wire ----------------------------------------

local HEAD = '>IddBBHc0Hc0Hc0'  -- size, enqueued, order, flags, priority, task, queue, send nonce

local function decode(base)
  local d, size, at = {}, nil, nil
  size, d.enqueued, d.order, d.flags, d.priority, d.task, d.queue, d.nonce, at =
    struct.unpack(HEAD, base)
  if band(d.flags, EXPIRES) > 0 then d.expires, at = struct.unpack('>d', base, at) end
  if band(d.flags, ETA) > 0 then d.eta, at = struct.unpack('>d', base, at) end
  if band(d.flags, FLOW) > 0 then d.flow, at = struct.unpack('>Hc0', base, at) end
  if band(d.flags, EDGES) > 0 then d.edges = string.sub(base, at, size) end
  return d
end

local function encode(d)
  local tail = struct.pack('>BBHc0Hc0Hc0', d.flags, d.priority, #d.task, d.task, #d.queue, d.queue,
                           #d.nonce, d.nonce)
  if d.expires then tail = tail .. struct.pack('>d', d.expires) end
  if d.eta then tail = tail .. struct.pack('>d', d.eta) end
  if d.flow then tail = tail .. struct.pack('>Hc0', #d.flow, d.flow) end
  if d.edges then tail = tail .. d.edges end
  return struct.pack('>Idd', 20 + #tail, d.enqueued, d.order) .. tail
end

-- The state of a record that is simply queued; `m` is its base, and its wire perhaps.
local function fresh_state(m)
  local size, _, order, flags, priority, task, queue, _, at = struct.unpack(HEAD, m)
  local expires = false
  if band(flags, EXPIRES) > 0 then expires = struct.unpack('>d', m, at) end
  return {'Q', 0, '', '', order, 0, 0, 0, 0, 0, false, false, false, expires, false, false, '', '',
          0, false, '', 0, false, queue, flags, priority}, string.sub(m, 1, size), task
end

local function base_in(value)
  return string.sub(value, 1, struct.unpack('>I', value))
end

-- --- records ----------------------------------------------------------------------------------

local function in_parts(command, list, most)
  for from = 1, #list, most do
    call(command, unpack(list, from, math.min(from + most - 1, #list)))
  end
end

-- The values of many keys in one command, or a few.
local function mget(keys)
  if #keys <= 4000 then return #keys > 0 and call('MGET', unpack(keys)) or {} end
  local found = {}
  for from = 1, #keys, 4000 do
    local some = call('MGET', unpack(keys, from, math.min(from + 3999, #keys)))
    for i = 1, #some do found[from + i - 1] = some[i] end
  end
  return found
end

-- Read the states of many records in one command; `record` then finds them.
local function prefetch(S, ids)
  local keys, P = {}, S.P
  for i = 1, #ids do keys[i] = P .. 't:' .. ids[i] end
  local found = mget(keys)
  for i = 1, #ids do S.states[ids[i]] = found[i] end
end

-- The record, or false. `m` is the value of its m:ID where the caller has it.
local function record(S, id, m)
  local rec = S.recs[id]
  if rec ~= nil then return rec end
  local packed = S.states[id]
  if packed == nil then packed = call('GET', S.P .. 't:' .. id) end
  if packed then
    local base = base_in(packed)
    local _, v = cmsgpack.unpack_one(packed, #base)
    rec = {id = id, v = v, base = base}
  else
    if m == nil then m = call('GET', S.P .. 'm:' .. id) end
    rec = false
    if m then
      local v, base, task = fresh_state(m)
      rec = {id = id, v = v, base = base, task = task}
    end
  end
  S.recs[id] = rec
  return rec
end

local function touch(S, rec)
  if not rec.dirty then
    rec.dirty = true
    S.dirty[#S.dirty + 1] = rec
  end
end

local function base_of(rec)
  if not rec.d then rec.d = decode(rec.base) end
  return rec.d
end

-- [success, failure, join, within, takes, gathers, own, delay, lasts], or false
local function edges_of(rec)
  if rec.edges == nil then
    local v = rec.v
    rec.edges = band(v[$flags], EDGES) > 0 and cmsgpack.unpack(base_of(rec).edges) or false
    -- What an earlier version stored has no errbacks of its own run.
    if rec.edges then rec.edges[7] = rec.edges[7] or {} end
  end
  return rec.edges
end

local function put_key(S, key, value)
  S.set[key] = value
  S.gone[key] = nil
end

local function take_key(S, key)
  S.gone[key] = true
  S.set[key] = nil
end

-- A record becomes a part of its workflow, if it has one, or is so no more.
local function enter_flow(S, rec)
  local d = base_of(rec)
  if d.flow then
    local list = S.flow_in[d.flow] or {}
    list[#list + 1], list[#list + 2] = d.order, rec.id
    S.flow_in[d.flow] = list
  end
end

local function leave_flow(S, rec)
  if band(rec.v[$flags], FLOW) > 0 then
    local flow = base_of(rec).flow
    local list = S.flow_out[flow] or {}
    list[#list + 1] = rec.id
    S.flow_out[flow] = list
  end
end

-- --- places -----------------------------------------------------------------------------------

local function count(S, queue, letter, by)
  local row = S.n[queue]
  if not row then
    row = {}
    S.n[queue] = row
  end
  row[letter] = (row[letter] or 0) + by
end

local function cell(v)
  return v[$state] == 'Q' and READY[v[$priority]] or v[$state]
end

local function parked_key(rec)
  return rec.v[$queue] .. '\0' .. base_of(rec).task
end

-- The owner a nonce names; most of a step's are of few nonces.
local function owner_in(S, nonce)
  local owner = S.owner_in[nonce]
  if not owner then
    owner = string.match(nonce, '^(.*)%.[^.]*%.[^.]*$')
    S.owner_in[nonce] = owner
  end
  return owner
end

-- Take a record out of whatever place it has, and write its state.
local function move(S, rec, state)
  local v = rec.v
  local old, queue = v[$state], v[$queue]
  if old == 'P' then
    local key = parked_key(rec)
    call('ZREM', S.P .. 'k:' .. key, rec.id)
    S.kn[key] = (S.kn[key] or 0) - 1
  elseif old == 'S' then
    call('ZREM', S.P .. 'due', rec.id)
    v[$due] = false
  elseif HELD[old] and not HELD[state] then
    local owner = owner_in(S, v[$nonce])
    local held = S.unheld[owner]
    if not held then
      held = {}
      S.unheld[owner] = held
    end
    held[#held + 1] = rec.id
    v[$nonce] = ''
  end
  count(S, queue, cell(v), -1)
  v[$state] = state
  count(S, queue, cell(v), 1)
  touch(S, rec)
end

-- Queue a record, or schedule it if `due` is ahead; ring. `renewed`: its sequence is the newest.
local function place(S, rec, due, renewed)
  local v, P = rec.v, S.P
  if due and due > S.now then
    move(S, rec, 'S')
    v[$due] = due
    call('ZADD', P .. 'due', due, rec.id)
  else
    move(S, rec, 'Q')
    local at = v[$queue] .. ':' .. v[$priority]
    if renewed then
      call('RPUSH', P .. 'q:' .. at, struct.pack('>I6', v[$sequence]) .. rec.id)
    else
      call('ZADD', P .. 'b:' .. at, v[$sequence], rec.id)
    end
  end
  S.rings[v[$queue]] = true
end

local function park(S, rec)
  local key = parked_key(rec)
  move(S, rec, 'P')
  call('ZADD', S.P .. 'k:' .. key, rec.v[$sequence], rec.id)
  S.kn[key] = (S.kn[key] or 0) + 1
  S.park_rings[rec.v[$queue]] = true
end

local function forget_progress(S, rec)
  if rec.v[$progress] ~= 0 then
    rec.v[$progress] = 0
    take_key(S, S.P .. 'p:' .. rec.id)
  end
end

local function will_expire(S, rec)
  if rec.v[$expires] then call('ZADD', S.P .. 'exp', rec.v[$expires], rec.id) end
end

-- Queue what is due, up to `most`; how many that were.
local function promote(S, most)
  local ids = call('ZRANGEBYSCORE', S.P .. 'due', '-inf', S.now, 'LIMIT', 0, most)
  for i = 1, #ids do
    local rec = record(S, ids[i])
    if rec and rec.v[$state] == 'S' then
      place(S, rec, nil)
    else
      call('ZREM', S.P .. 'due', ids[i])
    end
  end
  return #ids
end

-- --- the end of a step ------------------------------------------------------------------------

local function flush_counts(S)
  for queue, row in pairs(S.n) do
    for letter, by in pairs(row) do
      if by ~= 0 then call('HINCRBY', S.P .. 'n', queue .. '\0' .. letter, by) end
    end
  end
  S.n = {}
  for key, by in pairs(S.kn) do
    if by ~= 0 and call('HINCRBY', S.P .. 'kn', key, by) <= 0 then
      call('HDEL', S.P .. 'kn', key)
    end
  end
  S.kn = {}
end

local function flush_rings(S)
  for queue in pairs(S.rings) do
    local bell = S.P .. 'bell:' .. queue
    if call('LLEN', bell) == 0 then call('RPUSH', bell, '1') end
  end
  for queue in pairs(S.park_rings) do
    -- Nobody knows which waiter knows the name: all of them look.
    local bell = S.P .. 'bell:' .. queue
    local tokens = math.min(call('ZCARD', S.P .. 'owners'), 100) - call('LLEN', bell)
    for _ = 1, tokens do call('RPUSH', bell, '1') end
  end
end

-- What waiters hear of an end: enough for a small result, else nothing but that it is there.
local function news(rec, body)
  local v = rec.v
  if v[$progress] ~= 0 or (body and #body > 4096) then return '' end
  local kept = body and band(v[$special], BODY) > 0
  return struct.pack('>BIdBHc0', string.byte(v[$state]), v[$retries], v[$ended], kept and 1 or 0,
                     #v[$reason], v[$reason]) .. (kept and body or '')
end

-- Tell who waits what has ended. One command finds out for whom that is worth one; not in a cluster,
-- where they may be connected to another node.
local function publish(S)
  local channels, n, heard = {}, #S.said, nil
  for i = 1, n do channels[i] = S.P .. 'done:' .. S.said[i].id end
  if n > 4 and n < 4000 and not S.o[$o_cluster] then
    heard = redis.pcall('PUBSUB', 'NUMSUB', unpack(channels))
    if heard.err then heard = nil end  -- this user may not ask
  end
  for i = 1, n do
    if not heard or heard[2 * i] > 0 then
      local rec = S.said[i]
      call('PUBLISH', channels[i], OVER[rec.v[$state]] and news(rec, S.bodies[rec.id]) or '')
    end
  end
end

local function flush_flows(S, command, flows)
  for flow, list in pairs(flows) do
    for from = 1, #list, 4000 do
      call(command, S.P .. 'fl:' .. flow, unpack(list, from, math.min(from + 3999, #list)))
    end
  end
end

local function flush(S)
  local P = S.P
  local list, n = {}, 0
  for key in pairs(S.gone) do
    n = n + 1
    list[n] = key
  end
  in_parts('UNLINK', list, 4000)
  list, n = {}, 0
  for i = 1, #S.dirty do
    local rec = S.dirty[i]
    if not rec.dropped then
      list[n + 1], list[n + 2] = P .. 't:' .. rec.id, rec.base .. cmsgpack.pack(rec.v)
      n = n + 2
    end
    rec.dirty = nil
  end
  S.dirty = {}
  for key, value in pairs(S.set) do
    list[n + 1], list[n + 2] = key, value
    n = n + 2
  end
  in_parts('MSET', list, 4000)
  for owner, ids in pairs(S.unheld) do
    for from = 1, #ids, 4000 do
      call('SREM', P .. 'h:' .. owner, unpack(ids, from, math.min(from + 3999, #ids)))
    end
  end
  in_parts('ZREM', S.undrop, 4000)
  if #S.drops > 0 then
    for from = 1, #S.drops, 4000 do
      call('ZADD', P .. 'drop', unpack(S.drops, from, math.min(from + 3999, #S.drops)))
    end
  end
  for chunk, ids in pairs(S.created) do
    for from = 1, #ids, 4000 do
      call('RPUSH', P .. 'o:' .. chunk, unpack(ids, from, math.min(from + 3999, #ids)))
    end
  end
  for chunk, by in pairs(S.og) do
    local gone = call('HINCRBY', P .. 'og', chunk, by)
    local last = tonumber(call('GET', P .. 'seq') or 0)
    if math.floor(last / 4096) > tonumber(chunk) and gone >= call('LLEN', P .. 'o:' .. chunk) then
      call('UNLINK', P .. 'o:' .. chunk)
      call('HDEL', P .. 'og', chunk)
    end
  end
  if S.seq then call('SET', P .. 'seq', S.seq) end
  flush_flows(S, 'ZREM', S.flow_out)
  flush_flows(S, 'ZADD', S.flow_in)
  flush_counts(S)
  flush_rings(S)
  publish(S)
end
