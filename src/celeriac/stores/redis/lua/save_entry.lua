-- save_entry: keep an entry of the schedule. KEYS[1] P · ARGV: field, value, … of the hash `beat`.
-- Returns 1.

redis.call('HSET', KEYS[1] .. 'beat', unpack(ARGV))
return 1
