-- KEYS: a held hash. ARGV: the epoch, the worker, '0' when more will follow, '2' when it never
-- held anything before, else '1', record ids each with its payload, and a new mark. Tells a new epoch of a worker's holds; returns the epoch in force.
--
-- A worker that comes late (it was frozen) finds counters that were rebuilt without its holds:
-- purses become cold again, slots and buckets are corrected.
local held, epoch, worker = KEYS[1], ARGV[1], ARGV[2]
local current = redis.call('GET', beside(held, 'epoch'))
if current ~= epoch then return current end
local late = not string.find(epoch, 'registering', 1, true)
local prefix = prefix_of(epoch)

local function correct(payload, sign)
  local body = unpacked(payload)
  local open = string.sub(payload, 1, 1) == 'o'
  for _, ask in ipairs(body[1]) do
    local name = prefix .. ask[2]
    if ask[1] == PURSE then
      redis.call('DEL', name)
    elseif ask[1] == SLOTS and open then
      if redis.call('INCRBY', name, whole(sign * ask[3])) <= 0 then
        redis.call('DEL', name)
      else
        redis.call('EXPIRE', name, DAY)
      end
    elseif ask[1] == BUCKET and redis.call('EXISTS', name) == 1 then
      local taken = sign * ask[3] * (ask[6] / tick_of(ask[6]))
      redis.call('HINCRBY', name, 'l', whole(-taken))
    end
  end
  for _, taken in ipairs(body[2]) do
    if taken[1] == PURSE then redis.call('DEL', prefix .. taken[2]) end
  end
end

local came_late = false
for i = 4, #ARGV - 1, 2 do
  local stored = redis.call('HGET', held, ARGV[i])
  local state = stored and string.sub(stored, 1, 1)
  -- What was swept or given up stays so.
  if state ~= 'w' and state ~= 'x' then
    if late then
      came_late = true
      if stored then correct(stored, -1) end
      correct(ARGV[i + 1], 1)
    end
    redis.call('HSET', held, ARGV[i], ARGV[i + 1])
  end
end
if ARGV[3] ~= '0' then
  redis.call('SADD', beside(held, 'workers'), worker)
  redis.call('EXPIRE', beside(held, 'workers'), DAY)
  if late and ARGV[3] == '1' then
    local all = redis.call('HGETALL', held)
    for i = 1, #all, 2 do
      local payload = all[i + 1]
      local state = string.sub(payload, 1, 1)
      if string.sub(payload, 2, 13) == worker and state ~= 'w'
          and string.sub(payload, 14, 29) ~= string.sub(epoch, 1, 16) then
        if state ~= 'x' then
          came_late = true
          correct(payload, -1)
        end
        redis.call('HDEL', held, all[i])
      end
    end
  end
end
if came_late then
  redis.call('SET', beside(held, 'mark'), ARGV[#ARGV])
end
return epoch
