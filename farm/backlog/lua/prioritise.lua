-- ARGV: ids. Ready ones go before all others, in this order. Returns those that went.
local first = 0
for _, engine in ipairs({'native', 'yambo'}) do
  for _, class in ipairs({'small', 'medium', 'large', 'huge'}) do
    local head = redis.call('ZRANGE', key('ready:' .. engine .. '.' .. class), 0, 0, 'WITHSCORES')
    if head[2] then first = math.min(first, tonumber(head[2])) end
  end
end
local out = {}
for i, id in ipairs(ARGV) do
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
