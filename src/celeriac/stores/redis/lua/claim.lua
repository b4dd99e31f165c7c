-- claim: move the tick of an entry of the schedule and store its messages, in one step.
-- ARGV[3] name, ARGV[4] tick, a number as text, ARGV[5] packed messages (see insert.lua); then their
-- wires. Keys: beat (schedules.py).
-- Returns 1, or 0 if there is no such entry or the tick is not later than its last.
-- Refuses: DUPLICATE id, and then nothing is changed.

local S = begin()
local beat, name = S.P .. 'beat', ARGV[3]
local last = call('HGET', beat, 't:' .. name)
if call('HEXISTS', beat, 'd:' .. name) == 0
  or (last and tonumber(ARGV[4]) <= tonumber(last)) then
  return 0
end
local fresh, duplicate = check_new(S, cmsgpack.unpack(ARGV[5]))
if not fresh then return redis.error_reply('DUPLICATE ' .. duplicate) end
call('HSET', beat, 't:' .. name, ARGV[4])
insert_all(S, fresh, {})
cascade(S)
flush(S)
return 1
