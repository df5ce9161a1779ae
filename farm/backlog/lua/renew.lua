-- ARGV: id, token, lease in ms, stage. Returns 1, or 0 when the job is no longer the caller's.
local id = ARGV[1]
if not holds(id, ARGV[2]) or redis.call('HGET', job_key(id), 'state') ~= 'running' then return 0 end
redis.call('HSET', job_key(id), 'stage', ARGV[4])
redis.call('ZADD', key('leases'), now_ms() + tonumber(ARGV[3]), id)
return 1
