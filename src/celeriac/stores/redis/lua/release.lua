-- release: hand back, uncharged.
-- ARGV[3] packed fences (flat: id, attempt, nonce), ARGV[4] started 0|1, ARGV[5] delay (packed).
-- Returns [verdicts as letters O A F, work left 0|1].

local S = begin()
local q, started, delay = cmsgpack.unpack(ARGV[3]), ARGV[4] == '1', struct.unpack('>d', ARGV[5])
local verdicts, names = {}, {}
for i = 1, #q, 3 do
  local id, attempt, nonce = q[i], q[i + 1], q[i + 2]
  local rec = record(S, id)
  local verdict = judge(rec, attempt, nonce)
  if verdict == 'O' then
    rec.v[$applied] = attempt .. ' ' .. nonce
    local owner = owner_in(S, rec.v[$nonce])
    names[owner] = names[owner] or worker_name(S, owner)
    hand_back(S, rec, started, delay, names[owner])
    cascade(S)
  end
  verdicts[#verdicts + 1] = verdict
end
flush(S)
return {table.concat(verdicts), S.left and 1 or 0}
