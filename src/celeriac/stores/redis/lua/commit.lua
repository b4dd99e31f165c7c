-- commit.lua: the outcomes of runs.
-- A kind is what commits have in common: [attempt, nonce, state, reason, forget 0|1, has a body
-- 0|1, charge, eta|false, delay, message|false, parts, joins].

local function duplicate(id)
  return 'DuplicateTask: Task ' .. id .. ' exists and has not ended. Send this call with another '
    .. 'task_id, or wait for that task or revoke it.'
end

local function charge(v, what)
  if what == 'retry' then
    v[$retries] = v[$retries] + 1
  elseif what == 'crash' then
    v[$crashes] = v[$crashes] + 1
  end
end

local function commit_end(S, rec, kind, body)
  local v = rec.v
  charge(v, kind[7])
  if kind[5] == 1 then
    v[$special] = bor(v[$special], FORGET)
  else
    v[$special] = band(v[$special], 255 - FORGET)
  end
  finish(S, rec, kind[3], kind[4], '', kind[6] == 1 and body or nil)
end

local function commit_again(S, rec, kind, parts)
  local v, state = rec.v, kind[3]
  charge(v, kind[7])
  local fate
  if v[$revoked] then
    fate = {'c', REVOKED}
  elseif state == 'W' then
    fate = {'W', kind[4]}
  else
    local due = nil
    if state == 'S' then due = kind[8] or S.now + kind[9] end
    fate = fate_again(S, v, due, kind[4], true)
  end
  if not OVER[fate[1]] and kind[10] then
    move(S, rec, 'W')
    take_message(S, rec, kind[10])
  end
  -- One that waits must do so before what it waits for is stored, which may end at once.
  give(S, rec, fate)
  if not OVER[fate[1]] then insert_all(S, parts, kind[12], false, rec.id) end
end

local function apply(S, rec, kind, mark, body)
  rec.v[$applied] = mark
  local parts = kind[11]
  if #parts > 0 then
    local fresh, id = check_new(S, parts)
    if not fresh then
      kind = {kind[1], kind[2], 'f', duplicate(id), 0, 0, '', false, 0, false, {}, {}}
      fresh = {}
    end
    parts = fresh
  end
  if OVER[kind[3]] then
    if #parts > 0 then insert_all(S, parts, kind[12], false, rec.id) end
    commit_end(S, rec, kind, body)
  else
    commit_again(S, rec, kind, parts)
  end
  if #S.todo > 0 then cascade(S) end
end

-- Commit `ids[i]` as `kinds[which[i]]`, its body in ARGV[bodies + i]; the verdicts as letters.
local function commit_all(S, ids, which, kinds, bodies)
  local verdicts, marks = {}, {}
  prefetch(S, ids)
  for k = 1, #kinds do marks[k] = kinds[k][1] .. ' ' .. kinds[k][2] end
  for i = 1, #ids do
    local k = which[i]
    local kind = kinds[k]
    local rec = record(S, ids[i])
    local verdict = judge(rec, kind[1], kind[2])
    if verdict == 'O' then apply(S, rec, kind, marks[k], ARGV[bodies + i]) end
    verdicts[i] = verdict
  end
  return table.concat(verdicts)
end
