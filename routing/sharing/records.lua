-- What both scripts know of records and claims. All keys have the tag of KEYS[1].
local BORN, CHANGES = ':born', ':changes'

local function claim_key(subject)
  return KEYS[1] .. ':probe:' .. subject
end

-- Byte by byte, as Python compares; `<` goes by the server's locale.
local function is_later(one, other)
  for at = 1, math.max(#one, #other) do
    local a, b = one:byte(at) or 0, other:byte(at) or 0
    if a ~= b then return a > b end
  end
  return false
end

-- `<changed at> <until> …`, 16 digits of microseconds each.
local function is_long_past(record, kept)
  local time = redis.call('TIME')
  local lately = math.max(tonumber(record:sub(1, 16)), tonumber(record:sub(18, 33)))
  return lately / 1000 + kept < time[1] * 1000 + time[2] / 1000
end

local function is_full(most)
  local ours = redis.call('HEXISTS', KEYS[1], BORN) * 2
  return redis.call('HLEN', KEYS[1]) - ours >= most
end

local function forget_old(kept)
  local all = redis.call('HGETALL', KEYS[1])
  for at = 1, #all, 2 do
    local subject = all[at]
    if subject ~= BORN and subject ~= CHANGES and is_long_past(all[at + 1], kept) then
      redis.call('HDEL', KEYS[1], subject)
    end
  end
end
