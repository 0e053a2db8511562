-- shortage.lua -- collects garbage when descriptors run out: the collector does not count descriptors, and objects that
-- nothing refers to any more may hold many.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local const = require "llsocket.core.const"
local collectgarbage, pcall, os_time = collectgarbage, pcall, os.time

local EMFILE, ENFILE = const.EMFILE, const.ENFILE
local ENOUGH = 16 -- new descriptors: so many may be garbage by now that a full collection is worth its time

-- `made` counts the descriptors made since the last collection by this module: code that makes one adds 1.  It is a field,
-- because a function call would cost accept more in the interpreter than the addition does.
local M = { made = 0 }

local last = 0 -- when that collection ended, in whole seconds

-- The clock has whole seconds: only a gap of 2 is surely longer than 1 second.  A negative gap means the clock was set back.
local function is_due()
  local gap = os_time() - last
  return M.made >= ENOUGH or gap < 0 or gap >= 2
end

--- Collects garbage where a call failed because no descriptor was left; where it answers true, try the call once more.
--- A full collection for each failing accept would stall the process: it collects at once where 16 descriptors were made
--- since the last time, otherwise at most once a second.  Stops a collector again that the user had stopped.
---@param e integer  errno of the call
---@return boolean collected
function M.collected(e)
  if e ~= EMFILE and e ~= ENFILE or not is_due() then return false end
  local running = collectgarbage "isrunning"
  M.made = 0 -- before the collection: descriptors that a finaliser makes must count
  pcall(collectgarbage) -- a finaliser of the program may raise, but the call must not raise for it
  if not running then collectgarbage "stop" end
  last = os_time() -- after the collection: one that takes seconds must not make the next one due
  return true
end

return M
