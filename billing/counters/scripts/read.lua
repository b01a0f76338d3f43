-- KEYS: a held hash. ARGV: the epoch, the packed asks. Returns used and reserved of each; -1 for a
-- cold one.
local epoch = ARGV[1]
if not in_epoch(KEYS[1], epoch) then return {OTHER_EPOCH, 0} end
local states, now = {ADMITTED}, milliseconds()
for _, ask in ipairs(cmsgpack.unpack(ARGV[2])) do
  local name, used, reserved = prefix_of(epoch) .. ask[2], -1, 0
  if ask[1] == PURSE then
    local found = redis.call('HMGET', name, 'u', 'r')
    if found[1] then used, reserved = tonumber(found[1]), tonumber(found[2]) end
  elseif ask[1] == SLOTS then
    used = tonumber(redis.call('GET', name)) or 0
  else
    local level = filled(name, ask, now)
    if level then
      used = ask[4] - math.floor(level / (ask[6] / tick_of(ask[6])))
    elseif now - began(epoch) >= ask[6] then
      used = 0
    end
  end
  states[#states + 1] = used
  states[#states + 1] = reserved
end
return states
