-- KEYS: the hash of records. ARGV: the version that the caller has heard; its name; for how long it
-- claims, in ms; how long a record is kept, in ms; how many there may be; JSON of {news: [[subject,
-- record]], held: [subject], over: [subject]}, the latter of what it claimed. Returns the version,
-- and, where the caller has heard another one, all subjects and records.
local heard, worker, claimed = ARGV[1], ARGV[2], ARGV[3]
local kept, most, said = tonumber(ARGV[4]), tonumber(ARGV[5]), cjson.decode(ARGV[6])

for _, subject in ipairs(said.held) do
  local claim = claim_key(subject)
  if redis.call('GET', claim) == worker then redis.call('PEXPIRE', claim, claimed) end
end

local changed = false
for _, news in ipairs(said.news) do
  local subject, record = news[1], news[2]
  local known = redis.call('HGET', KEYS[1], subject)
  if not known and is_full(most) then forget_old(kept) end
  local has_room = known or not is_full(most)
  if has_room and not is_long_past(record, kept) and is_later(record, known or '') then
    redis.call('HSET', KEYS[1], subject, record)
    changed = true
  end
end
if changed then
  redis.call('HSETNX', KEYS[1], BORN, table.concat(redis.call('TIME'), '.'))
  redis.call('HINCRBY', KEYS[1], CHANGES, 1)
  redis.call('PEXPIRE', KEYS[1], kept)
end

-- After the news: whoever claims next knows how the probe ended.
for _, subject in ipairs(said.over) do
  local claim = claim_key(subject)
  if redis.call('GET', claim) == worker then redis.call('DEL', claim) end
end

local born, changes = unpack(redis.call('HMGET', KEYS[1], BORN, CHANGES))
local version = born and (born .. '-' .. changes) or 'none'
if version == heard then return {version} end
local reply = {version}
local all = redis.call('HGETALL', KEYS[1])
for at = 1, #all, 2 do
  if all[at] ~= BORN and all[at] ~= CHANGES then
    reply[#reply + 1] = all[at]
    reply[#reply + 1] = all[at + 1]
  end
end
return reply
