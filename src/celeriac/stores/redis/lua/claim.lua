-- claim: move the tick of an entry of the schedule and store the messages of it, in one step.
--   KEYS[1] P   ARGV[1] name   ARGV[2] tick, a number as text   ARGV[3...] as enqueue takes them;
--   none: no messages
--   Returns 1, or 0 if there is no such entry or the tick is not later than its last.
--   Errors: those of enqueue, and then nothing is changed. Keys: beat, and those of enqueue.

local beat = KEYS[1] .. 'beat'
local name, tick = table.remove(ARGV, 1), table.remove(ARGV, 1)
local last = redis.call('HGET', beat, 't:' .. name)
if redis.call('HEXISTS', beat, 'd:' .. name) == 0
  or (last and tonumber(tick) <= tonumber(last)) then
  return 0
end
if #ARGV > 0 then
  local function enqueue()
-- ENQUEUE
  end
  local answer = enqueue()
  if type(answer) == 'table' and answer.err then return answer end
end
redis.call('HSET', beat, 't:' .. name, tick)
return 1
