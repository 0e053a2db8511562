-- finalising.lua -- lets a finaliser run at the k-th allocation from now on.
--
-- An error in a finaliser ends a collector step in the middle (LuaJIT 2.1 of Debian 12): the step's debt stays, so each further
-- allocation runs one more step, and with the smallest stepmul that is one finaliser.  A newer LuaJIT does not pass the error on,
-- and then the finalisers run where the collector takes them.
local M = {}

local STOP = {}
local MANY = 400 -- allocations of one operation that can be reached

local armed, count, target, act

local function finaliser()
  if armed == nil then return end
  if armed == false then
    armed = true
    error(STOP, 0)
  end
  count = count + 1
  if count == target then act() end
end

--- Runs fn, and `what` in a finaliser at the k-th allocation.
---@param k integer
---@param what function
---@param fn function
---@return boolean reached  whether there was a k-th allocation
---@return boolean ok  as of pcall
---@return any answer
function M.run(k, what, fn, ...)
  for _ = 1, MANY do getmetatable(newproxy(true)).__gc = finaliser end
  armed, count, target, act = false, 0, k, what
  collectgarbage("setstepmul", 1000000) -- one step comes as far as the first finaliser: more would use up the debt
  pcall(collectgarbage, "step", 100000)
  collectgarbage("setstepmul", 1)
  local ok, answer = pcall(fn, ...)
  local reached = count >= k
  armed = nil
  collectgarbage("setstepmul", 200)
  collectgarbage()
  return reached, ok, answer
end

return M
