-- ARGV: how many jobs may be dispatched at once, lease in ms.
-- Hands out the cheapest ready jobs, each with a new fencing token.
-- Returns a flat list: id, token, formula, record.
if redis.call('EXISTS', key('paused')) == 1 then return {} end
local room = tonumber(ARGV[1]) - (tonumber(redis.call('HGET', key('counts'), 'dispatched')) or 0)
if room <= 0 then return {} end
local out = {}
for _, id in ipairs(redis.call('ZRANGE', key('ready'), 0, room - 1)) do
  local token = tostring(redis.call('INCR', key('token')))
  if move(id, 'ready', 'dispatched') then
    redis.call('HSET', job_key(id), 'token', token)
    redis.call('ZADD', key('leases'), now_ms() + tonumber(ARGV[2]), id)
    local fields = redis.call('HMGET', job_key(id), 'formula', 'record')
    out[#out + 1] = id
    out[#out + 1] = token
    out[#out + 1] = fields[1]
    out[#out + 1] = fields[2]
  else
    redis.call('ZREM', key('ready'), id)  -- a stale entry: the job is elsewhere
  end
end
return out
