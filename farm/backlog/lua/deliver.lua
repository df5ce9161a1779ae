-- ARGV: id, token, packed result. The worker's commit: from here on the writer answers for the job.
-- Returns 0 for a worker whose lease died (its result is not taken), 1 when the writer sleeps, 2 when other
-- results wait before this one and the writer knows.
local id = ARGV[1]
if not holds(id, ARGV[2]) or redis.call('HGET', job_key(id), 'state') ~= 'running' then return 0 end
local before = redis.call('HLEN', key('outbox'))
redis.call('HSET', key('outbox'), id, ARGV[3])
redis.call('ZADD', key('outbox_at'), now_ms(), id)
redis.call('HSET', job_key(id), 'stage', 'storing')
redis.call('ZREM', key('leases'), id)
-- A new token fences the worker out: only the writer moves the job now.
redis.call('HSET', job_key(id), 'token', string.format('%.0f', redis.call('INCR', key('token'))))
return before == 0 and 1 or 2
