-- KEYS: the gateway's held hash. ARGV: a worker, and for how many milliseconds it wants to be the
-- one who sweeps; 0 to be so no longer. Returns 1 when it is.
local lock = beside(KEYS[1], 'sweeper')
local owner = redis.call('GET', lock)
if owner and owner ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then
  redis.call('DEL', lock)
else
  redis.call('SET', lock, ARGV[1], 'PX', ARGV[2])
end
return 1
