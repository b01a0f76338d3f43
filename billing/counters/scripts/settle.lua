-- KEYS: the held hash of each tag, the hold's home first. ARGV: the record id, then the epoch and
-- the final payload of each. Who settles first decides: an open hold only.
--
-- What was used is what the final payload has taken more than the stored one. That holds even when
-- a change took effect of which the worker never heard.
for i, held in ipairs(KEYS) do
  if not in_epoch(held, ARGV[2 * i]) then return {OTHER_EPOCH, i - 1} end
end
local levels = {ADMITTED}

local function settle(prefix, before, final)
  local used = {}
  for _, taken in ipairs(final[2]) do used[taken[2]] = (used[taken[2]] or 0) + taken[3] end
  for _, taken in ipairs(before[2]) do used[taken[2]] = (used[taken[2]] or 0) - taken[3] end
  for _, ask in ipairs(before[1]) do
    levels[#levels + 1] = give_back(prefix, ask, used[ask[2]] or 0)
    used[ask[2]] = nil
  end
  for _, taken in ipairs(final[2]) do
    if taken[1] == PURSE and used[taken[2]] then
      give_back(prefix, {PURSE, taken[2], 0}, used[taken[2]])
      used[taken[2]] = nil
    end
  end
end

for i, held in ipairs(KEYS) do
  local stored = redis.call('HGET', held, ARGV[1])
  local state = stored and string.sub(stored, 1, 1)
  if i == 1 and state == 's' then return {ALREADY} end
  if i == 1 and state ~= 'o' then return {GONE} end
  if state == 'o' then
    local payload = ARGV[2 * i + 1]
    settle(prefix_of(ARGV[2 * i]), unpacked(stored), unpacked(payload))
    redis.call('HSET', held, ARGV[1], payload)
  end
end
return levels
