-- random.lua -- random numbers that are the same for a seed in every process and mode.
local floor = math.floor

local M = {}

-- Lehmer's generator: each product is below 2^53, so doubles are exact.
local function step(state) return state * 48271 % 2147483647 end

--- Makes a generator: `draw(n)` answers an integer of 1 to n.
---@param seed integer
---@return fun(n: integer): integer draw
function M.new(seed)
  local state = seed % 2147483646 + 1
  for _ = 1, 3 do state = step(state) end -- seeds that are neighbours begin alike
  return function(n)
    state = step(state)
    return floor(state / 2147483647 * n) + 1
  end
end

--- A seed that is another one each time.
function M.seed() return (os.time() * 1000003 + require("proc").getpid() * 7919) % 1000000007 end

return M
