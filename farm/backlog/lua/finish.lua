-- ARGV: id, final state, reason, CPU seconds. The writer's word that the result is on disk.
-- Returns 1, or 0 when it had been finished before.
local id, to = ARGV[1], ARGV[2]
if redis.call('HDEL', key('outbox'), id) == 0 then return 0 end
redis.call('ZREM', key('outbox_at'), id)
if not move(id, 'running', to) then return 0 end
redis.call('HSET', job_key(id), 'cpu_s', ARGV[4])
redis.call('HDEL', job_key(id), 'stage', 'token', 'place', 'reason')
if ARGV[3] ~= '' then redis.call('HSET', job_key(id), 'reason', ARGV[3]) end
redis.call('HINCRBYFLOAT', key('cpu'), 'spent', ARGV[4])
-- The store has the crystal; only what may be tried again keeps it here.
if to == 'done' or to == 'metal' then redis.call('HDEL', key('records'), id) end
return 1
