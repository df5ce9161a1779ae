-- ARGV: how many jobs may be dispatched at once, lease in ms, then the engines that somebody computes with.
-- Hands out the cheapest ready jobs of those engines, each with a new fencing token.
-- Returns a flat list: id, token, formula, record.
if redis.call('EXISTS', key('paused')) == 1 then return {} end
local room = tonumber(ARGV[1]) - (tonumber(redis.call('HGET', key('counts'), 'dispatched')) or 0)
if room <= 0 then return {} end
local served = {}
for i = 3, #ARGV do served[ARGV[i]] = true end
local chosen, first, chunk = {}, 0, math.max(room, 100)
repeat  -- jobs that nobody can compute stay where they are, and in nobody's way
  local ids = redis.call('ZRANGE', key('ready'), first, first + chunk - 1)
  for _, id in ipairs(ids) do
    if #chosen < room and served[id:match('[^.]*$')] then chosen[#chosen + 1] = id end
  end
  first = first + chunk
until #chosen == room or #ids < chunk
local out = {}
for _, id in ipairs(chosen) do
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
