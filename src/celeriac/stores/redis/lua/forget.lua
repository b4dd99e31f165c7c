-- forget: drop the results of up to 500 ended records. ARGV[3 ...] ids. Returns 1.

local S = begin()
for i = 3, #ARGV do
  local id = ARGV[i]
  if call('UNLINK', S.P .. 'f:' .. id) > 0 then call('ZREM', S.P .. 'fs', id) end
  local rec = record(S, id)
  if rec and OVER[rec.v[$state]] then
    rec.v[$special] = bor(rec.v[$special], FORGET + FORGOTTEN)
    tell_other(S, id)
    touch(S, rec)
    shrink(S, rec)
    schedule_drop(S, rec)
  end
end
flush(S)
return 1
