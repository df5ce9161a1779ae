-- ARGV: number of queues, queues, ids. Ready ones go before all others, in this order. Returns those that went.
local n_queues, first = tonumber(ARGV[1]), 0
for i = 2, 1 + n_queues do
  local head = redis.call('ZRANGE', key('ready:' .. ARGV[i]), 0, 0, 'WITHSCORES')
  if head[2] then first = math.min(first, tonumber(head[2])) end
end
local out = {}
for i = 2 + n_queues, #ARGV do
  local id = ARGV[i]
  local fields = redis.call('HMGET', job_key(id), 'state', 'queue')
  if fields[1] == 'ready' then
    local place = math.floor(first) - 1 - #ARGV + i
    redis.call('HSET', job_key(id), 'place', place)
    redis.call('ZADD', key('ready:' .. fields[2]), place, id)
    out[#out + 1] = id
  end
end
if #out > 0 then wake() end
return out
