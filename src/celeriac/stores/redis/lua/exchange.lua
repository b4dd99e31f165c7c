-- exchange: commit outcomes, note starts, promote what is due, lease the next batch.
-- ARGV[3] packed [owner, lane, seq, digest, ids, which, kinds, started (flat: id, attempt, nonce),
--   queues, free, ahead, brief ("\0name\0name\0"), away]; ARGV[4 ...] the bodies of the commits, then the
--   wires their kinds name by index. See commit.lua for ids, which and kinds.
-- Returns [lost 0|1, more 0|1, work left 0|1, verdicts as letters O A F, deliveries, flat: id,
--   base and wire, "attempt retries crashes losses" or "" for a first run, "" or "+" and input]; and
--   where lean.lua did it, what `look` would return if nothing were queued.
-- Asked by one that waited (away is the key by which it is called away, else ""), with nothing to
-- commit: where nothing is to be leased nothing is done, and it returns "!" if it was called away,
-- else what `look` returns.
-- Refuses: SEQ last. lean.lua does what is asked most.

local AGAIN = {O = 'A', A = 'A', F = 'F'}

local function still_leased(S, W, ids)
  for i = 1, #ids do
    local rec = record(S, ids[i])
    if rec and HELD[rec.v[$state]] and rec.v[$nonce] == W.nonce then
      local key = S.P .. 'm:' .. ids[i]
      deliver(S, W, rec, S.set[key] or call('GET', key))
    end
  end
end

local function take(S, W, queues, last)
  local asked = {}
  for i = 1, #queues do asked[queues[i]] = true end
  if call('HLEN', S.P .. 'kn') > 0 or next(S.kn) then
    flush_counts(S)
    from_parked(S, W, asked)
  end
  round_robin(S, W, queues, last)
  if #S.todo > 0 then cascade(S) end
end

local function exchange()
  local S = begin()
  local q = cmsgpack.unpack(ARGV[3])
  local owner, lane, seq, queues = q[1], q[2], q[3], q[9]
  local key = S.P .. 'w:' .. owner
  local known = call('HMGET', key, 'reg', 'l' .. lane, 'lq', 'host')
  local last = known[1] and known[2] and cmsgpack.unpack(known[2])
  if last and seq < last[1] then return redis.error_reply('SEQ ' .. last[1]) end
  local again = last and seq == last[1]
  local verdicts
  if again and q[4] == last[2] then
    verdicts = string.gsub(last[3], '.', AGAIN)
  else
    verdicts = #q[5] > 0 and commit_all(S, q[5], q[6], q[7], 3) or ''
  end
  for i = 1, #q[8], 3 do note_started(S, q[8][i], q[8][i + 1], q[8][i + 2]) end
  promote(S, LIMIT)
  local W = {owner = owner, nonce = owner .. '.' .. lane .. '.' .. seq, free = q[10], ahead = q[11],
             brief = q[12], name = known[4] ~= '' and known[4] or owner, known_brief = {},
             stamps = {}, deliveries = {}, held = {}, looked = 0, last = known[3]}
  local more = 0
  if again then
    still_leased(S, W, last[5])
    more = last[4]
  elseif known[1] then
    take(S, W, queues, known[3])
    for i = 1, #queues do
      local ready = ready_of(S, queues[i])
      S.rings[queues[i]] = ready > 0 or nil
      if ready > 0 then more = 1 end
    end
    call('HSET', key, 'l' .. lane, cmsgpack.pack({seq, q[4], verdicts, more, W.held}),
         'lq', W.last or '')
  end
  flush(S)
  -- After what left its hands in this very step.
  for from = 1, #W.held, 4000 do
    call('SADD', S.P .. 'h:' .. owner, unpack(W.held, from, math.min(from + 3999, #W.held)))
  end
  return {known[1] and 0 or 1, more, S.left and 1 or 0, verdicts, W.deliveries}
end

return exchange()
