-- ARGV: id, states it may be in. A job goes back to the backlog with fresh attempts.
local id = ARGV[1]
for i = 2, #ARGV do
  if move(id, ARGV[i], 'ready') then
    redis.call('HSET', job_key(id), 'attempts', 0, 'reason', '')
    return 1
  end
end
return 0
