-- ARGV: id, token, owner, lease in ms. dispatched -> running for the holder of the token.
-- Returns record, protocol, predicted seconds, queue; false when the message is stale.
local id = ARGV[1]
if not holds(id, ARGV[2]) or not move(id, 'dispatched', 'running') then return false end
redis.call('HSET', job_key(id), 'owner', ARGV[3], 'stage', '', 'started_ms', string.format('%.0f', now_ms()))
redis.call('ZADD', key('leases'), now_ms() + tonumber(ARGV[4]), id)
local fields = redis.call('HMGET', job_key(id), 'predicted_cpu_s', 'queue')
local protocol = redis.call('HGET', key('protocols'), id:match('%.(%x+)%.'))
return {redis.call('HGET', key('records'), id), protocol, fields[1], fields[2]}
