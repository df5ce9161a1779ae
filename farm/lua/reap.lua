-- ARGV: largest number of attempts, lease in ms, then the messages (id:token) still in a Celery queue.
-- Jobs whose lease expired: a message that still waits is renewed, one that was lost goes back
-- uncounted, a running job goes back with one attempt spent, or has failed at the last.
-- Returns a flat list: id, state it went to.
local waiting = {}
for i = 3, #ARGV do waiting[ARGV[i]] = true end
local out = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('leases'), '-inf', now_ms())) do
  local job = job_key(id)
  local state = redis.call('HGET', job, 'state')
  if state == 'dispatched' and waiting[id .. ':' .. (redis.call('HGET', job, 'token') or '')] then
    redis.call('ZADD', key('leases'), now_ms() + tonumber(ARGV[2]), id)
  elseif state == 'dispatched' then
    redis.call('HDEL', job, 'token')
    move(id, 'dispatched', 'ready')
    out[#out + 1] = id
    out[#out + 1] = 'ready'
  elseif state == 'running' then
    local attempts = redis.call('HINCRBY', job, 'attempts', 1)
    local to = attempts >= tonumber(ARGV[1]) and 'failed' or 'ready'
    local owner = redis.call('HGET', job, 'owner') or ''
    redis.call('HSET', job, 'reason', 'worker ' .. owner .. ' died or fell silent, attempt ' .. attempts,
      'stage', '')
    redis.call('HDEL', job, 'token')
    move(id, 'running', to)
    out[#out + 1] = id
    out[#out + 1] = to
  else
    redis.call('ZREM', key('leases'), id)
  end
end
return out
