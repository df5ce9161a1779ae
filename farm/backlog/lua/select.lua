-- ARGV: cursor, formulas. Some of the jobs that have one of the formulas.
-- Returns the next cursor ('0': through), then ids.
local formulas = {}
for i = 2, #ARGV do formulas[ARGV[i]] = true end
local found = redis.call('SCAN', ARGV[1], 'MATCH', key('job:*'), 'COUNT', 5000)
local out, skip = {found[1]}, #key('job:')
for _, job in ipairs(found[2]) do
  if formulas[redis.call('HGET', job, 'formula')] then out[#out + 1] = job:sub(skip + 1) end
end
return out
