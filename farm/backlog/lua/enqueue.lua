-- ARGV: per job: id, record, formula, n_atoms, predicted_cpu_s, queue. Adds those that are not known, and
-- writes anew those that were refused for their old record. Returns how many were added or written anew.
local added = 0
for i = 1, #ARGV, 6 do
  local id, cost, queue = ARGV[i], ARGV[i + 4], ARGV[i + 5]
  local job = job_key(id)
  if redis.call('EXISTS', job) == 0 then
    redis.call('HSET', job, 'state', 'ready', 'formula', ARGV[i + 2], 'n_atoms', ARGV[i + 3],
      'predicted_cpu_s', cost, 'queue', queue, 'changed_ms', string.format('%.0f', now_ms()))
    redis.call('HSET', key('records'), id, ARGV[i + 1])
    put_ready(id, queue, cost, ARGV[i + 3], nil)
    redis.call('HINCRBY', key('counts'), 'ready', 1)
    redis.call('HINCRBYFLOAT', key('cpu'), 'to_go', cost)
    added = added + 1
  elseif redis.call('HEXISTS', job, 'back_stale') == 1 then
    redis.call('HSET', job, 'queue', queue, 'predicted_cpu_s', cost, 'reason', '')
    redis.call('HDEL', job, 'back_stale')
    redis.call('HSET', key('records'), id, ARGV[i + 1])
    if move(id, 'failed', 'ready') then added = added + 1 end
  end
end
if added > 0 then wake() end
return added
