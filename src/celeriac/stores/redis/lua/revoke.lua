-- revoke: up to 500 ids. ARGV[3] terminate or "", ARGV[4 ...] ids.
-- Returns [letters: R revoked, P pending, E ended, U unknown; work left 0|1].

local S = begin()
local terminate, effects = ARGV[3], {}
local P = S.P

local function revoke(id)
  local rec = record(S, id)
  if not rec then
    local till = S.now + S.o[$o_revoke_expires]
    call('SET', P .. 'rv:' .. id, cmsgpack.pack({till, terminate ~= '' and terminate}))
    call('ZADD', P .. 'rvs', till, id)
    return 'U'
  end
  local v = rec.v
  if v[$state] == 'c' then return 'R' end
  if OVER[v[$state]] then return 'E' end
  if terminate ~= '' then v[$terminate] = terminate end
  touch(S, rec)
  if HELD[v[$state]] then
    v[$revoked] = true
    call('HSET', P .. 'w:' .. owner_in(S, v[$nonce]), 'rev', 1)  -- its beat looks
    return 'P'
  end
  finish(S, rec, 'c', REVOKED, '')
  cascade(S)
  return 'R'
end

for i = 4, #ARGV do effects[i - 3] = revoke(ARGV[i]) end
flush(S)
return {table.concat(effects), S.left and 1 or 0}
