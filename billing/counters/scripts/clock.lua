-- The server's time, never a client's.
local function microseconds()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end
