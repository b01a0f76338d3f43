-- KEYS: the held hash of each tag. ARGV: the record id, then the epoch and the mark of each.
-- Gives back what an admission took that nobody waits for any more. One that has not arrived yet
-- finds the mark. Returns whether there is one now.
for i, held in ipairs(KEYS) do
  if not in_epoch(held, ARGV[2 * i]) then return {OTHER_EPOCH, i - 1} end
end
local marked = 0
for i, held in ipairs(KEYS) do
  local stored = redis.call('HGET', held, ARGV[1])
  if not stored then
    marked = 1
    redis.call('HSET', held, ARGV[1], ARGV[2 * i + 1])
  elseif string.sub(stored, 1, 1) == 'o' then
    for _, ask in ipairs(unpacked(stored)[1]) do
      give_back(prefix_of(ARGV[2 * i]), ask, 0)
    end
    redis.call('HDEL', held, ARGV[1])
  end
end
return {ADMITTED, marked}
