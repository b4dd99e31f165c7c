-- give.lua: what becomes of a record that leaves a worker's hands; `stores/fates.py` is the
-- reference. A fate is {state, reason, due, renew}; the counters are in the record already.

local function fate_again(S, v, due, reason, renew)
  if v[$expires] and v[$expires] <= S.now then return {'x', EXPIRED} end
  if due and due > S.now then return {'S', reason, due, renew} end
  return {'Q', reason, nil, renew}
end

local function give(S, rec, fate)
  local v, state = rec.v, fate[1]
  touch(S, rec)
  if OVER[state] then
    finish(S, rec, state, fate[2], '')
    return
  end
  v[$reason] = fate[2]
  forget_progress(S, rec)
  v[$started] = false
  if fate[4] then v[$sequence] = number(S) end
  will_expire(S, rec)
  if state == 'W' then
    move(S, rec, 'W')
  else
    place(S, rec, fate[3], fate[4])
  end
end

local function hand_back(S, rec, started, delay, worker)
  local v, fate = rec.v, nil
  if v[$revoked] then
    fate = {'c', REVOKED}
  elseif started and v[$stamp] % 2 == 1 then
    fate = {'f', 'WorkerLostError: ' .. worker .. ' stopped while it ran this task'}
  else
    fate = fate_again(S, v, delay > 0 and S.now + delay or nil, '', started)
  end
  if not started then v[$attempt] = v[$attempt] - 1 end
  give(S, rec, fate)
end

-- "worker HOST (pid N)", for reasons.
local function worker_name(S, owner)
  local v = call('HMGET', S.P .. 'w:' .. owner, 'host', 'pid')
  if not v[2] then return 'worker ' .. owner end
  return 'worker ' .. (v[1] ~= '' and v[1] or owner) .. ' (pid ' .. v[2] .. ')'
end

-- Judge a fenced write: O it holds, A it was applied before, F fenced.
local function judge(rec, attempt, nonce)
  if not rec then return 'F' end
  local v = rec.v
  if HELD[v[$state]] and v[$attempt] == attempt and v[$nonce] == nonce then return 'O' end
  return v[$applied] == attempt .. ' ' .. nonce and 'A' or 'F'
end

local function note_started(S, id, attempt, nonce)
  local rec = record(S, id)
  if judge(rec, attempt, nonce) == 'O' and rec.v[$state] == 'L' then
    move(S, rec, 'R')
    rec.v[$started] = S.now
  end
end
