-- ring: at the end of a pass, ring queues with due work, and those where something is parked that a worker knows.
-- Returns 1.

local S = begin()
local counts = call('HGETALL', S.P .. 'n')
local empty = {}
for i = 1, #counts, 2 do
  local queue, letter = string.match(counts[i], '^(.*)%z(.)%d?$')
  if counts[i + 1] == '0' then
    empty[#empty + 1] = counts[i]
    if letter == 'Q' then
      -- Whatever is in there stands for what has ended.
      local at = queue .. ':' .. string.sub(counts[i], -1)
      call('UNLINK', S.P .. 'q:' .. at, S.P .. 'b:' .. at)
    end
  elseif letter == 'Q' then
    S.rings[queue] = true
  end
end
if #empty > 0 then call('HDEL', S.P .. 'n', unpack(empty, 1, math.min(#empty, 4000))) end
local parked = call('HKEYS', S.P .. 'kn')
if #parked > 0 then
  local owners = call('ZRANGE', S.P .. 'owners', 0, 99)
  for i = 1, #parked do
    local at = string.find(parked[i], '\0', 1, true)
    local task = string.sub(parked[i], at + 1)
    for k = 1, #owners do
      if call('HEXISTS', S.P .. 'w:' .. owners[k] .. ':n', task) == 1 then
        S.park_rings[string.sub(parked[i], 1, at - 1)] = true
        break
      end
    end
  end
end
flush(S)
return 1
