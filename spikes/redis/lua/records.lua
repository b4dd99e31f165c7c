-- records.lua: what all functions of the library share: the step, records, joins and `finish`.
--
-- Keys, all under the hash tag in KEYS[1] (called P, such as "{celeriac}:"):
--   m:ID        string  the message, one packed value
--   t:ID        string  packed map of the short fields below; absent while a record is simply
--                       queued
--   r:ID        string  reason (one line), line feed, result body
--   q:QUEUE:P   list    ids that wait at priority P, in order of sequence
--   b:QUEUE     zset    ids handed back with their sequence; taken before the list
--   k:QUEUE:N   list    parked ids whose task name N no worker knew; kp hash: "QUEUE N" -> 1
--   qs          hash    queue -> priorities ever used, as digits
--   due, exp    zset    id -> milliseconds
--   owners      zset    owner -> deadline; w:OWNER hash (manifest, lanes), w:OWNER:n hash name ->
--                       stamp, h:OWNER set of held ids
--   j:JOIN hash (size, body, count, failures, decided, cause, touched), j:JOIN:m hash index -> state
--   sweep list of packed pending finishes · e:CLASS list of ended ids, oldest first · seq counter
--
-- Fields of t:ID: s state · a attempt · n nonce · f last applied fence · p sequence · rt retries
-- cr crashes · lo losses · g generation · st stamp · at leased · sa started · ea ended · x expires
-- rv revoked · e has edges · c cause · sn send nonce · pk parked. A record that was never touched
-- since its enqueue has no t:ID at all: state queued, counters 0, the rest is in its message.
--
-- A step never writes before it has read and decided everything: there is no rollback. Records are
-- read into a table, changed there, and written by `flush`.

local LIMIT = 500
local OVER = {s=true, f=true, c=true, x=true, i=true, r=true, d=true}
local HELD = {L=true, R=true}
local NAMES = {s='succeeded', f='failed', c='revoked', x='expired', i='ignored', r='rejected',
               d='dead'}
local BAND = 2^49  -- room for the sequence below the priority in a score

local function begin(keys)
  local time = redis.call('TIME')
  return {P = keys[1], now = time[1] * 1000 + math.floor(time[2] / 1000), recs = {}, dirty = {}, states = {}, sets = {}, unlink = {},
          joins = {}, writes = {}, lists = {}, listed = {}, rings = {}, todo = {}, first = 1,
          followed = 0}
end

