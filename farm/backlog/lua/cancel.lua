-- ARGV: id. Takes the job from whoever has it; its worker sees that at the next heartbeat.
local id = ARGV[1]
if redis.call('HEXISTS', key('outbox'), id) == 1 then return 0 end  -- done, only not yet on disk
for _, from in ipairs({'ready', 'dispatched', 'running'}) do
  if move(id, from, 'cancelled') then
    redis.call('HDEL', job_key(id), 'token', 'stage', 'owner')
    redis.call('HSET', job_key(id), 'reason', 'cancelled by the user')
    return 1
  end
end
return 0
