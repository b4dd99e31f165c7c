-- sweep: retention. Remove up to 500 of what was kept long enough, and the oldest above the limits.
-- Returns [removed, 1 if there may be more].

local S = begin()
local P, swept, more = S.P, 0, 0
local ids = call('ZRANGEBYSCORE', P .. 'drop', '-inf', S.now, 'LIMIT', 0, LIMIT)
prefetch(S, ids)
local found = {}
for i = 1, #ids do
  local rec = record(S, ids[i])
  if rec and rec.v[$drop] then
    found[#found + 1] = rec
    local _, _, order = struct.unpack('>Idd', rec.base)
    rec.order = order
  else
    call('ZREM', P .. 'drop', ids[i])
  end
end
-- Of those that are due together the oldest goes first: it may be what others refer to.
table.sort(found, function(a, b)
  if a.v[$drop] ~= b.v[$drop] then return a.v[$drop] < b.v[$drop] end
  return a.order < b.order
end)
for i = 1, #found do
  local rec = found[i]
  if referred(S, rec) then
    rec.v[$drop] = S.now + S.o[$o_lease]
    touch(S, rec)
    call('ZADD', P .. 'drop', rec.v[$drop], rec.id)
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
-- Stamps lapse in the order of their numbers, unless the setting has changed since: then later.
ids = call('ZRANGE', P .. 'rsn', 0, LIMIT - 1)
for i = 1, #ids do
  if cmsgpack.unpack(call('HGET', P .. 'rs', ids[i]))[1] > S.now then break end
  call('HDEL', P .. 'rs', ids[i])
  call('ZREM', P .. 'rsn', ids[i])
  if i == LIMIT then more = 1 end
end
if #ids > 0 and call('EXISTS', P .. 'rsn') == 0 then call('HDEL', P .. 'pass', 'stamps') end
-- Lists of creation of which everything is gone. One that was the newest then is seen only here.
local newest = math.floor(tonumber(call('GET', P .. 'seq') or 0) / 4096)
for _, chunk in ipairs(call('HRANDFIELD', P .. 'og', LIMIT)) do
  if tonumber(chunk) < newest
    and tonumber(call('HGET', P .. 'og', chunk)) >= call('LLEN', P .. 'o:' .. chunk) then
    call('UNLINK', P .. 'o:' .. chunk)
    call('HDEL', P .. 'og', chunk)
  end
end
flush(S)
return {swept, more}
