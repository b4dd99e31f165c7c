-- lose: take back up to 500 of what a lost owner held; remove it once it holds nothing.
-- ARGV[3] owner, ARGV[4] its name for people, ARGV[5] packed random numbers from 0 up to 1.
-- Returns [fates as letters, 1 if it is gone, work left 0|1].

local S = begin()
local owner, worker, random = ARGV[3], ARGV[4], cmsgpack.unpack(ARGV[5])

local function fate_of(v, at)
  local losses = v[$losses]
  if v[$revoked] then return {'c', REVOKED} end
  if v[$stamp] > 0 then
    return {'f', 'WorkerLostError: ' .. worker .. ' stopped beating while it held this task'}
  end
  if losses >= S.o[$o_max_losses] then
    return {'d', 'DeadTaskError: lost ' .. losses .. ' times together with the worker that held it'}
  end
  if losses == 1 then
    return fate_again(S, v, nil, 'lost: ' .. worker .. ' stopped beating')
  end
  local due = S.now + S.o[$o_loss_delay] * (0.5 + random[(at - 1) % #random + 1])
  return fate_again(S, v, due, 'lost ' .. losses .. ' times: ' .. worker .. ' stopped beating')
end

local held = held_of(S, owner, call('SRANDMEMBER', S.P .. 'h:' .. owner, LIMIT))
local fates = {}
for i = 1, #held do
  local v = held[i].v
  v[$losses] = v[$losses] + 1
  local fate = fate_of(v, i)
  fates[i] = fate[1]
  give(S, held[i], fate)
  cascade(S)
end
flush(S)
local gone = call('SCARD', S.P .. 'h:' .. owner) == 0
if gone then remove_owner(S, owner) end
return {table.concat(fates), gone and 1 or 0, S.left and 1 or 0}
