-- pass: what falls due: expiry, schedules, joins that were never sealed. Up to 500 of each.
-- Returns [expired, joins given up, 1 if there may be more, work left 0|1].

local S = begin()
local P, expired, more = S.P, 0, 0
local ids = call('ZRANGEBYSCORE', P .. 'exp', '-inf', S.now, 'LIMIT', 0, LIMIT)
prefetch(S, ids)
for i = 1, #ids do
  local rec = record(S, ids[i])
  local v = rec and rec.v
  call('ZREM', P .. 'exp', ids[i])
  -- A held one is looked at again when it comes back.
  if rec and v[$expires] and v[$expires] <= S.now and not OVER[v[$state]]
    and not HELD[v[$state]] then
    finish(S, rec, 'x', EXPIRED, '')
    cascade(S)
    expired = expired + 1
  end
end
if #ids == LIMIT then more = 1 end
if promote(S, LIMIT) == LIMIT then more = 1 end

local limit = '(' .. string.format('%.17g', S.mono - S.o[$o_join_seal])
local joins, given = call('ZRANGEBYSCORE', P .. 'jopen', '-inf', limit, 'LIMIT', 0, 100), 0
for i = 1, #joins do
  local join = join_of(S, joins[i])
  if join and not join.size and not given_up(join) then
    decide(S, join, 'failed', '')
    local body = record(S, join.body)
    if body then
      finish(S, body, 'f', 'HeaderIncomplete: header incomplete: ' .. join.arrived
             .. ' members of join ' .. join.id, '')
    end
    later(S, join.id, 'f', join.body, GIVEN_UP)
    cascade(S)
    given = given + 1
  else
    call('ZREM', P .. 'jopen', joins[i])
  end
end
if #joins == 100 then more = 1 end
flush(S)
return {expired, given, more, S.left and 1 or 0}
