-- ARGV: id, record or '' to take the one that is here, states it may be in. A job goes back to the backlog
-- with nothing counted. Returns 1 when it did.
local id, record = ARGV[1], ARGV[2]
if record == '' and redis.call('HEXISTS', key('records'), id) == 0 then return 0 end
for i = 3, #ARGV do
  if move(id, ARGV[i], 'ready') then
    if record ~= '' then redis.call('HSET', key('records'), id, record) end
    redis.call('HDEL', job_key(id), 'n_worker_lost', 'n_killed', 'n_fault', 'n_returned', 'n_stale', 'reason',
      'cpu_s')
    return 1
  end
end
return 0
