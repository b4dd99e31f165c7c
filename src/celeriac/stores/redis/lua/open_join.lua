-- open_join: store a join, its body and what waits for the body.
-- ARGV[3] packed [join, new joins, body, messages behind it...] (see insert.lua); then their wires.
-- Returns 1. Refuses: DUPLICATE id.

local S = begin()
local q = cmsgpack.unpack(ARGV[3])
local id, messages = q[1], {}
for i = 3, #q do messages[i - 2] = q[i] end
local fresh, duplicate = check_new(S, messages)
if not fresh then return redis.error_reply('DUPLICATE ' .. duplicate) end
local known = join_of(S, id)
if not known or fresh[1] == messages[1] then
  insert_all(S, fresh, q[2], true)
  drop_join(S, id)
  call('HSET', S.P .. 'j:' .. id, 'body', messages[1][1], 'touched', S.mono)
  call('ZADD', S.P .. 'jopen', S.mono, id)
  S.joins[id] = nil
end
cascade(S)
flush(S)
return 1
