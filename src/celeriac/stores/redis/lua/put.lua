-- put: keep results of records that live in another store. ARGV[3 ...] id, packed result, …
-- Returns 1.

local S = begin()
local kept = S.o[$o_result_expires]
for i = 3, #ARGV, 2 do
  call('SET', S.P .. 'f:' .. ARGV[i], ARGV[i + 1])
  if kept then call('ZADD', S.P .. 'fs', S.now + kept, ARGV[i]) end
  call('PUBLISH', S.P .. 'done:' .. ARGV[i], '')
end
return 1
