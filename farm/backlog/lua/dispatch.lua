-- ARGV: how many jobs may be dispatched at once, lease in ms, then for each queue that somebody serves its
-- name and how many of it may be dispatched at once.
-- Hands out the first ready jobs over these queues, each with a new fencing token.
-- Returns a flat list: id, token, formula, queue.
if redis.call('EXISTS', key('paused')) == 1 then return {} end
local room = tonumber(ARGV[1]) - (tonumber(redis.call('HGET', key('counts'), 'dispatched')) or 0)
if room <= 0 then return {} end
local heads = {}
for i = 3, #ARGV, 2 do
  local queue = ARGV[i]
  local out = tonumber(redis.call('HGET', key('dispatched'), queue)) or 0
  local n = math.min(room, tonumber(ARGV[i + 1]) - out)
  if n > 0 then
    local found = redis.call('ZRANGE', key('ready:' .. queue), 0, n - 1, 'WITHSCORES')
    for j = 1, #found, 2 do heads[#heads + 1] = {tonumber(found[j + 1]), found[j], queue} end
  end
end
table.sort(heads, function(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end)
local out = {}
for i = 1, math.min(room, #heads) do
  local id, queue = heads[i][2], heads[i][3]
  local token = string.format('%.0f', redis.call('INCR', key('token')))
  if move(id, 'ready', 'dispatched') then
    redis.call('HSET', job_key(id), 'token', token)
    redis.call('ZADD', key('leases'), now_ms() + tonumber(ARGV[2]), id)
    for _, item in ipairs({id, token, redis.call('HGET', job_key(id), 'formula'), queue}) do
      out[#out + 1] = item
    end
  else
    redis.call('ZREM', key('ready:' .. queue), id)  -- a stale entry: the job is elsewhere
  end
end
return out
