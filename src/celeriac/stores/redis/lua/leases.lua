-- leases: what an owner has under a lease.
-- ARGV[3] owner. Returns its fences, flat: id, attempt, nonce.

local S = begin()
local held = held_of(S, ARGV[3], call('SMEMBERS', S.P .. 'h:' .. ARGV[3]))
local fences = {}
for i = 1, #held do
  local v, n = held[i].v, #fences
  fences[n + 1], fences[n + 2], fences[n + 3] = held[i].id, v[$attempt], v[$nonce]
end
return fences
