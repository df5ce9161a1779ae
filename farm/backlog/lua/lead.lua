-- ARGV: name, ms. Become or stay the leader for so long; 0 ms gives the lead away. Returns 1 for the leader.
local leader = redis.call('GET', key('leader'))
if leader and leader ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then
  redis.call('DEL', key('leader'))
  return 0
end
redis.call('SET', key('leader'), ARGV[1], 'PX', ARGV[2])
return 1
