-- update: keep a state and metadata for a delivery.
-- ARGV[3] id, ARGV[4] attempt, ARGV[5] nonce, ARGV[6] state, ARGV[7] "-" or "+" and metadata.
-- Returns the verdict's letter.

local S = begin()
local rec = record(S, ARGV[3])
local verdict = judge(rec, tonumber(ARGV[4]), ARGV[5])
if verdict == 'O' then
  put_key(S, S.P .. 'p:' .. rec.id, ARGV[6] .. '\0' .. ARGV[7])
  if rec.v[$progress] == 0 then
    rec.v[$progress] = 1
    touch(S, rec)
  end
  flush(S)
end
return verdict
