-- ARGV: id, token, owner, lease in ms. dispatched -> running for the holder of the token.
-- Returns the job record, or false when the message is stale.
local id = ARGV[1]
if not holds(id, ARGV[2]) or not move(id, 'dispatched', 'running') then return false end
redis.call('HSET', job_key(id), 'owner', ARGV[3], 'stage', '', 'started_ms', now_ms())
redis.call('ZADD', key('leases'), now_ms() + tonumber(ARGV[4]), id)
return redis.call('HGET', job_key(id), 'record')
