-- shortage.lua -- when descriptors run out: the collector does not see them, and objects that nothing refers to any more
-- may hold many.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local const = require "llsocket.core.const"
local collectgarbage, pcall, os_time = collectgarbage, pcall, os.time

local EMFILE, ENFILE = const.EMFILE, const.ENFILE
local ENOUGH = 16 -- descriptors that may be garbage by now: a full collection for them is worth its time

-- `made` counts the descriptors that were made since the last collection for this reason: whoever makes one adds 1.  A
-- field, since a call would cost accept in the interpreter more than the addition does.
local M = { made = 0 }

local last = 0 -- when that collection ended, in whole seconds

-- A clock of whole seconds needs a gap of two to be sure of one.  It may also have been set back.
local function is_due()
  local gap = os_time() - last
  return M.made >= ENOUGH or gap < 0 or gap >= 2
end

--- Collects garbage where a call failed because no descriptor was left: then the call is worth one more try.  At once
--- where 16 descriptors were made since the last time, otherwise at most once a second: a full collection for each
--- accept that fails would stall the process.  A collector that the user had stopped is stopped again.
---@param e integer  errno of the call
---@return boolean collected
function M.collected(e)
  if e ~= EMFILE and e ~= ENFILE or not is_due() then return false end
  local running = collectgarbage "isrunning"
  M.made = 0 -- first: what a finaliser makes counts
  pcall(collectgarbage) -- a program's finaliser may raise, and its error is not the call's
  if not running then collectgarbage "stop" end
  last = os_time() -- afterwards: a collection that takes seconds must not call for the next one
  return true
end

return M
