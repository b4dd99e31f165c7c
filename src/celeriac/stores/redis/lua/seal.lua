-- seal: tell an open join its size; complete it if all members are in.
-- ARGV[3] join, ARGV[4] size. Returns 1. Refuses: INCOMPLETE arrived · NOJOIN join.

local S = begin()
local join = join_of(S, ARGV[3])
if not join then return redis.error_reply('NOJOIN ' .. ARGV[3]) end
if given_up(join) then return redis.error_reply('INCOMPLETE ' .. join.arrived) end
if not join.size then
  join.size = tonumber(ARGV[4])
  call('HSET', S.P .. 'j:' .. join.id, 'size', ARGV[4])
  call('ZREM', S.P .. 'jopen', join.id)
  call('UNLINK', S.P .. 'j:' .. join.id .. ':w')
  complete(S, join)
  cascade(S)
end
flush(S)
return 1
