-- KEYS: the hash of records. ARGV: who claims; for how long, in ms; JSON of [[subject, record]], the
-- record being what the caller knows. Returns 1 when all of them are its own now, else 0: another
-- has one of them, or has told of what the caller has not heard yet.
local worker, claimed, wanted = ARGV[1], ARGV[2], cjson.decode(ARGV[3])
for _, pair in ipairs(wanted) do
  local known = redis.call('HGET', KEYS[1], pair[1])
  if known and is_later(known, pair[2]) then return 0 end
  local owner = redis.call('GET', claim_key(pair[1]))
  if owner and owner ~= worker then return 0 end
end
for _, pair in ipairs(wanted) do
  redis.call('SET', claim_key(pair[1]), worker, 'PX', claimed)
end
return 1
