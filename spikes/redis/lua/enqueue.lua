-- celeriac_enqueue: store messages as records, all or none.
--   KEYS[1] P   ARGV[1] packed [[[id, index of its wire in ARGV, send nonce, queue, priority,
--               eta ms|0, expires ms|0, flags (1 waits, 2 has edges to follow)], ...], join|false,
--               [join id, body id]|false to open]; ARGV[2...] the wires
--   Returns the number stored. Errors: DUPLICATE id · INCOMPLETE join.
-- Honours maxmemory (no allow-oom flag): a full server refuses it before the first write.

local function same_send(S, rec, nonce)
  return (rec.v.sn or head(S, rec).nonce) == nonce
end

local function enqueue(keys, args)
  local S = begin(keys)
  local P, call = S.P, redis.call
  local request = cmsgpack.unpack(args[1])
  local messages, join, opens = request[1], request[2], request[3]
  local seen, fresh, known, keys_of = {}, {}, {}, {}
  if join then
    local decided = call('HGET', P .. 'j:' .. join, 'decided')
    if decided == 'failed' and call('HGET', P .. 'j:' .. join, 'gaveup') then
      return redis.error_reply('INCOMPLETE ' .. join)
    end
  end
  -- Nearly always all of them are new, which one call tells.
  for i = 1, #messages do
    local id = messages[i][1]
    keys_of[2 * i - 1], keys_of[2 * i] = P .. 'm:' .. id, P .. 't:' .. id
  end
  local met = 0
  for from = 1, #keys_of, 4000 do
    met = met + call('EXISTS', unpack(keys_of, from, math.min(from + 3999, #keys_of)))
  end
  for i = 1, #messages do
    local m = messages[i]
    local id = m[1]
    if not seen[id] then
      seen[id] = m
      if met == 0 or not record(S, id) then
        fresh[#fresh + 1] = m
      else
        local rec = record(S, id)
        if rec.v.s == 'c' and rec.v.tomb then
          put(S, rec, 'sn', m[3])
          drop(S, rec, 'tomb')
        elseif not same_send(S, rec, m[3]) then
          if not OVER[rec.v.s] then return redis.error_reply('DUPLICATE ' .. id) end
          S.unlink[#S.unlink + 1] = P .. 't:' .. id
          S.unlink[#S.unlink + 1] = P .. 'r:' .. id
          fresh[#fresh + 1] = m
        end
      end
    elseif seen[id][3] ~= m[3] then
      return redis.error_reply('DUPLICATE ' .. id)
    end
  end
  -- From here on nothing can be refused. First what ended runs left, then the new ones.
  in_parts('UNLINK', S.unlink, 4000)
  S.unlink = {}
  for i = 1, #fresh do
    local m = fresh[i]
    local id, queue, priority, eta, expires, flags = m[1], m[4], m[5], m[6], m[7], m[8]
    set(S, P .. 'm:' .. id, args[m[2]])
    if flags ~= 0 or eta > S.now or expires > 0 then
      local waits = flags % 2 == 1
      local state = waits and 'W' or (eta > S.now and 'S' or 'Q')
      local fields = {s = state, e = flags >= 2 and 1 or nil}
      if expires > 0 then
        fields.x = expires
        call('ZADD', P .. 'exp', expires, id)
      end
      set(S, P .. 't:' .. id, cmsgpack.pack(fields))
      if state == 'S' then call('ZADD', P .. 'due', eta, id) end
      if state ~= 'Q' then queue = nil end
    end
    if queue then
      push(S, P .. 'q:' .. queue .. ':' .. priority, id)
      S.rings[queue] = true
    end
    local q, p = m[4], tostring(m[5])
    if known[q] == nil then known[q] = call('HGET', P .. 'qs', q) or '' end
    if not string.find(known[q], p, 1, true) then
      known[q] = known[q] .. p
      call('HSET', P .. 'qs', q, known[q])
    end
  end
  if opens then call('HSET', P .. 'j:' .. opens[1], 'body', opens[2], 'touched', S.now) end
  if join then call('HSET', P .. 'j:' .. join, 'touched', S.now) end
  flush(S)
  return #fresh
end

-- celeriac_seal: tell an open join its size; complete it if all members are in.
--   KEYS[1] P   ARGV[1] join   ARGV[2] size.   Returns 1, or error INCOMPLETE.
local function seal(keys, args)
  local S = begin(keys)
  local join = join_of(S, args[1])
  if not join then return redis.error_reply('INCOMPLETE ' .. args[1]) end
  join.size = tonumber(args[2])
  write(S, 'HSET', S.P .. 'j:' .. join.id, 'size', args[2], 'touched', S.now)
  complete(S, join)
  cascade(S)
  flush(S)
  return 1
end

redis.register_function('celeriac_enqueue', enqueue)
redis.register_function{function_name = 'celeriac_seal', callback = seal, flags = {'allow-oom'}}
