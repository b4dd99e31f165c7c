-- once.lua: behind a script whose repeat would answer otherwise, which is `step` here. The last
-- argument is a token of the call: one that comes again, since its answer was lost on the way, is
-- answered as before and changes nothing, whatever has happened meanwhile.
-- Keys: once:TOKEN, the packed answer; longer than any call is sent again.

local key = KEYS[1] .. 'once:' .. table.remove(ARGV)
local said = redis.call('GET', key)
if said then return cmsgpack.unpack(said) end
local answer = step()
if not (type(answer) == 'table' and answer.err) then
  redis.call('SET', key, cmsgpack.pack(answer), 'EX', 600)
end
return answer
