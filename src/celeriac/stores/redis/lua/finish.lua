-- finish.lua: the end of a record and what follows from it; `stores/finish.py` is the reference.

-- Whether an unfinished or retryable part of a workflow needs this record.
local function referred(S, rec)
  local function needs(id)
    local other = id and record(S, id)
    return other and other.v[$state] ~= 's' and other.v[$state] ~= 'i'
  end
  if band(rec.v[$special], LINKED) > 0 then
    local readers = call('SMEMBERS', S.P .. 'rd:' .. rec.id)
    for i = 1, #readers do
      if needs(readers[i]) then return true end
    end
    if needs(call('GET', S.P .. 'pa:' .. rec.id)) then return true end
  end
  local edges = edges_of(rec)
  if edges and edges[3] then
    return needs(call('HGET', S.P .. 'j:' .. edges[3][1], 'body'))
  end
  return false
end

-- Drop message and result of an ended record that nobody keeps or needs.
local function shrink(S, rec)
  local v = rec.v
  local state, special = v[$state], v[$special]
  if band(special, FORGET) == 0 or state == 'f' or state == 'd' or not OVER[state]
    or band(special, SHRUNK) > 0 or referred(S, rec) then return end
  take_key(S, S.P .. 'm:' .. rec.id)
  if band(special, BODY) > 0 then
    take_key(S, S.P .. 'r:' .. rec.id)
    special = special - BODY
  end
  v[$special] = bor(special, SHRUNK)
  if v[$progress] ~= 0 then
    local key = S.P .. 'p:' .. rec.id
    local kept = S.set[key] or call('GET', key)
    local at = kept and string.find(kept, '\0', 1, true)
    if at then put_key(S, key, string.sub(kept, 1, at) .. '-') end
  end
  touch(S, rec)
end

local ADDED = 1099511627776  -- message.ADDED
-- How what is on the work list ended: `effects.How`.
local ITSELF, SKIPPED, UPSTREAM, GIVEN_UP = 0, 1, 2, 3

