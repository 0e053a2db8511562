-- yielding.lua -- coroutine.yield for the ways of waiting.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local jit, tostring = jit, tostring
local create, resume, yield = coroutine.create, coroutine.resume, coroutine.yield

local CALLS = 120 -- more than the 112 after which LuaJIT compiles a function

local M = {}

--- Does what coroutine.yield does, for one value.
---@return any told  what the coroutine is resumed with
function M.yield()
  local told = yield()
  return told
end

-- LuaJIT does not compile coroutine.yield: a trace ends there, and another begins behind it.  In a loop of the program that waits
-- each turn could so add its traces to those of the turn before, without end: 550 of them after 80,000 turns, in one process of
-- six.  They end where a trace begins that goes on to a call that is not compiled.  So one begins at the head of M.yield, before
-- any loop runs.  Each call is a coroutine of its own that never goes on: what follows the yield is for the program's loop.
local function warm()
  for _ = 1, CALLS do resume(create(M.yield)) end
end

jit.off(warm)

-- Not with what nginx has put in their place: its resume yields to nginx, which a require does not allow.
local function is_own(fn) return tostring(fn):find "builtin" ~= nil end

if is_own(create) and is_own(resume) then warm() end

return M