local function write(S, ...)
  S.writes[#S.writes + 1] = {...}
end

local function push(S, key, id)
  local list = S.lists[key]
  if not list then
    list = {'RPUSH', key}
    S.lists[key] = list
    S.listed[#S.listed + 1] = list
  end
  list[#list + 1] = id
end

-- Read the states of many records in one call; `record` then finds them.
local function prefetch(S, ids)
  if #ids == 0 then return end
  local keys = {}
  for i = 1, #ids do keys[i] = S.P .. 't:' .. ids[i] end
  for from = 1, #ids, 4000 do
    local till = math.min(from + 3999, #ids)
    local found = redis.call('MGET', unpack(keys, from, till))
    for i = from, till do S.states[ids[i]] = found[i - from + 1] end
  end
end

-- The record, or false. `exists`: its message has been seen already.
local function record(S, id, exists)
  local rec = S.recs[id]
  if rec ~= nil then return rec end
  local packed = S.states[id]
  if packed == nil then packed = redis.call('GET', S.P .. 't:' .. id) end
  if packed then
    rec = {id = id, v = cmsgpack.unpack(packed)}
  elseif exists or redis.call('EXISTS', S.P .. 'm:' .. id) == 1 then
    rec = {id = id, v = {s = 'Q'}}
  else
    rec = false
  end
  S.recs[id] = rec
  return rec
end

local function put(S, rec, field, value)
  rec.v[field] = value
  if not rec.dirty then
    rec.dirty = true
    S.dirty[#S.dirty + 1] = rec
  end
end

local function drop(S, rec, field)
  if rec.v[field] ~= nil then put(S, rec, field, nil) end
end

-- Plain values to write and keys to remove, all in one call each.
local function set(S, key, value)
  local n = #S.sets
  S.sets[n + 1], S.sets[n + 2] = key, value
end

local function in_parts(command, list, most)
  for from = 1, #list, most do
    redis.call(command, unpack(list, from, math.min(from + most - 1, #list)))
  end
end

local NOTHING = {}

-- The header block of a message [1, block, payload, ...]. The server's cmsgpack knows no `bin`
-- (0xc4 to 0xc6), so the outer array is taken apart by hand, which also copies no payload.
local function block_of(wire)
  local kind = string.byte(wire, 3)
  if kind == 0xc4 then return string.sub(wire, 5, 4 + string.byte(wire, 4)) end
  if kind == 0xc5 then
    local a, b = string.byte(wire, 4, 5)
    return string.sub(wire, 6, 5 + a * 256 + b)
  end
  local a, b, c, d = string.byte(wire, 4, 7)
  return string.sub(wire, 8, 7 + ((a * 256 + b) * 256 + c) * 256 + d)
end

local function head(S, rec)
  if rec.head == nil then
    local wire = rec.wire or redis.call('GET', S.P .. 'm:' .. rec.id)
    local good, text = pcall(block_of, wire)
    local fine, block = pcall(cmsgpack.unpack, good and text)
    rec.head = (fine and type(block) == 'table') and block or NOTHING
  end
  return rec.head
end

local function flush(S)
  local P, call, sets = S.P, redis.call, S.sets
  local n = #sets
  for i = 1, #S.dirty do
    local rec = S.dirty[i]
    sets[n + 1], sets[n + 2] = P .. 't:' .. rec.id, cmsgpack.pack(rec.v)
    n = n + 2
  end
  in_parts('MSET', sets, 4000)
  in_parts('UNLINK', S.unlink, 4000)
  for _, cmd in ipairs(S.writes) do call(unpack(cmd)) end
  for _, list in ipairs(S.listed) do
    -- Lua's stack holds some thousands of arguments.
    if #list <= 2 then
      -- everything that was to be pushed has been leased in this step
    elseif #list <= 4000 then
      call(unpack(list))
    else
      for i = 3, #list, 4000 do
        call('RPUSH', list[2], unpack(list, i, math.min(i + 3999, #list)))
      end
    end
  end
  for queue in pairs(S.rings) do
    local bell = P .. 'bell:' .. queue
    if call('LLEN', bell) == 0 then call('RPUSH', bell, '1') end
  end
end

-- Put a record where it waits to be leased: at the tail, or where its kept sequence p says.
local function place(S, rec, queue, priority, due)
  queue, priority = queue or 'celery', priority or 0
  if due and due > S.now then
    put(S, rec, 's', 'S')
    write(S, 'ZADD', S.P .. 'due', due, rec.id)
    return
  end
  put(S, rec, 's', 'Q')
  if rec.v.p then
    write(S, 'ZADD', S.P .. 'b:' .. queue, (9 - priority) * BAND + rec.v.p, rec.id)
  else
    push(S, S.P .. 'q:' .. queue .. ':' .. priority, rec.id)
  end
  S.rings[queue] = true
end

local function forget_lease(S, rec)
  if rec.v.n then
    local owner = string.match(rec.v.n, '^[^.]+')
    local held = S.P .. 'h:' .. owner
    S.unheld = S.unheld or {}
    S.unheld[held] = S.unheld[held] or {}
    table.insert(S.unheld[held], rec.id)
  end
  for _, field in ipairs({'n', 'at', 'sa', 'st'}) do drop(S, rec, field) end
end

local function flush_leases(S)
  for held, ids in pairs(S.unheld or {}) do
    write(S, 'SREM', held, unpack(ids))
  end
end

-- Write the end of one record. `keep` false: a tombstone stays, for resends, and the message goes.
local function conclude(S, rec, state, reason, cause, body, keep)
  local P, id = S.P, rec.id
  put(S, rec, 's', state)
  put(S, rec, 'ea', S.now)
  if cause ~= '' then put(S, rec, 'c', cause) end
  if rec.v.x then write(S, 'ZREM', P .. 'exp', id) end
  forget_lease(S, rec)
  drop(S, rec, 'p')
  if keep or rec.v.e then
    if body or reason ~= '' then
      set(S, P .. 'r:' .. id, reason .. '\n' .. (body or ''))
      rec.body = body
    end
    push(S, P .. 'e:' .. ((state == 'f' or state == 'd') and state or 'r'), id)
  else
    S.unlink[#S.unlink + 1] = P .. 'm:' .. id
    if rec.v.g or rec.v.rt or rec.v.cr then S.unlink[#S.unlink + 1] = P .. 'r:' .. id end
    push(S, P .. 'e:t', id)
    return
  end
  write(S, 'PUBLISH', P .. 'done:' .. id, (body and #body <= 4096) and state .. body or state)
end

-- --- finish: follow the edges of ended records, breadth first, in bounded steps ---------------

local function later(S, id, state, cause, skipped, offset)
  S.todo[#S.todo + 1] = {id, state, cause, skipped or false, offset or 0}
end

local function finish(S, rec, state, reason, cause, body, keep, skipped)
  if OVER[rec.v.s] then return end
  conclude(S, rec, state, reason or '', cause or '', body, keep)
  if rec.v.e then
    later(S, rec.id, state, (cause and cause ~= '') and cause or rec.id, skipped)
  end
end

local function release_waiting(S, id)
  local rec = record(S, id)
  if not rec or rec.v.s ~= 'W' then return end
  if rec.v.rv then
    finish(S, rec, 'c', 'TaskRevokedError: revoked', '', nil, true)
  elseif rec.v.x and tonumber(rec.v.x) <= S.now then
    finish(S, rec, 'x', 'TaskRevokedError: expired', '', nil, true)
  else
    local h = head(S, rec)
    place(S, rec, h.queue, h.priority, h.eta and h.eta * 1000)
  end
end

local function cancel(S, id, by_id, by_state, cause, skipped)
  local rec = record(S, id)
  if not rec or rec.v.s ~= 'W' then return end
  if skipped then
    finish(S, rec, 'i', 'not needed: ' .. cause .. ' ended without failure', cause, nil, true, true)
  else
    finish(S, rec, by_state == 'c' and 'c' or 'f',
           'UpstreamFailed: upstream ' .. by_id .. ' ended ' .. NAMES[by_state], cause, nil, true)
  end
end

local function join_of(S, id)
  local join = S.joins[id]
  if join == nil then
    local v = redis.call('HMGET', S.P .. 'j:' .. id, 'size', 'body', 'count', 'failures',
                         'decided')
    join = v[2] and {id = id, size = tonumber(v[1]), body = v[2], count = tonumber(v[3]) or 0,
                     failures = tonumber(v[4]) or 0, decided = v[5] or '', noted = {}} or false
    S.joins[id] = join
  end
  return join
end

local function complete(S, join)
  if join.decided ~= '' or not join.size or join.count < join.size then return end
  join.decided = 'done'
  write(S, 'HSET', S.P .. 'j:' .. join.id, 'decided', 'done')
  release_waiting(S, join.body)
end

local function note(S, at, by_id, state, cause, skipped)
  local join, index = join_of(S, at[1]), tostring(at[2])
  if not join or join.decided == 'done' or join.noted[index] then return end
  local key = S.P .. 'j:' .. join.id
  if redis.call('HEXISTS', key .. ':m', index) == 1 then return end
  local done = state == 's'
  join.noted[index] = true
  write(S, 'HSET', key .. ':m', index, (done and '+' or '-') .. by_id)
  join.count = join.count + (done and 1 or 0)
  join.failures = join.failures + (done and 0 or 1)
  write(S, 'HINCRBY', key, done and 'count' or 'failures', 1)
  if done then
    complete(S, join)
  elseif join.decided == '' then
    join.decided = 'failed'
    write(S, 'HSET', key, 'decided', 'failed', 'cause', cause)
    local body = record(S, join.body)
    if not body or body.v.s ~= 'W' then return end
    if skipped then
      cancel(S, join.body, by_id, state, cause, true)
    else
      finish(S, body, 'f', 'ChordError: member ' .. index .. ' (' .. by_id .. ') ended '
             .. NAMES[state], cause, nil, true)
    end
  end
end

local function follow(S, id, state, cause, skipped, offset)
  local rec = record(S, id)
  local edges = rec and head(S, rec).edges
  if not edges then return true end
  if offset == 0 then
    S.followed = S.followed + 1
    if edges.join then
      note(S, edges.join, id, state, cause, skipped)
    elseif edges.within and state ~= 's' and not skipped then
      note(S, edges.within, id, state, cause, skipped)
    end
  end
  local failure, success = edges.failure or NOTHING, edges.success or NOTHING
  for i = offset + 1, #failure + #success do
    if S.followed >= LIMIT then return false, i - 1 end
    S.followed = S.followed + 1
    local errback = i <= #failure
    local other = errback and failure[i] or success[i - #failure]
    if skipped then
      cancel(S, other, id, state, cause, true)
    elseif state == 's' then
      if errback then cancel(S, other, id, state, cause, true) else release_waiting(S, other) end
    elseif errback then
      release_waiting(S, other)
    else
      cancel(S, other, id, state, cause, false)
    end
  end
  return true
end

-- Work off the list; what is too much for one step goes to `sweep`, for the next reap.
local function cascade(S)
  while S.first <= #S.todo do
    local p = S.todo[S.first]
    if S.followed >= LIMIT then break end
    local whole, offset = follow(S, p[1], p[2], p[3], p[4], p[5])
    if not whole then
      p[5] = offset
      break
    end
    S.first = S.first + 1
  end
  for i = S.first, #S.todo do push(S, S.P .. 'sweep', cmsgpack.pack(S.todo[i])) end
  S.first = #S.todo + 1
end

-- Take up to `count` ids that fall due off the schedule.
local function promote(S, count)
  local ids = redis.call('ZRANGEBYSCORE', S.P .. 'due', '-inf', S.now, 'LIMIT', 0, count)
  for _, id in ipairs(ids) do
    local rec = record(S, id)
    if rec and rec.v.s == 'S' then
      local h = head(S, rec)
      place(S, rec, h.queue, h.priority, nil)
    end
  end
  if #ids > 0 then write(S, 'ZREM', S.P .. 'due', unpack(ids)) end
  return #ids
end
