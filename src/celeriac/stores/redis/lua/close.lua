-- close: hand back up to 500 of what an owner holds; unregister it once it holds nothing.
-- ARGV[3] owner. Returns [how many, 1 if it is gone, work left 0|1].

local S = begin()
local owner = ARGV[3]
local ids = call('SRANDMEMBER', S.P .. 'h:' .. owner, LIMIT)
local held = held_of(S, owner, ids)
local name = worker_name(S, owner)
for i = 1, #held do
  hand_back(S, held[i], held[i].v[$state] == 'R', 0, name)
  cascade(S)
end
flush(S)
local gone = call('SCARD', S.P .. 'h:' .. owner) == 0
if gone then remove_owner(S, owner) end
return {#held, gone and 1 or 0, S.left and 1 or 0}
