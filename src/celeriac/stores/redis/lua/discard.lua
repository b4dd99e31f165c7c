-- discard: remove up to 500 records for good; end those that have not ended first.
-- ARGV[3] reason, ARGV[4 ...] ids. Returns [ids removed, work left 0|1]:
-- then some are still there, to be asked for again.

local S = begin()
local removed = {}
for i = 4, #ARGV do
  local rec = record(S, ARGV[i])
  if rec and not HELD[rec.v[$state]] then
    if not OVER[rec.v[$state]] then
      finish(S, rec, 'c', ARGV[3], '')
      cascade(S)
    end
    -- One whose edges could not all be followed yet stays until the caller has worked them off.
    if not S.left then
      drop(S, rec)
      removed[#removed + 1] = ARGV[i]
    end
  end
end
flush(S)
return {removed, S.left and 1 or 0}
