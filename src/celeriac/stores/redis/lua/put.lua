-- put: keep results of records that live in another store.
-- ARGV[3 ...] id, when it ended as a double (0: it has not), packed result, … Returns 1.
-- One that ended before the one that is there comes late (`fates.comes_late`) and is left out.

local S = begin()
local kept = S.o[$o_result_expires]
for i = 3, #ARGV, 3 do
  local id, ended = ARGV[i], struct.unpack('>d', ARGV[i + 1])
  local known = call('GETRANGE', S.P .. 'f:' .. id, 0, 7)
  if ended == 0 or #known < 8 or struct.unpack('>d', known) <= ended then
    call('SET', S.P .. 'f:' .. id, ARGV[i + 1] .. ARGV[i + 2])
    if kept then call('ZADD', S.P .. 'fs', S.now + kept, id) end
    call('PUBLISH', S.P .. 'done:' .. id, '')
  end
end
return 1
