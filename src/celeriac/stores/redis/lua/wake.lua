-- wake: end a wait. A script, so that it may run on a server whose memory is full.
-- ARGV[1] the key of the wait, behind the prefix; ARGV[2] seconds after which it goes by itself.
-- Returns 1.

local key = KEYS[1] .. ARGV[1]
-- One for the sleep, the other for what may be sent along behind it.
redis.call('RPUSH', key, 'w', 'w')
redis.call('EXPIRE', key, ARGV[2])
return 1
