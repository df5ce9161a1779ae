-- ARGV: owner, reason. A worker that leaves gives back all it holds; nothing is counted.
local n = 0
for _, id in ipairs(redis.call('ZRANGE', key('leases'), 0, -1)) do
  if redis.call('HGET', job_key(id), 'owner') == ARGV[1] and move(id, 'running', 'ready') then
    redis.call('HSET', job_key(id), 'reason', ARGV[2])
    redis.call('HDEL', job_key(id), 'token', 'stage', 'owner')
    n = n + 1
  end
end
return n
