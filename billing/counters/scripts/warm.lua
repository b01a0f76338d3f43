-- KEYS: a held hash. ARGV: the epoch, the packed ask, the sum of the records, and the packed list
-- of those holds (and the mark) that the sum leaves out.
local held, epoch = KEYS[1], ARGV[1]
if not in_epoch(held, epoch) then return {OTHER_EPOCH, 0} end
local mark = redis.call('GET', beside(held, 'mark'))
for _, id in ipairs(cmsgpack.unpack(ARGV[4])) do
  if id ~= mark and redis.call('HEXISTS', held, id) == 0 then return {GONE} end
end
local ask = cmsgpack.unpack(ARGV[2])
local name = prefix_of(epoch) .. ask[2]
if ask[1] == SLOTS or redis.call('EXISTS', name) == 1 then return {ADMITTED} end

local used, reserved = tonumber(ARGV[3]), 0
for _, payload in ipairs(redis.call('HVALS', held)) do
  if string.find(payload, ask[2], 30, true) and string.sub(payload, 1, 1) ~= 'x' then
    local body = unpacked(payload)
    for _, open in ipairs(body[1]) do
      if open[2] == ask[2] then reserved = reserved + open[3] end
    end
    for _, taken in ipairs(body[2]) do
      if taken[2] == ask[2] then used = used + taken[3] end
    end
  end
end
if ask[1] == PURSE then
  -- Read from the records again every day: a slip would not last.
  redis.call('HSET', name, 'u', whole(used), 'r', whole(reserved))
  redis.call('EXPIRE', name, DAY)
else
  local tick = tick_of(ask[6])
  local level = (math.max(0, ask[4] - used) - reserved) * (ask[6] / tick)
  write_bucket(name, ask, level, math.floor(milliseconds() / tick))
end
return {ADMITTED}
