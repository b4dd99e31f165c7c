-- purge: take up to 500 entries off the front of a queue's list and end what they stand for.
-- ARGV[3] reason, ARGV[4] queue, ARGV[5] priority, ARGV[6] the last sequence that counts.
-- Returns [how many ended, 1 if there may be more, work left 0|1].

local S = begin()
local list, last = S.P .. 'q:' .. ARGV[4] .. ':' .. ARGV[5], tonumber(ARGV[6])
local entries, ids, sequences = call('LRANGE', list, 0, LIMIT - 1), {}, {}
for i = 1, #entries do
  sequences[i] = struct.unpack('>I6', entries[i])
  if sequences[i] > last then break end
  ids[i] = string.sub(entries[i], 7)
end
if #ids == 0 then return {0, 0, 0} end
call('LTRIM', list, #ids, -1)
prefetch(S, ids)
local ended = 0
for i = 1, #ids do
  local rec = record(S, ids[i])
  if rec and rec.v[$state] == 'Q' and rec.v[$sequence] == sequences[i] then
    finish(S, rec, 'c', ARGV[3], '')
    cascade(S)
    ended = ended + 1
  end
end
flush(S)
return {ended, #ids == LIMIT and 1 or 0, S.left and 1 or 0}
