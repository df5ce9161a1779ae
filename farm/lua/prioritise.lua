-- ARGV: id, new score. Only the place in the order changes, not the predicted cost.
local id = ARGV[1]
if redis.call('HGET', job_key(id), 'state') ~= 'ready' then return 0 end
redis.call('ZADD', key('ready'), ARGV[2], id)
return 1
