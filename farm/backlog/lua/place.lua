-- ARGV: per job: id, place among predicted CPU seconds, or '' for that of its cost. Only the order changes,
-- not the prediction; what a user put before all others stays there. Returns how many were ready.
local n = 0
for i = 1, #ARGV, 2 do
  local id, place = ARGV[i], ARGV[i + 1]
  local fields = redis.call('HMGET', job_key(id), 'state', 'queue', 'place', 'predicted_cpu_s', 'n_atoms')
  if fields[1] == 'ready' and (tonumber(fields[3]) or 0) >= 0 then
    if place == '' then
      redis.call('HDEL', job_key(id), 'place')
    else
      redis.call('HSET', job_key(id), 'place', place)
    end
    put_ready(id, fields[2], fields[4], fields[5], place)
    n = n + 1
  end
end
return n
