-- claim: move the cursor of a periodic entry and store its messages, if the tick is later.
-- ARGV[3] entry, ARGV[4] tick (packed double), ARGV[5] packed messages (see insert.lua); then wires.
-- Keys: sched hash: entry -> definition; schedt hash: entry -> packed last tick.
-- Returns 1, or 0 if the tick was claimed or there is no such entry. Refuses: DUPLICATE id.

local S = begin()
if call('HEXISTS', S.P .. 'sched', ARGV[3]) == 0 then return 0 end
local last = call('HGET', S.P .. 'schedt', ARGV[3])
local tick = struct.unpack('>d', ARGV[4])
if last and tick <= struct.unpack('>d', last) then return 0 end
local fresh, duplicate = check_new(S, cmsgpack.unpack(ARGV[5]))
if not fresh then return redis.error_reply('DUPLICATE ' .. duplicate) end
call('HSET', S.P .. 'schedt', ARGV[3], ARGV[4])
for i = 1, #fresh do insert(S, fresh[i]) end
cascade(S)
flush(S)
return 1
