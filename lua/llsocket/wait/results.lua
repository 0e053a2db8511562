-- results.lua -- what became of the coroutines that spawn made.
--
-- The results become the environment of the coroutine, which needs none any more: so they live as long as it does, and a
-- coroutine that waits takes no memory for them.  In a weak table they would keep it alive where it is among them.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local getmetatable, select, setmetatable, unpack = getmetatable, select, setmetatable, unpack
local getfenv, setfenv = debug.getfenv, debug.setfenv

local meta = {} -- of all tables of results
local NOTHING = setmetatable({ n = 0 }, meta)

local M = {}

--- Keeps what the function of a coroutine returned.
---@param co thread
---@param ... any
function M.done(co, ...)
  local n = select("#", ...)
  setfenv(co, n > 0 and setmetatable({ n = n, ... }, meta) or NOTHING)
end

--- Keeps the text of the error that ended a coroutine.
---@param co thread
---@param text string
function M.failed(co, text) setfenv(co, setmetatable({ text = text }, meta)) end

--- Tells whether there are results of a coroutine.
---@param co thread
---@return boolean has
function M.has(co) return getmetatable(getfenv(co)) == meta end

--- Tells what became of a coroutine that has results.
---@param co thread
---@return any ...  what its function returned; or nil and the text of its error
function M.of(co)
  local results = getfenv(co)
  if results.text then return nil, results.text end
  return unpack(results, 1, results.n)
end

return M
