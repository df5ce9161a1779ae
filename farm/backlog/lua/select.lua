-- ARGV: cursor, number of formulas, formulas, states. Some of the jobs that have one of the formulas and are in
-- one of the states; none given: any.
-- Returns the next cursor ('0': through), then ids.
local n = tonumber(ARGV[2])
local formulas, states = {}, {}
for i = 3, 2 + n do formulas[ARGV[i]] = true end
for i = 3 + n, #ARGV do states[ARGV[i]] = true end
local any_formula, any_state = n == 0, #ARGV == 2 + n
local found = redis.call('SCAN', ARGV[1], 'MATCH', key('job:*'), 'COUNT', 5000)
local out, skip = {found[1]}, #key('job:')
for _, job in ipairs(found[2]) do
  local fields = redis.call('HMGET', job, 'state', 'formula')
  if (any_state or states[fields[1]]) and (any_formula or formulas[fields[2]]) then
    out[#out + 1] = job:sub(skip + 1)
  end
end
return out
