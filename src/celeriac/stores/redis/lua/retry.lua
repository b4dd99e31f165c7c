-- retry: reopen an ended record and what ended only because of it; `finish.reopen` is the reference.
-- ARGV[3] id, ARGV[4] packed map id -> message that takes its place (see insert.lua); then wires.
-- Returns the ids reopened; none while an errback that would wait again has not ended.
-- Refuses: TOOMANY most.

-- All of it is one step, since what was reopened in a first one could fail again before a second.
local MOST = 10000

local S = begin()
local messages, reopened, order = cmsgpack.unpack(ARGV[4]), {}, {}
-- Everything is worked out on this overlay first: nothing is written if a record has no message.
local over, joins, members = {}, {}, {}

local function node(id)
  if over[id] == nil then
    local rec = record(S, id)
    over[id] = rec and {id = id, rec = rec, state = rec.v[$state], cause = rec.v[$cause]} or false
  end
  return over[id]
end

local function join_at(id)
  if joins[id] == nil then
    local join = join_of(S, id)
    joins[id] = join and {id = id, body = join.body, size = join.size, count = join.count,
                          failures = join.failures, decided = join.decided, cause = join.cause}
  end
  return joins[id]
end

local function reopen(at, waits)
  local eta = base_of(at.rec).eta
  local state = waits and 'W' or (eta and eta > S.now and 'S' or 'Q')
  at.state, at.cause, at.again = state, '', true
  reopened[#reopened + 1] = {at.id, state, eta}
end

local todo, first, called = {}, 1, false

local function reopen_waiting(id, on)
  if #reopened > MOST then return end
  local at = node(id)
  if not at or not OVER[at.state] then
    -- What it hangs on has ended, so it was released: if it waits, it has been replaced.
    called = called or (at and on.whole and not at.again)
    return
  end
  if on.whole or (at.state ~= 's' and at.cause == on.cause) then
    reopen(at, true)
    todo[#todo + 1] = on
  end
end

local function reopen_join(join_id, index, at)
  local found = join_at(join_id)
  local key = string.format('%s\0%.0f', join_id, index)
  if members[key] == nil then
    members[key] = found and call('HGET', S.P .. 'j:' .. join_id .. ':m', index) or ''
  end
  local noted = members[key] and string.sub(members[key], 1, 1) or ''
  if not found or noted == '' or noted == '*' or (noted == '+' and not at.whole) then return end
  members[key] = index >= ADDED and '*' or ''
  if noted == '+' then found.count = found.count - 1 else found.failures = found.failures - 1 end
  found.forget = found.forget or {}
  table.insert(found.forget, index)
  if found.failures > 0 or found.decided == ''
    or (found.decided == 'failed' and found.cause == '') then return end
  local body = node(found.body)
  -- An errback that was replaced: it waits for what it is about, not for this.
  if body and not OVER[body.state] and not body.again and not at.whole then return end
  local cause = found.cause ~= '' and found.cause or at.cause
  found.decided, found.cause, found.reopened = '', '', true
  reopen_waiting(found.body, {id = found.body, cause = cause, whole = at.whole})
end

local function along(at)
  local here = node(at.id)
  local edges = here and edges_of(here.rec)
  if not edges then return end
  for list = 2, 7, 5 do
    for _, id in ipairs(edges[list]) do
      reopen_waiting(id, {id = id, cause = at.cause, whole = true})
    end
  end
  for _, id in ipairs(edges[1]) do
    reopen_waiting(id, {id = id, cause = at.cause, whole = at.whole})
  end
  if edges[3] then reopen_join(edges[3][1], edges[3][2], at) end
  if edges[4] and not (edges[3] and edges[3][1] == edges[4][1] and edges[3][2] == edges[4][2]) then
    reopen_join(edges[4][1], edges[4][2], at)
  end
end

local function among(ids, id)
  for _, each in ipairs(ids) do
    if each == id then return true end
  end
  return false
end

-- Whether the turn of a record is still to come; nil if it will not come.
local function waits_for_it(at)
  local edges = edges_of(at.rec)
  if not edges then return false end
  if edges[6] then
    local join = join_at(edges[6])
    if not join or join.decided == 'failed' then return nil end
    return join.decided == ''
  end
  local behind = edges[5]
  if not behind and band(at.rec.v[$flags], WAITS) > 0 then
    behind = edges[10]
    -- Edges of an earlier version end before: whom an errback is about is noted elsewhere, too.
    if behind == nil then behind = call('GET', S.P .. 'pa:' .. at.id) end
  end
  local before = behind and node(behind)
  if not before then
    if edges[5] then return nil end
    return false
  end
  local ways = edges_of(before.rec) or {{}, {}, [7] = {}}
  local succeeds, has_ended = among(ways[1], at.id), OVER[before.state]
  -- What is skipped with another one has a cause; what was ignored by itself called them.
  local failed = has_ended and before.state ~= 's' and (before.state ~= 'i' or before.cause == '')
  if edges[5] or succeeds then
    if before.state == 's' then return false end
    if not succeeds then return nil end
  elseif among(ways[2], at.id) then
    if failed then return false end
  elseif among(ways[7], at.id) then
    -- Not called for what was cancelled with what was before it. A body that has a cause failed by a
    -- member of its header, for which they are called.
    if failed and (before.cause == '' or ways[6]) then return false end
  else
    return false
  end
  if has_ended then return nil end
  return true
end

local function start()
  local at = node(ARGV[3])
  if at and at.cause ~= '' then at = node(at.cause) end
  if not at or not OVER[at.state] or at.state == 's' or at.cause ~= '' then return false end
  local waits = waits_for_it(at)
  if waits == nil then return false end
  reopen(at, waits)
  todo[1] = {id = at.id, cause = at.id, whole = false}
  return true
end

local function apply_one(id, state, eta)
  local rec = record(S, id)
  local v = rec.v
  if v[$state] == 'f' or v[$state] == 'd' then
    call('ZREM', S.P .. 'aside:' .. v[$state], id)
  end
  move(S, rec, 'W')
  v[$generation], v[$retries], v[$crashes], v[$losses] = v[$generation] + 1, 0, 0, 0
  v[$sequence] = number(S)
  v[$reason], v[$cause] = '', ''
  tell_other(S, id)
  if band(v[$special], BODY) > 0 then take_key(S, S.P .. 'r:' .. id) end
  v[$special] = band(v[$special], LINKED)
  forget_progress(S, rec)
  v[$terminate], v[$revoked] = false, false
  v[$started], v[$leased], v[$ended] = false, false, false
  if v[$drop] then
    v[$drop] = false
    call('ZREM', S.P .. 'drop', id)
  end
  local edges = edges_of(rec)
  -- What lasts from its release on has a new one before it.
  local lasts = state == 'W' and edges and edges[9]
  if v[$expires] and (lasts or v[$expires] <= S.now) then v[$expires] = false end
  will_expire(S, rec)
  if state ~= 'W' then place(S, rec, eta, true) end
end

if not start() then return {} end
while todo[first] do
  along(todo[first])
  first = first + 1
  if #reopened > MOST then return redis.error_reply('TOOMANY ' .. MOST) end
end
if called then return {} end
for i = 1, #reopened do
  local id = reopened[i][1]
  -- A record that was shrunk has no message left to run.
  if not messages[id] and call('EXISTS', S.P .. 'm:' .. id) == 0 then return {} end
end
for i = 1, #reopened do
  local id = reopened[i][1]
  order[i] = id
  if messages[id] then take_message(S, record(S, id), messages[id]) end
end
for id, found in pairs(joins) do
  if found and found.forget then
    local key = S.P .. 'j:' .. id
    for _, index in ipairs(found.forget) do
      if index >= ADDED then
        call('HSET', key .. ':m', index, '*')
      else
        call('HDEL', key .. ':m', index)
      end
    end
    call('HSET', key, 'count', found.count, 'failures', found.failures)
    if found.reopened then decide(S, join_of(S, id), '', '') end
  end
end
for i = 1, #reopened do apply_one(reopened[i][1], reopened[i][2], reopened[i][3]) end
flush(S)
return order
