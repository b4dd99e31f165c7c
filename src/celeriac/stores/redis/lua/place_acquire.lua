-- place_acquire: take one of a limited number of places under a key, or keep the one held.
--   KEYS[1] P   ARGV[1] key   ARGV[2] holder   ARGV[3] limit   ARGV[4] milliseconds
--   ARGV[5] the time in milliseconds, '' for the server's
--   Returns 1 if granted, else 0. Keys: place:KEY, a zset of holders by the time they lapse.

local place = KEYS[1] .. 'place:' .. ARGV[1]
local now = tonumber(ARGV[5])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
redis.call('ZREMRANGEBYSCORE', place, '-inf', now)
if not redis.call('ZSCORE', place, ARGV[2])
  and redis.call('ZCARD', place) >= tonumber(ARGV[3]) then
  return 0
end
redis.call('ZADD', place, now + tonumber(ARGV[4]), ARGV[2])
-- Nobody sweeps: the key goes with the last of its holders.
local last = redis.call('ZRANGE', place, -1, -1, 'WITHSCORES')
redis.call('PEXPIRE', place, math.max(1, math.ceil(tonumber(last[2]) - now)))
return 1
