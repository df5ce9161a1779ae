-- Put before every other script: the one way a job changes state.
-- KEYS and ARGV of each script start alike: KEYS[1] is the key prefix of the farm.
local prefix = KEYS[1]
local FINAL = {done = true, metal = true, unconverged = true, failed = true, cancelled = true}

local function key(name) return prefix .. name end
local function job_key(id) return prefix .. 'job:' .. id end

-- Redis' own clock, milliseconds: the clocks of the workers' hosts do not matter.
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Something happened that the scheduler acts on; one word is enough for many events.
local function wake()
  if redis.call('LLEN', key('wake')) == 0 then redis.call('LPUSH', key('wake'), 1) end
end

-- Place of a ready job: where it was put, or its predicted seconds, of equal ones the smaller cell first.
local function put_ready(id, queue, cost, n_atoms, place)
  local score = tonumber(place) or (tonumber(cost) or 0) * (1 + 1e-9 * (tonumber(n_atoms) or 0))
  redis.call('ZADD', key('ready:' .. queue), score, id)
end

-- Move a job from a state it must be in; returns false and changes nothing where it is not.
local function move(id, from, to)
  local job = job_key(id)
  local fields = redis.call('HMGET', job, 'state', 'queue', 'predicted_cpu_s', 'n_atoms', 'place')
  if fields[1] ~= from then return false end
  local queue, cost, now = fields[2], fields[3], now_ms()
  redis.call('HSET', job, 'state', to, 'changed_ms', string.format('%.0f', now))
  redis.call('HINCRBY', key('counts'), from, -1)
  redis.call('HINCRBY', key('counts'), to, 1)
  if from == 'ready' then redis.call('ZREM', key('ready:' .. queue), id) end
  if from == 'dispatched' then redis.call('HINCRBY', key('dispatched'), queue, -1) end
  if to == 'dispatched' then redis.call('HINCRBY', key('dispatched'), queue, 1) end
  if to == 'ready' then put_ready(id, queue, cost, fields[4], fields[5]) end
  if to ~= 'dispatched' and to ~= 'running' then redis.call('ZREM', key('leases'), id) end
  if FINAL[from] then redis.call('ZREM', key('in:' .. from), id) end
  if FINAL[to] then redis.call('ZADD', key('in:' .. to), now, id) end
  if FINAL[to] and not FINAL[from] then redis.call('HINCRBYFLOAT', key('cpu'), 'to_go', -cost) end
  if FINAL[from] and not FINAL[to] then redis.call('HINCRBYFLOAT', key('cpu'), 'to_go', cost) end
  if from == 'dispatched' or to == 'ready' then wake() end
  return true
end

-- True when the caller's fencing token is the one the job was last handed out with.
local function holds(id, token)
  return redis.call('HGET', job_key(id), 'token') == token
end
