-- revoke_stamps: keep stamps as revoked, each under a new number.
-- ARGV[3] terminate or "", ARGV[4 ...] stamps, as NAME=VALUE. Returns 1.

local S = begin()
local P, terminate = S.P, ARGV[3] ~= '' and ARGV[3]
local till, last = S.now + S.o[$o_revoke_expires], nil
for i = 4, #ARGV do
  local known = call('HGET', P .. 'rs', ARGV[i])
  local how = terminate or (known and cmsgpack.unpack(known)[2])
  last = number(S)
  call('HSET', P .. 'rs', ARGV[i], cmsgpack.pack({till, how}))
  call('ZADD', P .. 'rsn', last, ARGV[i])
end
if last then call('HSET', P .. 'pass', 'stamps', last) end
flush(S)
return 1
