-- ARGV: id, token, reason, cause that is counted or '', bound of that count, 1 to keep the job at the bound,
-- queue it goes to or ''. The holder gives a job back.
-- Returns the state it is in then, or false when it was not the holder's.
local id, cause, queue = ARGV[1], ARGV[4], ARGV[7]
local job = job_key(id)
if not holds(id, ARGV[2]) then return false end
local state = redis.call('HGET', job, 'state')
if state ~= 'running' and state ~= 'dispatched' then return false end
local to = 'ready'
if cause ~= '' and redis.call('HINCRBY', job, 'back_' .. cause, 1) >= tonumber(ARGV[5]) then
  if ARGV[6] == '1' then return state end
  to = 'failed'
end
if queue ~= '' and state == 'running' then redis.call('HSET', job, 'queue', queue) end
move(id, state, to)
redis.call('HSET', job, 'reason', ARGV[3])
redis.call('HDEL', job, 'token', 'stage', 'owner')
return to
