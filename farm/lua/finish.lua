-- ARGV: id, final state, reason, CPU seconds. The writer's word that the result is on disk.
-- Returns 1, or 0 when it had been finished before.
local id = ARGV[1]
if redis.call('HEXISTS', key('outbox'), id) == 0 then return 0 end
redis.call('HDEL', key('outbox'), id)
redis.call('ZREM', key('outbox_at'), id)
if not move(id, 'running', ARGV[2]) then return 0 end
redis.call('HSET', job_key(id), 'reason', ARGV[3], 'cpu_s', ARGV[4], 'stage', '')
redis.call('HINCRBYFLOAT', key('cpu'), 'spent', ARGV[4])
return 1
