-- insert.lua: storing messages as records, and letting a new message take a record's place.
-- A message is [id, send nonce, task, queue, priority, flags, expires|false, eta|false,
-- index of its packed edges in ARGV|false, index of its wire there, workflow|false,
-- whether its edges refer to others].

-- Read what is known of many ids before messages under them are stored. Nearly always it is nothing,
-- which a few commands tell.
local function look_up(S, ids)
  prefetch(S, ids)
  local known = 0
  for from = 1, #ids, 4000 do
    local keys = {}
    for i = from, math.min(from + 3999, #ids) do keys[#keys + 1] = S.P .. 'm:' .. ids[i] end
    known = known + call('EXISTS', unpack(keys))
  end
  if known > 0 then return end
  for i = 1, #ids do
    if not S.states[ids[i]] then S.recs[ids[i]] = false end
  end
end

-- Those of `messages` that are no resends; or nil and the id that is a duplicate. Writes nothing.
local function check_new(S, messages)
  local seen, fresh = {}, {}
  for i = 1, #messages do
    local m = messages[i]
    local id = m[1]
    if seen[id] then
      if seen[id][2] ~= m[2] then return nil, id end
    else
      local rec = record(S, id)
      if not rec then
        seen[id] = m
        fresh[#fresh + 1] = m
      elseif base_of(rec).nonce ~= m[2] then
        if not OVER[rec.v[$state]] then return nil, id end
        seen[id] = m
        fresh[#fresh + 1] = m
      end
    end
  end
  return fresh
end

-- Note who refers to whom.
local function link(S, id)
  local rec = record(S, id)
  if rec and band(rec.v[$special], LINKED) == 0 then
    rec.v[$special] = rec.v[$special] + LINKED
    touch(S, rec)
  end
end

local function index_edges(S, rec)
  local edges = edges_of(rec)
  if not edges then return end
  if not S.refs and (edges[5] or #edges[2] > 0 or #edges[7] > 0) then
    call('SET', S.P .. 'refs', 1)
    S.refs = true
  end
  if edges[5] then
    call('SADD', S.P .. 'rd:' .. edges[5], rec.id)
    link(S, edges[5])
  end
  for list = 2, 7, 5 do
    for i = 1, #edges[list] do
      call('SET', S.P .. 'pa:' .. edges[list][i], rec.id)
      link(S, edges[list][i])
    end
  end
end

-- Store one message as a record; `check_new` has passed it. True: it was revoked before it came, and
-- waits to be ended once all that belongs to it is stored.
local function insert(S, m, waits)
  local P, id = S.P, m[1]
  local before = record(S, id)
  if before then drop(S, before) end
  local order = number(S)
  local d = {enqueued = S.now, order = order, flags = m[6], priority = m[5], task = m[3],
             queue = m[4], nonce = m[2], expires = m[7], eta = m[8], edges = m[9] and ARGV[m[9]],
             flow = m[11] or nil}
  local base = encode(d)
  local rec = {id = id, v = (fresh_state(base)), base = base, d = d}
  local v = rec.v
  S.recs[id], S.states[id] = rec, nil
  put_key(S, P .. 'm:' .. id, base .. ARGV[m[10]])
  take_key(S, P .. 't:' .. id)
  local chunk = math.floor(order / 4096)
  local created = S.created[chunk]
  if not created then
    created = {}
    S.created[chunk] = created
  end
  created[#created + 1] = id
  if before then
    v[$generation], v[$attempt] = before.v[$generation] + 1, before.v[$attempt]
    tell_other(S, id)
    touch(S, rec)
  end
  -- Who refers to it, or revoked it, before it came is asked for only if there is anybody.
  if S.revokes == nil then
    S.refs = S.refs or call('EXISTS', P .. 'refs') == 1
    S.revokes = call('EXISTS', P .. 'rvs') == 1
  end
  if S.refs and call('EXISTS', P .. 'rd:' .. id, P .. 'pa:' .. id) > 0 then link(S, id) end
  v[$state] = 'W'
  count(S, v[$queue], 'W', 1)
  if m[12] then index_edges(S, rec) end
  enter_flow(S, rec)
  will_expire(S, rec)
  local tombstone = S.revokes and call('GET', P .. 'rv:' .. id)
  if tombstone then
    call('DEL', P .. 'rv:' .. id)
    call('ZREM', P .. 'rvs', id)
    tombstone = cmsgpack.unpack(tombstone)
  end
  if tombstone and tombstone[1] > S.now then
    v[$terminate] = tombstone[2]
    touch(S, rec)
    return true
  end
  if waits or band(m[6], WAITS) > 0 then
    touch(S, rec)
  else
    local dirty = rec.dirty
    place(S, rec, m[8] or nil, true)
    -- One that is simply queued needs no state of its own.
    if v[$state] == 'Q' and not dirty then
      rec.dirty = nil
      S.dirty[#S.dirty] = nil
    end
  end
end

-- Make joins larger by those of the new `messages` whose index says that they are added to them.
local function grow(S, messages)
  for i = 1, #messages do
    local edges = edges_of(record(S, messages[i][1]))
    local at = edges and edges[3]
    local join = at and at[2] >= ADDED and join_of(S, at[1])
    if join and join.decided ~= 'done' then
      local key = S.P .. 'j:' .. join.id
      if call('HSETNX', key .. ':m', at[2], '*') == 1 then
        join.grown = join.grown + 1
        call('HSET', key, 'grown', join.grown)
        call('RPUSH', key .. ':a', at[2])
      end
    end
  end
end

-- Store messages that `check_new` has passed, and of `joins`, each [id, body, size], those whose
-- body is among them. `committed`: id of the record whose commit brings them; joins may grow by
-- them, and it may be a body itself. The caller cascades.
local function insert_all(S, messages, joins, waits, committed)
  local fresh, revoked, made = {}, {}, {}
  if committed then fresh[committed] = true end
  for i = 1, #messages do
    local id = messages[i][1]
    fresh[id] = true
    if insert(S, messages[i], waits) then revoked[#revoked + 1] = id end
  end
  for i = 1, #joins do
    local id, body, size = unpack(joins[i])
    if fresh[body] then
      drop_join(S, id)
      call('HSET', S.P .. 'j:' .. id, 'body', body, 'size', size, 'touched', S.mono)
      S.joins[id] = nil
      made[#made + 1] = joins[i]
    end
  end
  if committed then grow(S, messages) end
  -- What ends or completes as it is stored must find all that it leads to.
  for i = 1, #revoked do
    finish(S, record(S, revoked[i]), 'c', REVOKED, '')
    cascade(S)
  end
  for i = 1, #made do
    if made[i][3] == 0 then complete(S, join_of(S, made[i][1])) end
  end
end

-- Let a newly signed message take the place of a record's present one. The send nonce stays, and
-- so do edges and workflow if the new one names none.
local function take_message(S, rec, m)
  local v, d = rec.v, base_of(rec)
  local edges = m[9] and ARGV[m[9]] or d.edges
  local flow = m[11] or d.flow
  local flags = band(m[6], EXPIRES + ETA + WAITS) + band(d.flags, UNIQUE) + (edges and EDGES or 0)
    + (flow and FLOW or 0)
  local before = m[9] and edges_of(rec)
  if m[11] then leave_flow(S, rec) end
  count(S, v[$queue], cell(v), -1)
  rec.d = {enqueued = d.enqueued, order = d.order, flags = flags, priority = m[5], task = m[3],
           queue = m[4], nonce = d.nonce, expires = m[7], eta = m[8], edges = edges,
           flow = flow}
  rec.edges, rec.task = nil, nil
  rec.base = encode(rec.d)
  v[$queue], v[$priority], v[$flags], v[$expires] = m[4], m[5], flags, m[7]
  count(S, v[$queue], cell(v), 1)
  put_key(S, S.P .. 'm:' .. rec.id, rec.base .. ARGV[m[10]])
  touch(S, rec)
  if m[11] then enter_flow(S, rec) end
  if before then
    unindex_edges(S, rec.id, before)
    if before[6] and before[6] ~= edges_of(rec)[6] then drop_join(S, before[6]) end
  end
  if m[12] then index_edges(S, rec) end
end
