-- turns.lua -- many short turns, one participant after the other, and what they show.
local M = {}

-- The values at the quarters of a list: lower, median, upper.
local function quartiles(list)
  local sorted = { unpack(list) }
  table.sort(sorted)
  local function at(part) return sorted[math.floor((#sorted - 1) * part + 0.5) + 1] end
  return { low = at(0.25), median = at(0.5), high = at(0.75) }
end

M.quartiles = quartiles

-- Each turn begins with another participant, so that none has a better place.  `measure` answers a sample.
function M.take(rows, count, measure)
  local samples = {}
  for i = 1, #rows do samples[i] = {} end
  for turn = 1, count do
    for i = 1, #rows do
      local at = (turn + i) % #rows + 1
      samples[at][turn] = measure(rows[at])
    end
  end
  return samples
end

local function field(samples, name)
  local out = {}
  for i, sample in ipairs(samples) do out[i] = sample[name] end
  return quartiles(out)
end

-- How much one does in the time in which another does 1: the ratios within each turn, which what else the machine does
-- disturbs least.
function M.ratio(samples, base, name)
  local ratios = {}
  for turn = 1, #samples do ratios[turn] = base[turn][name] / samples[turn][name] end
  return quartiles(ratios)
end

-- What a participant's samples come to, against the first's.  One with threads has no time on the CPU: what is measured
-- is that of the first thread.
function M.summary(samples, base, threads)
  return {
    wall = field(samples, "wall"), cpu = not threads and field(samples, "cpu") or nil,
    more = samples[1].more and field(samples, "more").median,
    rate_ratio = M.ratio(samples, base, "wall"), cpu_ratio = not threads and M.ratio(samples, base, "cpu") or nil,
    samples = samples,
  }
end

return M
