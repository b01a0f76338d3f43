-- KEYS: a held hash. ARGV: the epoch. Returns the mark, then the record ids.
-- The mark changes whenever a sum of records that was read before no longer fits.
if not in_epoch(KEYS[1], ARGV[1]) then return {OTHER_EPOCH, 0} end
local ids = redis.call('HKEYS', KEYS[1])
table.insert(ids, 1, redis.call('GET', beside(KEYS[1], 'mark')))
return ids
