-- reap_begin: note a pass of the reaper and mark the owners that are lost.
-- ARGV[3] 1: only if a pass is due; ARGV[4] packed [expected wall clock|false, gap|false: seconds
-- since the last turn of this process, if it beats]; ARGV[5] packed ids of owners known to be dead.
-- Returns [0] if no pass is due; else [1, grace 0|1, wall clock (packed), owners (flat: id, name)].
-- An owner that is marked is lost even if it beats again before the reaper is through.

local S = begin()
local P, o = S.P, S.o
local pass = call('HMGET', P .. 'pass', 'mono', 'run')
local last = tonumber(pass[1] or nil)
if ARGV[3] == '1' and last and math.abs(S.mono - last) < o[$o_reap_interval] then return {0} end
-- A user who may not ask goes without: a restart is then seen only by who was there before it.
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
call('HSET', P .. 'pass', 'mono', string.format('%.17g', S.mono), 'run', run)

-- Did this process or the machine stand still, or somebody set the clock, or the server start anew?
-- Then heartbeats may have been missed by everybody, not by the dead alone: `turns.py`.
local expected, gap = unpack(cmsgpack.unpack(ARGV[4]))
local half, grace = o[$o_lease] / 2, false
if pass[2] and pass[2] ~= '' and run ~= '' and pass[2] ~= run then grace = true end
if expected and math.abs(S.now - expected) > half then grace = true end
if gap and last then gap = math.min(gap, math.abs(S.mono - last)) end
if gap and gap > half then grace = true end
local until_ = S.mono + o[$o_lease]
-- A new lease for all, or only a cut of what a clock that stepped has put too far ahead.
local which = grace and call('ZRANGEBYSCORE', P .. 'owners', 0, '+inf')
  or call('ZRANGEBYSCORE', P .. 'owners', until_, '+inf')
for i = 1, #which do call('ZADD', P .. 'owners', 'XX', until_, which[i]) end

local lost = call('ZRANGEBYSCORE', P .. 'owners', '-inf', '(' .. string.format('%.17g', S.mono))
local seen = {}
for i = 1, #lost do seen[lost[i]] = true end
local dead = cmsgpack.unpack(ARGV[5])
for i = 1, #dead do
  if not seen[dead[i]] and call('ZSCORE', P .. 'owners', dead[i]) then
    seen[dead[i]] = true
    lost[#lost + 1] = dead[i]
  end
end
local numbers = {}
for i = 1, #lost do
  numbers[lost[i]] = tonumber(call('HGET', P .. 'w:' .. lost[i], 'no') or 0)
end
table.sort(lost, function(a, b) return numbers[a] < numbers[b] end)
local told = {}
for i = 1, #lost do
  call('HDEL', P .. 'w:' .. lost[i], 'reg')
  call('ZADD', P .. 'owners', -1, lost[i])
  told[2 * i - 1], told[2 * i] = lost[i], worker_name(S, lost[i])
end
return {1, grace and 1 or 0, struct.pack('>d', S.now), told}
