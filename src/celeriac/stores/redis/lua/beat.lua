-- beat: extend an owner's lease, note starts, tell what it does not know of what it holds.
-- ARGV[3] owner, ARGV[4] packed starts (flat: id, attempt, nonce), ARGV[5] packed held ids,
-- ARGV[6] 1: only tell (no starts, no extension).
-- Returns [lost 0|1, gone ids, revoked (flat: id, attempt, nonce, terminate), 1 if a pass of the
-- reaper is due, the highest number of a revoked stamp or 0, wall clock (packed)].

local S = begin()
local owner, P, telling = ARGV[3], S.P, ARGV[6] == '1'
local starts = cmsgpack.unpack(ARGV[4])
if not telling then
  for i = 1, #starts, 3 do note_started(S, starts[i], starts[i + 1], starts[i + 2]) end
end
local key = P .. 'w:' .. owner
local known = call('HMGET', key, 'reg', 'rev')
if not known[1] then
  flush(S)
  return {1, cmsgpack.unpack(ARGV[5]), {}, 0, 0, struct.pack('>d', S.now)}
end
if not telling then
  call('HSET', key, 'beat', string.format('%.17g', S.now))
  call('ZADD', P .. 'owners', S.mono + S.o[$o_lease], owner)
end
local asked, gone, revoked = cmsgpack.unpack(ARGV[5]), {}, {}
-- Most beats ask for nothing and there is nothing to tell: many idle workers are many of them.
if known[2] or #asked > 0 then
  local ids, mine, held = call('SMEMBERS', P .. 'h:' .. owner), {}, {}
  prefetch(S, ids)
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
  for i = 1, #asked do
    if not mine[asked[i]] then gone[#gone + 1] = asked[i] end
  end
  if #held == 0 and known[2] then call('HDEL', key, 'rev') end
end
local last = call('HMGET', P .. 'pass', 'mono', 'stamps')
local due = not last[1] or math.abs(S.mono - tonumber(last[1])) >= S.o[$o_reap_interval]
flush(S)
return {0, gone, revoked, due and 1 or 0, tonumber(last[2] or 0), struct.pack('>d', S.now)}
