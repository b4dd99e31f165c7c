-- end_all: end those of up to 500 ids that are queued or scheduled in a queue as revoked.
-- ARGV[3] reason, ARGV[4] queue, ARGV[5 ...] ids. Returns [how many, work left 0|1].

local S = begin()
local ended, ids = 0, {}
for i = 5, #ARGV do ids[i - 4] = ARGV[i] end
prefetch(S, ids)
for i = 1, #ids do
  local rec = record(S, ids[i])
  local state = rec and rec.v[$state]
  if (state == 'Q' or state == 'P' or state == 'S') and rec.v[$queue] == ARGV[4] then
    finish(S, rec, 'c', ARGV[3], '')
    cascade(S)
    ended = ended + 1
  end
end
flush(S)
return {ended, S.left and 1 or 0}
