-- KEYS: the gateway's held hash. ARGV: its epoch, the milliseconds of a lease, packed workers.
-- Returns those that are dead. Not having renewed is no proof: perhaps nobody could. Whoever has
-- not even half a lease after that was noticed is dead. A young epoch may lack leases.
local held, lease, now = KEYS[1], tonumber(ARGV[2]), milliseconds()
if not in_epoch(held, ARGV[1]) or now - began(ARGV[1]) < lease then return {} end
local leases, suspects = beside(held, 'leases'), beside(held, 'suspects')
local dead = {}
for _, worker in ipairs(cmsgpack.unpack(ARGV[3])) do
  local expires = tonumber(redis.call('ZSCORE', leases, worker) or 0)
  local since = tonumber(redis.call('HGET', suspects, worker) or now)
  if expires >= now then
    redis.call('HDEL', suspects, worker)
  elseif now - since >= lease / 2 then
    dead[#dead + 1] = worker
  else
    redis.call('HSET', suspects, worker, whole(since))
    redis.call('EXPIRE', suspects, DAY)
  end
end
return dead
