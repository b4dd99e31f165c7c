-- beat: extend an owner's lease, note starts, tell what it does not know of what it holds.
-- ARGV[3] owner, ARGV[4] packed starts (flat: id, attempt, nonce), ARGV[5] packed held ids,
-- ARGV[6] 1: only tell (no starts, no extension).
-- Returns [lost 0|1, gone ids, revoked (flat: id, attempt, nonce, terminate), 1 if a pass of the
-- reaper is due].

local S = begin()
local owner, P, telling = ARGV[3], S.P, ARGV[6] == '1'
local starts = cmsgpack.unpack(ARGV[4])
if not telling then
  for i = 1, #starts, 3 do note_started(S, starts[i], starts[i + 1], starts[i + 2]) end
end
local key = P .. 'w:' .. owner
if call('HEXISTS', key, 'reg') == 0 then
  flush(S)
  return {1, cmsgpack.unpack(ARGV[5]), {}, 0}
end
if not telling then
  call('HSET', key, 'beat', string.format('%.17g', S.now))
  call('ZADD', P .. 'owners', S.mono + S.o[$o_lease], owner)
end
local mine, gone, revoked = {}, {}, {}
local ids = call('SMEMBERS', P .. 'h:' .. owner)
prefetch(S, ids)
local held = {}
for i = 1, #ids do
  mine[ids[i]] = true
  local rec = record(S, ids[i])
  if rec and rec.v[$revoked] then held[#held + 1] = rec end
end
table.sort(held, function(a, b) return base_of(a).order < base_of(b).order end)
for i = 1, #held do
  local v, n = held[i].v, #revoked
  revoked[n + 1], revoked[n + 2], revoked[n + 3] = held[i].id, v[$attempt], v[$nonce]
  revoked[n + 4] = v[$terminate] or ''
end
ids = cmsgpack.unpack(ARGV[5])
for i = 1, #ids do
  if not mine[ids[i]] then gone[#gone + 1] = ids[i] end
end
local last = call('HGET', P .. 'pass', 'mono')
local due = not last or math.abs(S.mono - tonumber(last)) >= S.o[$o_reap_interval]
flush(S)
return {0, gone, revoked, due and 1 or 0}
