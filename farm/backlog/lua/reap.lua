-- ARGV: how many workers a job may lose, lease in ms, then the messages (id:token) still in a Celery queue.
-- Jobs whose lease expired: a message that still waits is renewed, one that was lost goes back
-- uncounted, a running job goes back with one worker lost, or has failed at the last.
-- Returns a flat list: id, state it went to.
local waiting = {}
for i = 3, #ARGV do waiting[ARGV[i]] = true end
local out = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('leases'), '-inf', now_ms(), 'LIMIT', 0, 1000)) do
  local job = job_key(id)
  local state = redis.call('HGET', job, 'state')
  local to
  if state == 'dispatched' and waiting[id .. ':' .. (redis.call('HGET', job, 'token') or '')] then
    redis.call('ZADD', key('leases'), now_ms() + tonumber(ARGV[2]), id)
  elseif state == 'dispatched' then
    to = 'ready'
  elseif state == 'running' then
    local lost = redis.call('HINCRBY', job, 'back_worker_lost', 1)
    local owner = redis.call('HGET', job, 'owner') or ''
    redis.call('HSET', job, 'reason', 'worker ' .. owner .. ' died or fell silent, attempt ' .. lost)
    to = lost >= tonumber(ARGV[1]) and 'failed' or 'ready'
  else
    redis.call('ZREM', key('leases'), id)
  end
  if to then
    move(id, state, to)
    redis.call('HDEL', job, 'token', 'stage', 'owner')
    out[#out + 1] = id
    out[#out + 1] = to
  end
end
return out
