-- work_off: follow edges that larger steps left, up to 500. Returns 1 if some are left, else 0.

local S = begin()
local pending = call('LRANGE', S.P .. 'pend', 0, 99)
if #pending == 0 then return 0 end
call('LTRIM', S.P .. 'pend', #pending, -1)
for i = 1, #pending do
  local p = cmsgpack.unpack(pending[i])
  -- An earlier version wrote whether it was skipped.
  later(S, p[1], p[2], p[3], p[4] == true and SKIPPED or p[4] or ITSELF, p[5])
end
cascade(S)
flush(S)
return call('EXISTS', S.P .. 'pend')
