-- lease.lua: taking the next batch for one owner. W is what is wanted: owner, nonce, name, free,
-- ahead, brief ("\0name\0name\0"), and what was taken: deliveries (flat), ids, held.

local PAGES = 5000  -- entries of queues one step looks at

local function in_parts2(command, key, list)
  for from = 1, #list, 4000 do
    call(command, key, unpack(list, from, math.min(from + 3999, #list)))
  end
end

local function task_of(rec)
  return rec.task or base_of(rec).task
end

-- The fields of hash n that count what is queued in a queue, by priority.
local function cells_of(queue)
  local cells = {}
  for p = 0, 9 do cells[p + 1] = queue .. '\0' .. READY[p] end
  return cells
end

-- The stamp of a task for the owner, or false: it does not know the name.
local function stamp_of(S, W, task)
  local stamp = W.stamps[task]
  if stamp == nil then
    stamp = tonumber(call('HGET', S.P .. 'w:' .. W.owner .. ':n', task) or nil) or false
    W.stamps[task] = stamp
  end
  return stamp
end

local function is_brief(W, task)
  local brief = W.known_brief[task]
  if brief == nil then
    brief = string.find(W.brief, '\0' .. task .. '\0', 1, true) ~= nil
    W.known_brief[task] = brief
  end
  return brief
end

local function fits(W, v, task, stamp)
  if W.free > 0 then return true end
  return W.ahead > 0 and v[$crashes] == 0 and v[$losses] == 0 and stamp % 2 == 0
    and is_brief(W, task)
end

local function deliver(S, W, rec, m)
  local v, edges, input = rec.v, edges_of(rec), ''
  if edges and edges[5] then
    local key = S.P .. 'r:' .. edges[5]
    local body = not S.gone[key] and (S.set[key] or call('GET', key))
    if body and #body <= 65536 then input = '+' .. body end
  end
  local out, n, extra = W.deliveries, #W.deliveries, ''
  if v[$attempt] ~= 1 or v[$retries] + v[$crashes] + v[$losses] > 0 then
    extra = v[$attempt] .. ' ' .. v[$retries] .. ' ' .. v[$crashes] .. ' ' .. v[$losses]
  end
  out[n + 1], out[n + 2], out[n + 3], out[n + 4] = rec.id, m, extra, input
end

local function lease(S, W, rec, m, stamp)
  local v = rec.v
  if W.free > 0 then W.free = W.free - 1 else W.ahead = W.ahead - 1 end
  -- From the second loss on the lease counts as the start, so that nothing is prefetched.
  local begun = stamp % 2 == 1 or v[$losses] > 1
  move(S, rec, begun and 'R' or 'L')
  v[$attempt], v[$nonce], v[$leased] = v[$attempt] + 1, W.nonce, S.now
  v[$started] = begun and S.now
  v[$stamp], v[$worker] = stamp, W.name
  forget_progress(S, rec)
  W.held[#W.held + 1] = rec.id
  deliver(S, W, rec, m)
end

-- --- a queue at one priority: its list and what came back to it, merged by sequence -----------

local function open_line(S, queue, priority)
  local at = queue .. ':' .. priority
  return {queue = queue, list = S.P .. 'q:' .. at, back = S.P .. 'b:' .. at, ids = {}, at = 0,
          from_list = 0, from_back = {}}
end

-- Take what was consumed out of its place.
local function settle(line)
  if line.from_list > 0 then call('LTRIM', line.list, line.from_list, -1) end
  in_parts2('ZREM', line.back, line.from_back)
  line.from_list, line.from_back = 0, {}
end

local function fill(S, line, most)
  settle(line)
  local entries = call('LRANGE', line.list, 0, most - 1)
  local back = call('ZRANGE', line.back, 0, most - 1, 'WITHSCORES')
  local ids, sequences, kinds, n, b = {}, {}, {}, 0, 1
  for i = 1, #entries do
    local sequence = struct.unpack('>I6', entries[i])
    while back[b] and tonumber(back[b + 1]) < sequence do
      n = n + 1
      ids[n], sequences[n], kinds[n] = back[b], tonumber(back[b + 1]), true
      b = b + 2
    end
    n = n + 1
    ids[n], sequences[n], kinds[n] = string.sub(entries[i], 7), sequence, false
  end
  -- Beyond the page of the list there may be lower sequences than what is left of the other.
  if #entries < most then
    while back[b] do
      n = n + 1
      ids[n], sequences[n], kinds[n] = back[b], tonumber(back[b + 1]), true
      b = b + 2
    end
  end
  -- Beyond that many, one source may hold lower ones than were read of it.
  for i = most + 1, n do ids[i], sequences[i], kinds[i] = nil, nil, nil end
  n = math.min(n, most)
  local keys, P = {}, S.P
  for i = 1, n do keys[i] = P .. 'm:' .. ids[i] end
  line.wires = mget(keys)
  local unknown = {}
  for i = 1, n do
    if S.recs[ids[i]] == nil then unknown[#unknown + 1] = ids[i] end
  end
  prefetch(S, unknown)
  line.ids, line.sequences, line.kinds, line.at, line.n = ids, sequences, kinds, 0, n
end

local function consume(line)
  local i = line.at + 1
  line.at = i
  if line.kinds[i] then
    line.from_back[#line.from_back + 1] = line.ids[i]
  else
    line.from_list = line.from_list + 1
  end
end

-- The next record of a line that can be leased, with its message and stamp; the ended and the
-- unknown are taken out of the way. nil: there is none.
local function next_of(S, W, line)
  while W.looked < PAGES do
    if line.at >= #line.ids then
      if line.n and line.n == 0 then return nil end
      fill(S, line, W.free + W.ahead + 1)
      if line.n == 0 then return nil end
    end
    local i = line.at + 1
    local id = line.ids[i]
    W.looked = W.looked + 1
    local m = S.set[S.P .. 'm:' .. id] or line.wires[i]
    local rec = record(S, id, m)
    local v = rec and rec.v
    if not rec or v[$state] ~= 'Q' or v[$sequence] ~= line.sequences[i]
      or v[$queue] ~= line.queue then
      consume(line)
    elseif v[$expires] and v[$expires] <= S.now then
      consume(line)
      finish(S, rec, 'x', EXPIRED, '')
      cascade(S)
      -- What that released may come before what was read of the queues.
      W.stale = true
      return nil
    else
      local task = task_of(rec)
      local stamp = stamp_of(S, W, task)
      if stamp then return rec, m, task, stamp end
      consume(line)
      park(S, rec)
    end
  end
  return nil
end

local function ready_of(S, queue)
  local found = call('HMGET', S.P .. 'n', unpack(cells_of(queue)))
  local row = S.n[queue] or {}
  local ready, lines = 0, {}
  for p = 9, 0, -1 do
    local held = tonumber(found[p + 1] or 0) + (row[READY[p]] or 0)
    if held > 0 then
      ready = ready + held
      lines[#lines + 1] = p
    end
  end
  return ready, lines
end

local function from_parked(S, W, queues)
  local found = {}
  local names = call('HKEYS', S.P .. 'kn')
  for i = 1, #names do
    local at = string.find(names[i], '\0', 1, true)
    local queue, task = string.sub(names[i], 1, at - 1), string.sub(names[i], at + 1)
    if #found < LIMIT and queues[queue] and stamp_of(S, W, task) then
      local ids = call('ZRANGE', S.P .. 'k:' .. names[i], 0, W.free + W.ahead + 99)
      for k = 1, #ids do
        local rec = record(S, ids[k])
        if rec and rec.v[$state] == 'P' then
          found[#found + 1] = {rec, task}
        else
          call('ZREM', S.P .. 'k:' .. names[i], ids[k])
        end
      end
    end
  end
  table.sort(found, function(a, b)
    local v, w = a[1].v, b[1].v
    if v[$priority] ~= w[$priority] then return v[$priority] > w[$priority] end
    return v[$sequence] < w[$sequence]
  end)
  for i = 1, #found do
    local rec, task = found[i][1], found[i][2]
    local v = rec.v
    if v[$expires] and v[$expires] <= S.now then
      finish(S, rec, 'x', EXPIRED, '')
      cascade(S)
    elseif v[$state] == 'P' and fits(W, v, task, W.stamps[task]) then
      local key = S.P .. 'm:' .. rec.id
      lease(S, W, rec, S.set[key] or call('GET', key), W.stamps[task])
    end
  end
end

local function open_lines(S, here)
  local _, priorities = ready_of(S, here.queue)
  here.lines = {}
  for k = 1, #priorities do here.lines[k] = open_line(S, here.queue, priorities[k]) end
end

local function settle_all(turn)
  for i = 1, #turn do
    for k = 1, #turn[i].lines do settle(turn[i].lines[k]) end
  end
end

local function round_robin(S, W, queues, last)
  local turn, first = {}, 0
  for i = 1, #queues do
    if queues[i] == last then first = i end
  end
  for i = 1, #queues do
    turn[i] = {queue = queues[(first + i - 1) % #queues + 1]}
    open_lines(S, turn[i])
  end
  while #turn > 0 do
    local here = turn[1]
    local rec, m, task, stamp
    while here.lines[1] do
      rec, m, task, stamp = next_of(S, W, here.lines[1])
      if rec or W.stale then break end
      settle(table.remove(here.lines, 1))
    end
    if W.stale then
      W.stale = nil
      settle_all(turn)
      for i = 1, #turn do open_lines(S, turn[i]) end
    elseif rec and fits(W, rec.v, task, stamp) then
      consume(here.lines[1])
      lease(S, W, rec, m, stamp)
      W.last = here.queue
      if #turn > 1 then
        table.remove(turn, 1)
        turn[#turn + 1] = here
      end
    else
      -- Nothing scans past a head that finds no room.
      settle_all({here})
      table.remove(turn, 1)
    end
  end
  settle_all(turn)
end
