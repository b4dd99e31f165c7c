-- register: make an owner known, with a fresh lease.
-- ARGV[3] owner, ARGV[4] manifest, ARGV[5] host name, ARGV[6] process id, ARGV[7 ...] name, stamp, …
-- Returns the wall clock, packed. Repeatable.

local S = begin()
local owner, P = ARGV[3], S.P
local key = P .. 'w:' .. owner
if call('HEXISTS', key, 'reg') == 0 then
  call('HSET', key, 'no', number(S), 'registered', string.format('%.17g', S.now))
end
call('HSET', key, 'reg', 1, 'man', ARGV[4], 'host', ARGV[5], 'pid', ARGV[6],
     'beat', string.format('%.17g', S.now))
call('DEL', key .. ':n')
for from = 7, #ARGV, 2000 do
  call('HSET', key .. ':n', unpack(ARGV, from, math.min(from + 1999, #ARGV)))
end
call('ZADD', P .. 'owners', S.mono + S.o[$o_lease], owner)
flush(S)
return struct.pack('>d', S.now)
