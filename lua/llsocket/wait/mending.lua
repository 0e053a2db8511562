-- mending.lua -- what the loop of coroutines has to put right after an error that came in its midst: of a debug hook (a time
-- limit, Ctrl-C), or because memory ran out.
--
-- Nothing on the way of an ordinary wait is protected against such an error.  Instead the loop stores in an order in which
-- nothing is lost that cannot be found again: here it is found.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local type = type
local getinfo, getlocal, status = debug.getinfo, debug.getlocal, coroutine.status

-- The locals of the loop's functions that hold what a coroutine is to be told.
local IS_ANSWER = { answer = true, told = true }

local M = {}

-- Adds the coroutines that the function at a level has in its local variables; answers what it would tell them.
local function look(level, hand, fn)
  local i, answer = 1, nil
  while true do
    local name, value = getlocal(level + 1, i)
    if not name then return answer end
    if IS_ANSWER[name] then answer = value end
    if name == "pause" and type(value) == "table" then value = value.co end
    if type(value) == "thread" then hand[#hand + 1] = { co = value, fn = fn } end
    i = i + 1
  end
end

--- Finds the coroutines that the functions of the loop had in their hands when an error interrupted them.  To be called where
--- xpcall handles the error: the functions are still on the stack.
---@param loop function  the outermost
---@return { co: thread, fn: function, answer: any }[] hand  from the innermost; answer: what it was to be told, or nil
function M.in_hand(loop)
  local hand, level = {}, 2
  while true do
    local info = getinfo(level, "f")
    if not info or info.func == loop then return hand end
    local answer = look(level, hand, info.func)
    for i = 1, #hand do
      if type(hand[i].answer) == "nil" then hand[i].answer = answer end
    end
    level = level + 1
  end
end

-- Whether a coroutine that is noted waits no more.
local function is_gone(co, gone)
  if gone then return co == gone end
  return status(co) == "dead"
end

--- Forgets those who are gone, and the limits of waits that are over.
---@param waits (thread|false)[]  by descriptor
---@param base integer  what the ids of their times have more than the descriptor
---@param highest integer
---@param limits table  by id
---@param gone? thread  nil: all that have ended
---@return integer n  how many are left
function M.prune(waits, base, highest, limits, gone)
  local n = 0
  for fd = 0, highest do
    local co = waits[fd]
    if co and is_gone(co, gone) then waits[fd], co = false, false end
    if co then n = n + 1 elseif limits[base + fd] then limits[base + fd] = false end
  end
  return n
end

--- Tells whether a coroutine is noted for a descriptor.
---@param waits (thread|false)[]  by descriptor
---@param highest integer
---@param co thread
---@return boolean
function M.is_noted(waits, highest, co)
  for fd = 0, highest do
    if waits[fd] == co then return true end
  end
  return false
end

return M
