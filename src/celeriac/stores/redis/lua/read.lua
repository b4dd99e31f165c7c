-- read: what is kept of up to 500 records beside their messages. ARGV[1] which of body (r),
-- progress (p), result of another store (f) is wanted; ARGV[2 ...] ids.
-- Returns, flat, for each: state, base, body, progress, other store's result. What is not wanted or
-- not there is nil. A record that is simply queued has no state, only a base; one with a state has
-- its base in there.

local P, wanted, answer = KEYS[1], ARGV[1], {}

local function all(kind)
  local keys = {}
  for i = 2, #ARGV do keys[i - 1] = P .. kind .. ARGV[i] end
  return redis.call('MGET', unpack(keys))
end

local states = all('t:')
local bodies = string.find(wanted, 'r', 1, true) and all('r:')
local progress = string.find(wanted, 'p', 1, true) and all('p:')
local others = string.find(wanted, 'f', 1, true) and all('f:')
for i = 1, #ARGV - 1 do
  local at, m = 5 * i - 4, false
  if not states[i] then
    -- The base alone: a payload may be large.
    m = redis.call('GETRANGE', P .. 'm:' .. ARGV[i + 1], 0, 3)
    m = #m == 4 and redis.call('GETRANGE', P .. 'm:' .. ARGV[i + 1], 0, struct.unpack('>I', m) - 1)
  end
  answer[at], answer[at + 1] = states[i], m or false
  answer[at + 2] = bodies and bodies[i] or false
  answer[at + 3] = progress and progress[i] or false
  answer[at + 4] = others and others[i] or false
end
return answer
