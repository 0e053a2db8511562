-- except.lua -- newtry and protect: an error that carries an answer.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local error, pcall, setmetatable, type = error, pcall, setmetatable, type
local getmetatable = debug.getmetatable

local meta = { __metatable = false } -- of the tables that carry an answer

local M = {}

--- Makes a function that answers its arguments, or where the first is nil or false raises the second, for protect.
---@param finish? function  called before it raises
---@return function try
function M.newtry(finish)
  return function(...)
    if ... then return ... end
    if type(finish) ~= "nil" then finish() end
    local _, answer = ...
    error(setmetatable({ answer }, meta), 0)
  end
end

local function answer(done, ...)
  if done then return ... end
  local err = ...
  if type(err) == "table" and getmetatable(err) == meta then return nil, err[1] end
  error(err, 0)
end

--- Makes a function that does what another does, and answers nil and the error that a try has raised.
---@param fn function
---@return function protected
function M.protect(fn)
  return function(...) return answer(pcall(fn, ...)) end
end

return M
