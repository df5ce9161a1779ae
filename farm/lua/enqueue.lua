-- ARGV: per job: id, record, formula, n_atoms, predicted_cpu_s. Adds those that are not known.
-- Returns how many were added.
local added = 0
for i = 1, #ARGV, 5 do
  local id = ARGV[i]
  if redis.call('EXISTS', job_key(id)) == 0 then
    redis.call('HSET', job_key(id), 'state', 'ready', 'record', ARGV[i + 1], 'formula', ARGV[i + 2],
      'n_atoms', ARGV[i + 3], 'predicted_cpu_s', ARGV[i + 4], 'attempts', 0, 'changed_ms', now_ms())
    redis.call('ZADD', key('ready'), ARGV[i + 4], id)
    redis.call('HINCRBY', key('counts'), 'ready', 1)
    redis.call('HINCRBYFLOAT', key('cpu'), 'to_go', ARGV[i + 4])
    added = added + 1
  end
end
return added
