-- owners.lua: what an owner holds, and its end.

-- Those of `ids` that the owner holds, in the order they were sent.
local function held_of(S, owner, ids)
  prefetch(S, ids)
  local held = {}
  for i = 1, #ids do
    local rec = record(S, ids[i])
    if rec and HELD[rec.v[$state]] and owner_in(S, rec.v[$nonce]) == owner then
      held[#held + 1] = rec
    else
      call('SREM', S.P .. 'h:' .. owner, ids[i])
    end
  end
  table.sort(held, function(a, b) return base_of(a).order < base_of(b).order end)
  return held
end

local function remove_owner(S, owner)
  local key = S.P .. 'w:' .. owner
  call('ZREM', S.P .. 'owners', owner)
  call('UNLINK', key, key .. ':n', S.P .. 'h:' .. owner)
end
