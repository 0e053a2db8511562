-- argument.lua -- the checks of arguments that LuaSocket does: numbers are strings and strings of digits are numbers, and the
-- errors have LuaJIT's words for functions in C.
--
-- Positions count self, as in C.  A nil is told as "no value": a function in Lua cannot tell it from none.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local error, tonumber, tostring, type, getinfo = error, tonumber, tostring, type, debug.getinfo
local ceil, find, floor, sub = math.ceil, string.find, math.floor, string.sub

local M = {}

-- The prefix of the sources of this folder and of luasocket.lua itself.
local here = getinfo(1, "S").source:match "^(.*)argument%.lua$" or getinfo(1, "S").source:match "^(.*)argument$" or "\0"
here = here:sub(1, -2)

-- Answers the level, for the function that calls this one, of the outermost function of the face.
local function outermost()
  local level = 2
  while true do
    local info = getinfo(level + 1, "S")
    if not info or info.source:sub(1, #here) ~= here then return level - 1 end
    level = level + 1
  end
end

--- Raises the error for a bad argument, at the line that called into the face.
---@param position integer  counting self
---@param text string
function M.raise(position, text)
  local level = outermost()
  local info = getinfo(level, "n")
  local name = info.name or "?"
  if info.namewhat == "method" then position = position - 1 end
  if position == 0 then error(("calling '%s' on bad self (%s)"):format(name, text), level + 1) end
  error(("bad argument #%d to '%s' (%s)"):format(position, name, text), level + 1)
end

--- Raises the error for an argument of a wrong type.
---@param position integer
---@param expected string
---@param value any
function M.wrong(position, expected, value)
  local got = type(value)
  M.raise(position, ("%s expected, got %s"):format(expected, got == "nil" and "no value" or got))
end

--- Raises an error without an argument's number, at the line that called into the face.
---@param text string
function M.complain(text) error(text, outermost() + 1) end

--- Answers a string; a number becomes one.
---@param value any
---@param position integer
---@return string
function M.string(value, position)
  if type(value) == "string" then return value end
  if type(value) ~= "number" then M.wrong(position, "string", value) end
  return tostring(value)
end

--- Answers a string up to its first NUL, as C reads it; a number becomes one.
---@param value any
---@param position integer
---@return string
function M.text(value, position)
  local text = M.string(value, position)
  local nul = find(text, "\0", 1, true)
  return nul and sub(text, 1, nul - 1) or text
end

--- Answers a number; a string of digits becomes one.
---@param value any
---@param position integer
---@return number
function M.number(value, position)
  if type(value) == "number" then return value end
  local n = type(value) == "string" and tonumber(value)
  if not n then M.wrong(position, "number", value) end
  return n
end

--- Answers a number, or the default for nil.
---@param value any
---@param position integer
---@param default number
---@return number
function M.optional_number(value, position, default)
  if type(value) == "nil" then return default end
  return M.number(value, position)
end

--- Answers a number as C makes an integer of it.
---@param n number
---@return number
function M.whole(n)
  if n ~= n then return -2^63 end
  return n < 0 and ceil(n) or floor(n)
end

--- Answers a number as C makes a long of it on x86-64, where what none holds is the least.
---@param n number
---@return number
function M.long(n)
  n = M.whole(n)
  return n >= -2^63 and n < 2^63 and n or -2^63
end

--- Answers a boolean.
---@param value any
---@param position integer
---@return boolean
function M.boolean(value, position)
  if type(value) ~= "boolean" then M.wrong(position, "boolean", value) end
  return value
end

--- Answers a table.
---@param value any
---@param position integer
---@return table
function M.table(value, position)
  if type(value) ~= "table" then M.wrong(position, "table", value) end
  return value
end

--- Answers what a table has for a word, or for the default where the value is no word.
---@param value any
---@param position integer
---@param default string
---@param choices table<string, any>
---@return any
function M.choice(value, position, default, choices)
  local word = (type(value) == "string" or type(value) == "number") and M.text(value, position) or default
  local chosen = choices[word]
  if type(chosen) == "nil" then M.raise(position, ("invalid option '%s'"):format(word)) end
  return chosen
end

return M
