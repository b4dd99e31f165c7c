-- sweep: retention. Remove up to 500 of what was kept long enough, and the oldest above the limits.
-- Returns [removed, 1 if there may be more].

local S = begin()
local P, swept, more = S.P, 0, 0
local ids = call('ZRANGEBYSCORE', P .. 'drop', '-inf', S.now, 'LIMIT', 0, LIMIT)
prefetch(S, ids)
for i = 1, #ids do
  local rec = record(S, ids[i])
  if not rec or not rec.v[$drop] then
    call('ZREM', P .. 'drop', ids[i])
  elseif referred(S, rec) then
    rec.v[$drop] = S.now + S.o[$o_lease]
    touch(S, rec)
    call('ZADD', P .. 'drop', rec.v[$drop], ids[i])
  else
    drop(S, rec)
    swept = swept + 1
  end
end
if #ids == LIMIT then more = 1 end

for _, state in ipairs({'f', 'd'}) do
  local excess = call('ZCARD', P .. 'aside:' .. state) - S.o[$o_dead_limit]
  if excess > 0 then
    ids = call('ZRANGE', P .. 'aside:' .. state, 0, math.min(excess, LIMIT) - 1)
    for i = 1, #ids do
      local rec = record(S, ids[i])
      if rec then
        drop(S, rec)
        swept = swept + 1
      else
        call('ZREM', P .. 'aside:' .. state, ids[i])
      end
    end
    if excess > LIMIT then more = 1 end
  end
end

for set, kind in pairs({rvs = 'rv:', fs = 'f:'}) do
  ids = call('ZRANGEBYSCORE', P .. set, '-inf', S.now, 'LIMIT', 0, LIMIT)
  for i = 1, #ids do
    call('UNLINK', P .. kind .. ids[i])
    call('ZREM', P .. set, ids[i])
  end
  if #ids == LIMIT then more = 1 end
end
flush(S)
return {swept, more}
