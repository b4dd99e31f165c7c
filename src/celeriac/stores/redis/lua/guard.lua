-- guard.lua: before all other. A store that another version of Celeriac has made its own meanwhile is
-- neither read nor written. Refuses: SCHEMA version.
do
  local stored = redis.call('GET', KEYS[1] .. 'schema')
  if stored and stored ~= '$schema' then return redis.error_reply('SCHEMA ' .. stored) end
  $note
end
