-- beat: extend an owner's lease, note starts, tell what was revoked of what it holds.
-- ARGV[3] owner, ARGV[4] packed starts (flat: id, attempt, nonce), ARGV[5] 1: only tell (no starts,
-- no extension).
-- Returns [lost 0|1, revoked (flat: id, attempt, nonce, terminate), 1 if a pass of the reaper is due,
-- the highest number of a revoked stamp or 0, wall clock (packed), the server's run as the last pass
-- found it].

local S = begin()
local owner, P, telling = ARGV[3], S.P, ARGV[5] == '1'
local starts = cmsgpack.unpack(ARGV[4])
if not telling then
  for i = 1, #starts, 3 do note_started(S, starts[i], starts[i + 1], starts[i + 2]) end
end
local key = P .. 'w:' .. owner
local known = call('HMGET', key, 'reg', 'rev')
if not known[1] then
  flush(S)
  return {1, {}, 0, 0, struct.pack('>d', S.now), ''}
end
if not telling then
  call('HSET', key, 'beat', string.format('%.17g', S.now))
  call('ZADD', P .. 'owners', S.mono + S.o[$o_lease], owner)
end
local revoked = {}
-- Mostly there is nothing to tell: many idle workers are many beats.
if known[2] then
  local ids, held = call('SMEMBERS', P .. 'h:' .. owner), {}
  prefetch(S, ids)
  for i = 1, #ids do
    local rec = record(S, ids[i])
    if rec and rec.v[$revoked] then held[#held + 1] = rec end
  end
  table.sort(held, function(a, b) return base_of(a).order < base_of(b).order end)
  for i = 1, #held do
    local v, n = held[i].v, #revoked
    revoked[n + 1], revoked[n + 2], revoked[n + 3] = held[i].id, v[$attempt], v[$nonce]
    revoked[n + 4] = v[$terminate] or ''
  end
  if #held == 0 then call('HDEL', key, 'rev') end
end
local last = call('HMGET', P .. 'pass', 'mono', 'stamps', 'run')
local due = not last[1] or math.abs(S.mono - tonumber(last[1])) >= S.o[$o_reap_interval]
flush(S)
return {0, revoked, due and 1 or 0, tonumber(last[2] or 0), struct.pack('>d', S.now), last[3] or ''}
