-- KEYS: the gateway's held hash. Returns the workers whose leases run.
return redis.call('ZRANGEBYSCORE', beside(KEYS[1], 'leases'), whole(milliseconds()), '+inf')
