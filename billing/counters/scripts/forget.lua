-- KEYS: a held hash. ARGV: the epoch, a new mark, then keys. Purses only: a bucket that is missing
-- counts as full.
local held = KEYS[1]
if not in_epoch(held, ARGV[1]) then return {OTHER_EPOCH, 0} end
redis.call('SET', beside(held, 'mark'), ARGV[2])
for i = 3, #ARGV do
  local name = prefix_of(ARGV[1]) .. ARGV[i]
  if redis.call('TYPE', name).ok == 'hash' and redis.call('HEXISTS', name, 'u') == 1 then
    redis.call('DEL', name)
  end
end
return {ADMITTED}
