-- look: whether work is due in queues, and else when something falls due (whatever its queue).
-- ARGV[1] "" or the clocks, packed; ARGV[2 ...] queues.
-- Returns "" if work is there, else the seconds until something is due, or "-".

local P, call = KEYS[1], redis.call
for i = 2, #ARGV do
  local cells = {}
  for p = 0, 9 do cells[p + 1] = ARGV[i] .. '\0Q' .. p end
  local found = call('HMGET', P .. 'n', unpack(cells))
  for p = 1, 10 do
    if found[p] and tonumber(found[p]) > 0 then return '' end
  end
end
local due = call('ZRANGE', P .. 'due', 0, 0, 'WITHSCORES')
if not due[2] then return '-' end
local now
if ARGV[1] == '' then
  local time = call('TIME')
  now = time[1] + time[2] / 1000000
else
  now = struct.unpack('>d', ARGV[1])
end
local left = tonumber(due[2]) - now
return left <= 0 and '' or string.format('%.6f', left)
