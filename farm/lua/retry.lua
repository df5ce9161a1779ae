-- ARGV: id. A job that ended without a good result goes back to the backlog with fresh attempts.
local id = ARGV[1]
for _, from in ipairs({'failed', 'cancelled', 'unconverged'}) do
  if move(id, from, 'ready') then
    redis.call('HSET', job_key(id), 'attempts', 0, 'reason', '')
    return 1
  end
end
return 0
