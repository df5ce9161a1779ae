-- ARGV: id, record or '' to take the one that is here, states it may be in. A job goes back to the backlog
-- with nothing counted. Returns 1 when it did.
local id, record = ARGV[1], ARGV[2]
if record == '' and redis.call('HEXISTS', key('records'), id) == 0 then return 0 end
for i = 3, #ARGV do
  if move(id, ARGV[i], 'ready') then
    if record ~= '' then redis.call('HSET', key('records'), id, record) end
    redis.call('HDEL', job_key(id), 'reason', 'cpu_s')
    for _, field in ipairs(redis.call('HKEYS', job_key(id))) do
      if field:sub(1, 5) == 'back_' then redis.call('HDEL', job_key(id), field) end
    end
    return 1
  end
end
return 0
