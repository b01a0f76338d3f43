-- KEYS: the gateway's held hash. ARGV: a worker, for how many milliseconds its lease runs from now.
local held, now = KEYS[1], milliseconds()
redis.call('ZADD', beside(held, 'leases'), whole(now + tonumber(ARGV[2])), ARGV[1])
redis.call('ZREMRANGEBYSCORE', beside(held, 'leases'), '-inf', whole(now - DAY * 1000))
redis.call('HDEL', beside(held, 'suspects'), ARGV[1])
return {ADMITTED}
