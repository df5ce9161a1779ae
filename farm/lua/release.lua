-- ARGV: id, token, reason. The holder gives a job back; no attempt is counted.
local id = ARGV[1]
if not holds(id, ARGV[2]) then return 0 end
if not (move(id, 'running', 'ready') or move(id, 'dispatched', 'ready')) then return 0 end
redis.call('HSET', job_key(id), 'reason', ARGV[3], 'stage', '', 'owner', '')
redis.call('HDEL', job_key(id), 'token')
return 1
