-- unpark: queue up to 500 of what is parked under names an owner knows, behind what is queued.
-- ARGV[3] owner. Returns 1 if there may be more, else 0.

local S = begin()
local found, names, room = {}, call('HKEYS', S.P .. 'kn'), LIMIT
for i = 1, #names do
  if #found > room then break end
  local task = string.sub(names[i], string.find(names[i], '\0', 1, true) + 1)
  if call('HEXISTS', S.P .. 'w:' .. ARGV[3] .. ':n', task) == 1 then
    local ids = call('ZRANGE', S.P .. 'k:' .. names[i], 0, LIMIT - 1)
    for k = 1, #ids do
      local rec = record(S, ids[k])
      if rec and rec.v[$state] == 'P' then
        found[#found + 1] = rec
      else
        call('ZREM', S.P .. 'k:' .. names[i], ids[k])
      end
    end
  end
end
local more = #found > room
if more then
  table.sort(found, function(a, b) return a.v[$sequence] < b.v[$sequence] end)
  for i = room + 1, #found do found[i] = nil end
end
table.sort(found, function(a, b)
  local v, w = a.v, b.v
  if v[$priority] ~= w[$priority] then return v[$priority] > w[$priority] end
  return v[$sequence] < w[$sequence]
end)
for i = 1, #found do
  found[i].v[$sequence] = number(S)
  place(S, found[i], nil, true)
end
flush(S)
return more and 1 or 0
