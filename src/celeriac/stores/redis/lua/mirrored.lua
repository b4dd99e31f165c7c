-- mirrored: forget rows of the outbox, which are in the other store. A script, so that it is refused
-- where another version has made the store its own.
-- ARGV their numbers, up to 500. Returns 1.

for i = 1, #ARGV do
  redis.call('ZREMRANGEBYSCORE', KEYS[1] .. 'outbox', ARGV[i], ARGV[i])
end
return 1
