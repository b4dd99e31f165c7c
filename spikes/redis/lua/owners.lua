-- Owners: register, beat (reaping rides in it), reap, release.
--
-- celeriac_register: KEYS[1] P  ARGV owner, manifest bytes, lease ms, packed {name: stamp}.
--   Returns 1. Repeatable.
-- celeriac_beat: KEYS[1] P  ARGV owner, lease ms, packed started [[id, attempt, nonce]...],
--   packed held [id...], reap interval ms, max losses, loss delay ms, extend 0|1, tombstone ms.
--   Returns [lost 0|1, gone ids, reaped]; reaped is [] or the numbers celeriac_reap returns.
-- celeriac_reap: KEYS[1] P  ARGV lease ms, packed dead owners, max losses, loss delay ms,
--   extend 0|1, tombstone ms. Returns [owners ended, requeued, failed, dead, expired, swept 0|1, more 0|1].
-- celeriac_release: KEYS[1] P  ARGV owner, packed [[id, attempt, nonce]...], started 0|1, delay ms.
--   Returns verdicts as a string.

local function register(keys, args)
  local S = begin(keys)
  local P, owner = S.P, args[1]
  local names = cmsgpack.unpack(args[4])
  local fields = {'HSET', P .. 'w:' .. owner .. ':n'}
  for name, stamp in pairs(names) do
    fields[#fields + 1], fields[#fields + 2] = name, stamp
  end
  redis.call('HSET', P .. 'w:' .. owner, 'reg', S.now, 'man', args[2])
  redis.call('DEL', P .. 'w:' .. owner .. ':n')
  if #fields > 2 then redis.call(unpack(fields)) end
  redis.call('ZADD', P .. 'owners', S.now + args[3], owner)
  return 1
end

local function lose(S, rec, done, max_losses, delay)
  local stamp = tonumber(rec.v.st) or 0
  if rec.v.rv then
    finish(S, rec, 'c', 'TaskRevokedError: revoked', '', nil, true)
    done.failed = done.failed + 1
  elseif stamp > 0 then
    finish(S, rec, 'f', 'WorkerLostError: its worker was lost', '', nil, true)
    done.failed = done.failed + 1
  else
    local losses = (tonumber(rec.v.lo) or 0) + 1
    put(S, rec, 'lo', losses)
    if losses >= max_losses then
      finish(S, rec, 'd', 'WorkerLostError: lost with ' .. losses .. ' workers', '', nil, true)
      done.dead = done.dead + 1
    else
      forget_lease(S, rec)
      local h = head(S, rec)
      local due = losses >= 2 and S.now + delay * (0.75 + (S.now * losses % 100) / 200) or nil
      place(S, rec, h.queue, h.priority, due)
      done.requeued = done.requeued + 1
    end
  end
end

local function pass(S, lease, dead, max_losses, delay, extend, tombstone)
  S.tombstone = tonumber(tombstone)
  local P, call, now = S.P, redis.call, S.now
  local done = {owners = {}, requeued = 0, failed = 0, dead = 0, expired = 0, swept = 0, more = 0}
  local room, over = LIMIT, {}
  for _, owner in ipairs(dead) do over[#over + 1] = owner end
  if extend then
    for _, owner in ipairs(call('ZRANGE', P .. 'owners', 0, -1)) do
      write(S, 'ZADD', P .. 'owners', 'XX', now + lease, owner)
    end
  else
    for _, owner in ipairs(call('ZRANGEBYSCORE', P .. 'owners', '-inf', now, 'LIMIT', 0, 20)) do
      over[#over + 1] = owner
    end
    -- A clock that stepped back must not keep the dead alive for longer than one lease.
    local far = call('ZRANGEBYSCORE', P .. 'owners', now + lease + 1, '+inf', 'LIMIT', 0, 20)
    for _, owner in ipairs(far) do write(S, 'ZADD', P .. 'owners', 'XX', now + lease, owner) end
  end
  for _, owner in ipairs(over) do
    local held = room > 0 and call('SRANDMEMBER', P .. 'h:' .. owner, room + 1) or {}
    for i = 1, math.min(#held, room) do
      local rec = record(S, held[i])
      if rec and HELD[rec.v.s] and string.match(rec.v.n or '', '^[^.]+') == owner then
        lose(S, rec, done, max_losses, delay)
      else
        write(S, 'SREM', P .. 'h:' .. owner, held[i])
      end
    end
    if room > 0 and #held <= room then
      write(S, 'ZREM', P .. 'owners', owner)
      write(S, 'DEL', P .. 'w:' .. owner, P .. 'w:' .. owner .. ':n')
      done.owners[#done.owners + 1] = owner
    else
      -- Known as over, but not all handed back: nobody may beat it alive meanwhile.
      write(S, 'HDEL', P .. 'w:' .. owner, 'reg')
      write(S, 'ZADD', P .. 'owners', 0, owner)
      done.more = 1
    end
    room = room - math.min(#held, room)
  end
  for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'exp', '-inf', now, 'LIMIT', 0, 200)) do
    local rec = record(S, id)
    if rec and (rec.v.s == 'Q' or rec.v.s == 'S' or rec.v.s == 'W') then
      finish(S, rec, 'x', 'TaskRevokedError: expired', '', nil, true)
      done.expired = done.expired + 1
    else
      write(S, 'ZREM', P .. 'exp', id)
    end
  end
  -- Tombstones, oldest first: the list is in order of their ends, so the first young one is enough.
  local tombs = call('LRANGE', P .. 'e:t', 0, LIMIT - 1)
  prefetch(S, tombs)
  local gone = 0
  for i = 1, #tombs do
    local rec = record(S, tombs[i])
    if rec and OVER[rec.v.s] and rec.v.ea + S.tombstone > now then break end
    if rec and OVER[rec.v.s] then S.unlink[#S.unlink + 1] = P .. 't:' .. tombs[i] end
    gone = i
  end
  if gone > 0 then write(S, 'LTRIM', P .. 'e:t', gone, -1) end
  if gone == LIMIT then done.more = 1 end
  local pending = call('LRANGE', P .. 'sweep', 0, LIMIT - 1)
  for _, packed in ipairs(pending) do
    local p = cmsgpack.unpack(packed)
    later(S, p[1], p[2], p[3], p[4], p[5])
  end
  if #pending > 0 then
    write(S, 'LTRIM', P .. 'sweep', #pending, -1)
    done.swept, done.more = 1, 1
  end
  cascade(S)
  if promote(S, 500) == 500 then done.more = 1 end
  flush_leases(S)
  flush(S)
  return {done.owners, done.requeued, done.failed, done.dead, done.expired, done.swept, done.more}
end

local function reap(keys, args)
  return pass(begin(keys), tonumber(args[1]), cmsgpack.unpack(args[2]), tonumber(args[3]),
              tonumber(args[4]), args[5] == '1', args[6])
end

local function beat(keys, args)
  local S = begin(keys)
  local P, owner, lease = S.P, args[1], tonumber(args[2])
  local started, held = cmsgpack.unpack(args[3]), cmsgpack.unpack(args[4])
  local gone = {}
  local lost = redis.call('HEXISTS', P .. 'w:' .. owner, 'reg') == 0
  for _, f in ipairs(started) do
    local rec = record(S, f[1])
    if rec and rec.v.s == 'L' and rec.v.n == f[3] then
      put(S, rec, 's', 'R')
      put(S, rec, 'sa', S.now)
    end
  end
  for _, id in ipairs(held) do
    local rec = record(S, id)
    if not (rec and HELD[rec.v.s] and string.match(rec.v.n or '', '^[^.]+') == owner) then
      gone[#gone + 1] = id
    end
  end
  if not lost then
    redis.call('ZADD', P .. 'owners', S.now + lease, owner)
  end
  local reaped = {}
  if redis.call('SET', P .. 'reaping', owner, 'NX', 'PX', args[5]) then
    reaped = pass(S, lease, {}, tonumber(args[6]), tonumber(args[7]), args[8] == '1',
                  args[9])
  else
    flush(S)
  end
  return {lost and 1 or 0, gone, reaped}
end

local function release(keys, args)
  local S = begin(keys)
  local verdicts, started, delay = {}, args[3] == '1', tonumber(args[4])
  for i, f in ipairs(cmsgpack.unpack(args[2])) do
    local rec = record(S, f[1])
    local verdict = fence_of(rec, f[1], f[2], f[3])
    verdicts[i] = verdict
    if verdict == 'O' then
      local stamp, h = tonumber(rec.v.st) or 0, head(S, rec)
      put(S, rec, 'f', f[2] .. ' ' .. f[3])
      if rec.v.rv then
        finish(S, rec, 'c', 'TaskRevokedError: revoked', '', nil, true)
      elseif started and stamp % 2 == 1 then
        finish(S, rec, 'f', 'WorkerLostError: interrupted', '', nil, true)
      else
        forget_lease(S, rec)
        if started then drop(S, rec, 'p') else put(S, rec, 'a', f[2] - 1) end
        place(S, rec, h.queue, h.priority, delay > 0 and S.now + delay or nil)
      end
    end
  end
  cascade(S)
  flush_leases(S)
  flush(S)
  return table.concat(verdicts)
end

redis.register_function{function_name = 'celeriac_register', callback = register, flags = {'allow-oom'}}
redis.register_function{function_name = 'celeriac_beat', callback = beat, flags = {'allow-oom'}}
redis.register_function{function_name = 'celeriac_reap', callback = reap, flags = {'allow-oom'}}
redis.register_function{function_name = 'celeriac_release', callback = release, flags = {'allow-oom'}}
