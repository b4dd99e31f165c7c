-- bucket_take: take from a token bucket, if there is enough in it.
--   KEYS[1] P   ARGV[1] key   ARGV[2] amount   ARGV[3] rate a second   ARGV[4] burst
--   ARGV[5] the time in milliseconds, '' for the server's
--   Returns '0' if taken, else the seconds until it could be as text ('inf': never).
--   Keys: bucket:KEY, "tokens time"; a bucket that would be full by now is not kept.

local bucket = KEYS[1] .. 'bucket:' .. ARGV[1]
local amount, rate, burst = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local now = tonumber(ARGV[5])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + time[2] / 1000
end
local tokens, since = burst, now
local kept = redis.call('GET', bucket)
if kept then
  local space = string.find(kept, ' ', 1, true)
  tokens, since = tonumber(string.sub(kept, 1, space - 1)), tonumber(string.sub(kept, space + 1))
end
-- A clock that was set back gives nothing, and takes nothing.
tokens = math.min(burst, tokens + math.max(0, now - since) / 1000 * rate)
local taken = tokens >= amount
if taken then tokens = tokens - amount end
local text = string.format('%.17g %.17g', tokens, now)
if rate > 0 then
  -- Full again by then, which is what no key means; a second more for the clock.
  redis.call('SET', bucket, text, 'PX', math.ceil((burst - tokens) / rate * 1000) + 1000)
else
  redis.call('SET', bucket, text)
end
if taken then return '0' end
if rate <= 0 then return 'inf' end
return string.format('%.17g', (amount - tokens) / rate)
