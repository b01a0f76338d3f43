-- What the scripts share. Numbers are doubles, exact below 2^53: they are written with '%.0f',
-- because tostring() keeps fourteen digits.
--
-- An ask is {kind, key, take, most, amount, window, until}, a taken {kind, key, take}; a payload is
-- a state ('o' open, 's' settled, 'w' swept, 'x' given up), the worker (12), the epoch (16), the
-- length (6) of what is packed, {asks, taken, home, away}, and the entry.
local BUCKET, SLOTS, PURSE = 0, 1, 2
local REFUSED, ADMITTED, COLD, OTHER_EPOCH, GONE, ALREADY = 0, 1, 2, 3, 4, 5
local DAY = 86400

local function milliseconds()
  return math.floor(microseconds() / 1000)
end

local function whole(number)
  return string.format('%.0f', number)
end

local function beside(held, name)
  return string.sub(held, 1, -5) .. name
end

local function in_epoch(held, epoch)
  return redis.call('GET', beside(held, 'epoch')) == epoch
end

local function prefix_of(epoch)
  return 'gateway:' .. string.sub(epoch, 1, 16) .. ':'
end

local function began(epoch)
  return math.floor(tonumber(string.sub(epoch, 1, 16)) / 1000)
end

local function unpacked(payload)
  return cmsgpack.unpack(string.sub(payload, 36, 35 + tonumber(string.sub(payload, 30, 35))))
end

local function tick_of(window)
  if window <= 60000 then return 1 end
  if window <= 3600000 then return 10 end
  return 100
end

-- What is inside a bucket now, and the tick of now. Nil: nobody has seen it.
local function filled(name, ask, now)
  local found = redis.call('HMGET', name, 'l', 't')
  if not found[1] then return nil end
  local tick = tick_of(ask[6])
  local scale = ask[6] / tick
  local level, at, ticks = tonumber(found[1]), tonumber(found[2]), math.floor(now / tick)
  if ticks > at then
    level = level + ask[5] * math.min(ticks - at, 2 * scale)
    at = ticks
  end
  return math.min(level, ask[4] * scale), at
end

local function write_bucket(name, ask, level, at)
  redis.call('HSET', name, 'l', whole(level), 't', whole(at))
  redis.call('PEXPIRE', name, whole(2 * ask[6] + 1000))
end

-- Settles one ask; returns what a purse has settled then, 0 for others. A counter that was made
-- cold meanwhile stays so.
local function give_back(prefix, ask, used)
  local kind, name, take = ask[1], prefix .. ask[2], ask[3]
  if kind == PURSE then
    local found = redis.call('HMGET', name, 'u', 'r')
    if not found[1] then return 0 end
    local settled, reserved = tonumber(found[1]) + used, tonumber(found[2]) - take
    redis.call('HSET', name, 'u', whole(settled), 'r', whole(reserved))
    return settled
  end
  if kind == SLOTS then
    local left = (tonumber(redis.call('GET', name)) or 0) - take
    if left > 0 then
      redis.call('SET', name, whole(left), 'EX', DAY)
    else
      redis.call('DEL', name)
    end
    return 0
  end
  local level = tonumber(redis.call('HGET', name, 'l'))
  if not level then return 0 end
  local scale = ask[6] / tick_of(ask[6])
  level = level + (take - used) * scale
  redis.call('HSET', name, 'l', whole(level))
  return 0
end
