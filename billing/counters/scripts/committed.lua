-- KEYS: a held hash. ARGV: the epoch, then record ids. Forgets those holds; open ones stay.
local held = KEYS[1]
if not in_epoch(held, ARGV[1]) then return {OTHER_EPOCH, 0} end
for i = 2, #ARGV do
  local stored = redis.call('HGET', held, ARGV[i])
  if stored and string.sub(stored, 1, 1) ~= 'o' then
    redis.call('HDEL', held, ARGV[i])
  end
end
return {ADMITTED}
