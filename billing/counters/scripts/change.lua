-- KEYS: the held hash of each tag, the hold's home first. ARGV: the record id, then for each the
-- epoch, the payload when admitted, the payload when refused, the packed {{ask, used}...} to
-- settle, and the packed asks to take.
local stored = redis.call('HGET', KEYS[1], ARGV[1])
local wants, settled = {}, {}
for i, held in ipairs(KEYS) do
  local epoch = ARGV[5 * i - 3]
  if not in_epoch(held, epoch) then return {OTHER_EPOCH, i - 1} end
  wants[i] = {prefix_of(epoch), epoch, cmsgpack.unpack(ARGV[5 * i + 1])}
  settled[i] = cmsgpack.unpack(ARGV[5 * i])
end
if not stored or string.sub(stored, 1, 1) ~= 'o' then return {GONE} end
for i, list in ipairs(settled) do
  for _, pair in ipairs(list) do
    give_back(wants[i][1], pair[1], pair[2])
  end
end
local answer = take_all(wants)
for i, held in ipairs(KEYS) do
  local payload = ARGV[5 * i - (answer[1] == ADMITTED and 2 or 1)]
  if payload == '' then
    redis.call('HDEL', held, ARGV[1])
  else
    redis.call('HSET', held, ARGV[1], payload)
  end
end
return answer
