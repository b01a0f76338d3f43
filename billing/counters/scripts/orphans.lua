-- KEYS: a held hash. ARGV: the epoch, the milliseconds of a lease, a cursor, and the packed workers
-- that are alive. Returns the next cursor, then ids and payloads of holds that may need sweeping.
-- None while the epoch is so young that a worker may not have told it of its holds yet.
local held, epoch = KEYS[1], ARGV[1]
if not in_epoch(held, epoch) or milliseconds() - began(epoch) < tonumber(ARGV[2]) then
  return {'0'}
end
local alive = {}
for _, worker in ipairs(cmsgpack.unpack(ARGV[4])) do alive[worker] = true end
local page = redis.call('HSCAN', held, ARGV[3], 'COUNT', 200)
local found = {page[1]}
for i = 1, #page[2], 2 do
  local payload = page[2][i + 1]
  if string.sub(payload, 1, 1) == 'w' or not alive[string.sub(payload, 2, 13)] then
    found[#found + 1] = page[2][i]
    found[#found + 1] = payload
  end
end
return found
