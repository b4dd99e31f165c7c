-- stamps: those that are revoked and have not lapsed. ARGV[3] their numbers are above this one.
-- Returns, flat and in the order of the numbers: stamp, number, packed (until when, terminate).

local S = begin()
local P, found = S.P, {}
local stamps = call('ZRANGEBYSCORE', P .. 'rsn', '(' .. ARGV[3], '+inf', 'WITHSCORES')
for i = 1, #stamps, 2 do
  local at, kept = #found, call('HGET', P .. 'rs', stamps[i])
  if cmsgpack.unpack(kept)[1] > S.now then
    found[at + 1], found[at + 2], found[at + 3] = stamps[i], tonumber(stamps[i + 1]), kept
  end
end
return found
