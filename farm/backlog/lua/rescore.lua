-- ARGV: per job: id, predicted CPU seconds. Ready jobs get a new prediction and, where they were not put
-- elsewhere, a new place. Returns how many were ready.
local n = 0
for i = 1, #ARGV, 2 do
  local id, cost = ARGV[i], ARGV[i + 1]
  local fields = redis.call('HMGET', job_key(id), 'state', 'queue', 'place', 'predicted_cpu_s', 'n_atoms')
  if fields[1] == 'ready' then
    redis.call('HSET', job_key(id), 'predicted_cpu_s', cost)
    redis.call('HINCRBYFLOAT', key('cpu'), 'to_go', tonumber(cost) - tonumber(fields[4]))
    put_ready(id, fields[2], cost, fields[5], fields[3])
    n = n + 1
  end
end
return n
