-- KEYS: the held hash of each tag. ARGV: the record id, then the epoch and the payload of each.
local wants = {}
for i, held in ipairs(KEYS) do
  local epoch, payload = ARGV[2 * i], ARGV[2 * i + 1]
  if not in_epoch(held, epoch) then return {OTHER_EPOCH, i - 1} end
  -- Given up before it arrived.
  if redis.call('HEXISTS', held, ARGV[1]) == 1 then return {GONE} end
  wants[i] = {prefix_of(epoch), epoch, unpacked(payload)[1]}
end
local answer = take_all(wants)
if answer[1] == ADMITTED then
  for i, held in ipairs(KEYS) do
    redis.call('HSET', held, ARGV[1], ARGV[2 * i + 1])
  end
end
return answer
