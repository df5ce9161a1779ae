-- Put before every other script: the one way a job changes state.
-- KEYS and ARGV of each script start alike: KEYS[1] is the key prefix of the farm.
local prefix = KEYS[1]

local function key(name) return prefix .. name end
local function job_key(id) return prefix .. 'job:' .. id end

-- Redis' own clock, milliseconds: the clocks of the workers' hosts do not matter.
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Move a job from a state it must be in; returns false and changes nothing where it is not.
local function move(id, from, to)
  local job = job_key(id)
  if redis.call('HGET', job, 'state') ~= from then return false end
  local cost = tonumber(redis.call('HGET', job, 'predicted_cpu_s')) or 0
  local waiting = {ready = true, dispatched = true, running = true}
  redis.call('HSET', job, 'state', to, 'changed_ms', now_ms())
  redis.call('HINCRBY', key('counts'), from, -1)
  redis.call('HINCRBY', key('counts'), to, 1)
  if from == 'ready' then redis.call('ZREM', key('ready'), id) end
  if to == 'ready' then redis.call('ZADD', key('ready'), cost, id) end
  if to ~= 'dispatched' and to ~= 'running' then redis.call('ZREM', key('leases'), id) end
  if waiting[from] and not waiting[to] then
    redis.call('HINCRBYFLOAT', key('cpu'), 'to_go', -cost)
    redis.call('ZADD', key('finished'), now_ms(), id)
    redis.call('ZREMRANGEBYRANK', key('finished'), 0, -1001)
  elseif waiting[to] and not waiting[from] then
    redis.call('HINCRBYFLOAT', key('cpu'), 'to_go', cost)
  end
  return true
end

-- True when the caller's fencing token is the one the job was last handed out with.
local function holds(id, token)
  return redis.call('HGET', job_key(id), 'token') == token
end
