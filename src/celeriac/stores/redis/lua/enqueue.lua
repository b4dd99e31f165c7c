-- enqueue: store messages of any kind, all or none.
-- ARGV[3] packed [messages, join|false, new joins (see insert.lua), ids of those that wait for what is
-- not among them]; then their wires.
-- Returns the number stored. Refuses: DUPLICATE id · INCOMPLETE arrived · NOJOIN join.

local S = begin()
local messages, join_id, joins, outsiders = unpack(cmsgpack.unpack(ARGV[3]))
local ids = {}
for i = 1, #messages do ids[i] = messages[i][1] end
look_up(S, ids)
local join = join_id and join_of(S, join_id)
if join_id then
  if not join then return redis.error_reply('NOJOIN ' .. join_id) end
  if given_up(join) then return redis.error_reply('INCOMPLETE ' .. join.arrived) end
end
local fresh, duplicate = check_new(S, messages)
if not fresh then return redis.error_reply('DUPLICATE ' .. duplicate) end
if join then
  call('HSET', S.P .. 'j:' .. join_id, 'touched', S.mono, 'arrived', join.arrived + #fresh)
  if not join.size then
    call('ZADD', S.P .. 'jopen', S.mono, join_id)
    local new = {}
    for i = 1, #fresh do new[fresh[i][1]] = true end
    for i = 1, #outsiders do
      if new[outsiders[i]] then call('RPUSH', S.P .. 'j:' .. join_id .. ':w', outsiders[i]) end
    end
  end
end
insert_all(S, fresh, joins)
cascade(S)
flush(S)
return #fresh
