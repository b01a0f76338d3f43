-- KEYS: a held hash. ARGV: the server's run_id, a new mark. Begins an epoch unless this server has
-- one; returns the one in force: the time (16 digits of microseconds), its state, the run_id.
-- Counters carry their epoch in their names, so those of an older one are as good as gone.
local held = KEYS[1]
local epoch = redis.call('GET', beside(held, 'epoch'))
if epoch and string.sub(epoch, -#ARGV[1]) == ARGV[1] then return epoch end
epoch = whole(microseconds()) .. ' registering ' .. ARGV[1]
redis.call('SET', beside(held, 'epoch'), epoch)
redis.call('SET', beside(held, 'mark'), ARGV[2])
redis.call('DEL', beside(held, 'workers'))
return epoch