local function later(S, id, state, cause, how, offset)
  S.todo[#S.todo + 1] = {id, state, cause, how or ITSELF, offset or 0}
end

-- Shrink members of a join from offset on, as many as a step may touch; the next offset. Those it
-- has grown by come last.
local function shrink_members(S, join, offset)
  local key, indexes = S.P .. 'j:' .. join, {}
  local known = call('HMGET', key, 'size', 'arrived', 'grown')
  local first = math.max(tonumber(known[1] or 0), tonumber(known[2] or 0))
  local most = first + tonumber(known[3] or 0)
  local till = math.min(most, offset + LIMIT)
  for i = offset, math.min(first, till) - 1 do indexes[#indexes + 1] = i end
  if till > first then
    local from = math.max(offset - first, 0)
    local added = call('LRANGE', key .. ':a', from, till - first - 1)
    for i = 1, #added do indexes[#indexes + 1] = added[i] end
  end
  if #indexes == 0 then return nil end
  local members, ids = call('HMGET', key .. ':m', unpack(indexes)), {}
  for i = 1, #members do
    if members[i] and string.sub(members[i], 1, 1) == '+' then
      ids[#ids + 1] = string.sub(members[i], 2)
    end
  end
  local unknown = {}
  for i = 1, #ids do
    if S.recs[ids[i]] == nil then unknown[#unknown + 1] = ids[i] end
  end
  prefetch(S, unknown)
  for i = 1, #ids do
    local rec = record(S, ids[i])
    if rec then shrink(S, rec) end
  end
  return till < most and till or nil
end

-- After `rec` has ended: what only it needed may go.
local function shrink_sources(S, rec)
  local edges = edges_of(rec)
  if not edges then return end
  local sources = {}
  for i = 1, #edges[2] do sources[i] = edges[2][i] end
  for i = 1, #edges[7] do sources[#sources + 1] = edges[7][i] end
  if edges[5] then sources[#sources + 1] = edges[5] end
  for i = 1, #sources do
    local source = record(S, sources[i])
    if source then shrink(S, source) end
  end
  if edges[6] then
    local offset = shrink_members(S, edges[6], 0)
    if offset then later(S, edges[6], '@', '', ITSELF, offset) end
  end
end

-- Seconds after its end that a record is kept; false: for ever. As `fates.retention`.
local function retention(S, v)
  local o, kept = S.o, nil
  if v[$state] == 'f' or v[$state] == 'd' then
    kept = o[$o_dead_expires]
  elseif band(v[$special], FORGET) > 0 then
    kept = o[$o_tombstone_expires]
  else
    kept = o[$o_result_expires]
  end
  if kept and band(v[$flags], UNIQUE) > 0 then kept = math.max(kept, o[$o_revoke_expires]) end
  return kept
end

local function schedule_drop(S, rec)
  local v = rec.v
  local kept = retention(S, v)
  if kept and v[$ended] then
    v[$drop] = v[$ended] + kept
    S.drops[#S.drops + 1] = v[$drop]
    S.drops[#S.drops + 1] = rec.id
  end
end

-- Put an id into the outbox if there is another store of results, under a new number.
local function tell_other(S, id)
  if S.o[$o_mirror] then call('ZADD', S.P .. 'outbox', number(S), id) end
end

-- End a record that has not ended, and put its edges on the work list.
local function finish(S, rec, state, reason, cause, body, how)
  local v, P = rec.v, S.P
  if OVER[v[$state]] then return end
  move(S, rec, state)
  v[$reason], v[$cause], v[$ended] = reason, cause, S.now
  if v[$expires] then call('ZREM', P .. 'exp', rec.id) end
  if body then
    put_key(S, P .. 'r:' .. rec.id, body)
    v[$special] = bor(v[$special], BODY)
  end
  schedule_drop(S, rec)
  if state == 'f' or state == 'd' then call('ZADD', P .. 'aside:' .. state, number(S), rec.id) end
  if state == 'f' or state == 'd' or band(v[$special], FORGET) == 0 then tell_other(S, rec.id) end
  shrink(S, rec)
  if band(v[$flags], EDGES) > 0 then
    shrink_sources(S, rec)
    later(S, rec.id, state, cause ~= '' and cause or rec.id, how)
  end
  S.said[#S.said + 1] = rec
  S.bodies[rec.id] = body
end

-- Remove a join.
local function drop_join(S, id)
  local key = S.P .. 'j:' .. id
  call('UNLINK', key, key .. ':m', key .. ':a', key .. ':w')
  call('ZREM', S.P .. 'jopen', id)
  S.joins[id] = false
end

-- Nothing is said any more of whom a record with `edges` refers to.
local function unindex_edges(S, id, edges)
  if edges[5] then call('SREM', S.P .. 'rd:' .. edges[5], id) end
  for list = 2, 7, 5 do
    for i = 1, #edges[list] do
      local key = S.P .. 'pa:' .. edges[list][i]
      if call('GET', key) == id then call('DEL', key) end
    end
  end
end

-- Remove a record for good.
local function drop(S, rec)
  local P, id, v = S.P, rec.id, rec.v
  if v[$state] == 'S' or v[$state] == 'P' or HELD[v[$state]] then move(S, rec, 'W') end
  count(S, v[$queue], cell(v), -1)
  if v[$state] == 'f' or v[$state] == 'd' then call('ZREM', P .. 'aside:' .. v[$state], id) end
  take_key(S, P .. 't:' .. id)
  take_key(S, P .. 'm:' .. id)
  if band(v[$special], BODY) > 0 then take_key(S, P .. 'r:' .. id) end
  if v[$progress] ~= 0 then take_key(S, P .. 'p:' .. id) end
  call('ZREM', P .. 'drop', id)
  if S.o[$o_mirror] then call('ZREM', P .. 'outbox', id) end
  if v[$expires] then call('ZREM', P .. 'exp', id) end
  if band(v[$special], LINKED) > 0 then call('DEL', P .. 'pa:' .. id) end
  local chunk = tostring(math.floor(base_of(rec).order / 4096))
  S.og[chunk] = (S.og[chunk] or 0) + 1
  leave_flow(S, rec)
  local edges = edges_of(rec)
  if edges then
    if edges[6] then drop_join(S, edges[6]) end
    unindex_edges(S, id, edges)
  end
  rec.dropped = true
  S.recs[id] = false
end

-- --- following edges, breadth first, in bounded steps -----------------------------------------

local function release_waiting(S, id)
  local rec = record(S, id)
  if not rec or rec.v[$state] ~= 'W' then return end
  if rec.v[$revoked] then
    finish(S, rec, 'c', REVOKED, '')
  elseif rec.v[$expires] and rec.v[$expires] <= S.now then
    finish(S, rec, 'x', EXPIRED, '')
  else
    local edges, due = edges_of(rec), base_of(rec).eta
    if edges and edges[8] and not due then due = S.now + edges[8] end
    if edges and edges[9] and not rec.v[$expires] then
      rec.v[$expires] = S.now + edges[9]
      will_expire(S, rec)
    end
    place(S, rec, due)
  end
end

-- End a record that waited for another, which did not succeed (or, skipped, is not needed).
local function cancel(S, id, by_id, by_state, cause, skipped)
  local rec = record(S, id)
  if not rec or rec.v[$state] ~= 'W' then return end
  if not skipped then
    finish(S, rec, by_state == 'c' and 'c' or 'f',
           'UpstreamFailed: upstream ' .. by_id .. ' ended ' .. NAMES[by_state], cause, nil, UPSTREAM)
    return
  end
  local why
  if by_state == 'i' then
    why = by_id .. ' was not'
  elseif by_state == 's' then
    why = cause .. ' ended without failure'
  else
    why = by_id .. ' did not run, because of ' .. cause
  end
  finish(S, rec, 'i', 'not needed: ' .. why, cause, nil, SKIPPED)
end

local function join_of(S, id)
  local join = S.joins[id]
  if join == nil then
    local v = call('HMGET', S.P .. 'j:' .. id, 'body', 'size', 'count', 'failures', 'decided',
                   'cause', 'arrived', 'grown')
    join = v[1] and {id = id, body = v[1], size = tonumber(v[2]), count = tonumber(v[3]) or 0,
                     failures = tonumber(v[4]) or 0, decided = v[5] or '', cause = v[6] or '',
                     arrived = tonumber(v[7]) or 0, grown = tonumber(v[8]) or 0} or false
    S.joins[id] = join
  end
  return join
end

local function given_up(join)
  return join.decided == 'failed' and join.cause == ''
end

local function decide(S, join, decided, cause)
  join.decided, join.cause = decided, cause
  call('HSET', S.P .. 'j:' .. join.id, 'decided', decided, 'cause', cause, 'touched', S.mono)
  if not join.size and not given_up(join) then
    call('ZADD', S.P .. 'jopen', S.mono, join.id)
  else
    call('ZREM', S.P .. 'jopen', join.id)
  end
end

local function complete(S, join)
  if join.decided ~= '' or not join.size or join.count < join.size + join.grown then return end
  decide(S, join, 'done', '')
  release_waiting(S, join.body)
end

local function fail_join(S, join, index, by_id, state, cause, how)
  decide(S, join, 'failed', cause)
  local body = record(S, join.body)
  if not body or body.v[$state] ~= 'W' then return end
  if how == SKIPPED then
    cancel(S, join.body, by_id, state, cause, true)
  else
    local which = index >= ADDED and 'added later' or string.format('%.0f', index)
    finish(S, body, 'f', string.format('ChordError: member %s (%s) ended %s', which, by_id,
                                       NAMES[state]), cause, nil, how == UPSTREAM and UPSTREAM or nil)
  end
end

-- Note the end of a member, and decide the join if that decides it.
local function note(S, at, by_id, state, cause, how)
  local join, index = join_of(S, at[1]), at[2]
  if not join or join.decided == 'done' then return end
  local key, done = S.P .. 'j:' .. join.id, state == 's'
  local noted = call('HGET', key .. ':m', index)
  if noted and noted ~= '*' then return end
  call('HSET', key .. ':m', index, (done and '+' or '-') .. by_id)
  if done then
    join.count = join.count + 1
    call('HSET', key, 'count', join.count)
    complete(S, join)
  else
    join.failures = join.failures + 1
    call('HSET', key, 'failures', join.failures)
    if join.decided == '' then fail_join(S, join, index, by_id, state, cause, how) end
  end
end

local function follow_success(S, other, id, state, cause, skipped)
  if state == 's' and not skipped then
    release_waiting(S, other)
  else
    cancel(S, other, id, state, cause, skipped)
  end
end

local function follow_errback(S, other, id, state, cause, how, own)
  if state ~= 's' and how ~= SKIPPED and not (own and how == UPSTREAM) then
    release_waiting(S, other)
  else
    cancel(S, other, id, state, cause, true)
  end
end

-- End what waits for what was never sent with a join that is given up, from behind place `offset`.
local function end_outsiders(S, join, cause, offset)
  local room = LIMIT - S.followed
  local ids = call('LRANGE', S.P .. 'j:' .. join .. ':w', offset, offset + room - 1)
  S.followed = S.followed + #ids
  for i = 1, #ids do
    local rec = record(S, ids[i])
    if rec and rec.v[$state] == 'W' then
      finish(S, rec, 'f', 'HeaderIncomplete: join ' .. join .. ' was given up before all of it was '
             .. 'sent', cause, nil, UPSTREAM)
    end
  end
  return #ids == room and offset + room or nil
end

-- Follow the edges of an ended record from its offset on; the new offset if the limit came first.
local function follow(S, id, state, cause, how, offset)
  if state == '@' then  -- members of join `id` that the end of its body lets go of
    S.followed = S.followed + LIMIT
    return shrink_members(S, id, offset)
  end
  if how == GIVEN_UP then return end_outsiders(S, id, cause, offset) end
  local rec, skipped = record(S, id), how == SKIPPED
  local edges = rec and edges_of(rec)
  if not edges then return nil end
  if offset == 0 then
    S.followed = S.followed + 1
    if edges[3] then
      note(S, edges[3], id, state, cause, how)
    elseif edges[4] and state ~= 's' and not skipped then
      note(S, edges[4], id, state, cause, how)
    end
  end
  local success, failure, own = edges[1], edges[2], edges[7]
  local errbacks = #failure + #own
  for i = math.max(offset, 1), errbacks + #success do
    if S.followed >= LIMIT then return i end
    S.followed = S.followed + 1
    if i <= #failure then
      follow_errback(S, failure[i], id, state, cause, how, false)
    elseif i <= errbacks then
      follow_errback(S, own[i - #failure], id, state, cause, how, true)
    else
      follow_success(S, success[i - errbacks], id, state, cause, skipped)
    end
  end
  return nil
end

-- Work off the list; what is too much for one step goes to `pend`. Whether anything did.
local function cascade(S)
  while S.first <= #S.todo and S.followed < LIMIT do
    local p = S.todo[S.first]
    local offset = follow(S, p[1], p[2], p[3], p[4], p[5])
    if offset then
      p[5] = offset
      break
    end
    S.first = S.first + 1
  end
  for i = S.first, #S.todo do
    call('RPUSH', S.P .. 'pend', cmsgpack.pack(S.todo[i]))
    S.left = true
  end
  S.todo, S.first = {}, 1
  return S.left
end
