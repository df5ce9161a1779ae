-- ARGV: per job: id, place among predicted CPU seconds. Only the order changes, not the prediction; what a
-- user put before all others stays there. Returns how many were ready.
local n = 0
for i = 1, #ARGV, 2 do
  local fields = redis.call('HMGET', job_key(ARGV[i]), 'state', 'queue', 'place')
  if fields[1] == 'ready' and (tonumber(fields[3]) or 0) >= 0 then
    redis.call('HSET', job_key(ARGV[i]), 'place', ARGV[i + 1])
    redis.call('ZADD', key('ready:' .. fields[2]), ARGV[i + 1], ARGV[i])
    n = n + 1
  end
end
return n
