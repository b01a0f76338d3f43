-- KEYS: a held hash. ARGV: an epoch that is registering, for how many milliseconds it must. Opens
-- it once that time is over; returns the epoch in force.
--
-- A worker that registered has told of all its holds: others in its name are from before, settled
-- since on a server that is lost. Holds of the dead stay, to be swept. Slots are counted.
local held, epoch = KEYS[1], ARGV[1]
local current = redis.call('GET', beside(held, 'epoch'))
if current ~= epoch or milliseconds() - began(epoch) < tonumber(ARGV[2]) then return current end
local registered = {}
for _, worker in ipairs(redis.call('SMEMBERS', beside(held, 'workers'))) do
  registered[worker] = true
end
local all = redis.call('HGETALL', held)
for i = 1, #all, 2 do
  local payload = all[i + 1]
  if string.sub(payload, 14, 29) ~= string.sub(epoch, 1, 16)
      and registered[string.sub(payload, 2, 13)] then
    redis.call('HDEL', held, all[i])
  elseif string.sub(payload, 1, 1) == 'o' then
    for _, ask in ipairs(unpacked(payload)[1]) do
      if ask[1] == SLOTS then
        redis.call('INCRBY', prefix_of(epoch) .. ask[2], whole(ask[3]))
        redis.call('EXPIRE', prefix_of(epoch) .. ask[2], DAY)
      end
    end
  end
end
epoch = string.gsub(epoch, 'registering', 'live')
redis.call('SET', beside(held, 'epoch'), epoch)
return epoch
