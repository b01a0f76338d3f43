-- Checks all, then takes all. `wants` is a list of {prefix, epoch, asks}; returns an answer.
local function look(name, ask, since, now, states)
  local kind, take, most = ask[1], ask[3], ask[4]
  local state = states[name]
  if kind == PURSE then
    if not state then
      local found = redis.call('HMGET', name, 'u', 'r')
      if not found[1] then return COLD end
      state = {tonumber(found[1]), tonumber(found[2])}
      states[name] = state
    end
    if most >= 0 and state[1] + state[2] + take > most then
      return REFUSED, -1, most - state[1] - state[2]
    end
    state[2] = state[2] + take
  elseif kind == SLOTS then
    state = state or {tonumber(redis.call('GET', name)) or 0}
    states[name] = state
    if take > most - state[1] then return REFUSED, -1, most - state[1] end
    state[1] = state[1] + take
  else
    local tick = tick_of(ask[6])
    local scale = ask[6] / tick
    if not state then
      local level, at = filled(name, ask, now)
      if not level then
        if now - since < ask[6] then return COLD end
        level, at = most * scale, math.floor(now / tick)
      end
      state = {level, at}
      states[name] = state
    end
    local lacking = take * scale - state[1]
    if lacking > 0 then
      return REFUSED, math.ceil(lacking / ask[5]) * tick, math.floor(state[1] / scale)
    end
    state[1] = state[1] - take * scale
  end
  return ADMITTED
end

local function write(name, ask, state)
  if ask[1] == PURSE then
    redis.call('HSET', name, 'r', whole(state[2]))
    return state[1] + state[2]
  end
  if ask[1] == SLOTS then
    redis.call('SET', name, whole(state[1]), 'EX', DAY)
    return ask[4] - state[1]
  end
  write_bucket(name, ask, state[1], state[2])
  return math.floor(state[1] / (ask[6] / tick_of(ask[6])))
end

local function take_all(wants)
  local now, states, index = milliseconds(), {}, 0
  local cold, short = {COLD}, {REFUSED}
  for _, want in ipairs(wants) do
    local since = began(want[2])
    for _, ask in ipairs(want[3]) do
      local verdict, wait, room = look(want[1] .. ask[2], ask, since, now, states)
      if verdict == COLD then
        cold[#cold + 1] = index
      elseif verdict == REFUSED then
        short[#short + 1] = index
        short[#short + 1] = wait
        short[#short + 1] = room
      end
      index = index + 1
    end
  end
  if #cold > 1 then return cold end
  if #short > 1 then return short end
  local levels = {ADMITTED}
  for _, want in ipairs(wants) do
    for _, ask in ipairs(want[3]) do
      local name = want[1] .. ask[2]
      levels[#levels + 1] = write(name, ask, states[name])
    end
  end
  return levels
end
