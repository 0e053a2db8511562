-- settings.lua -- what nginx's configuration sets for its cosockets, and arguments as its C functions take them.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local check = require "llsocket.core.check"
local const = require "llsocket.core.const"
local texts = require("llsocket.core.failure").texts
local error, pairs, pcall, tonumber, type = error, pairs, pcall, tonumber, type
local floor, ceil = math.floor, math.ceil

---@class llsocket.cosocket.settings
---@field connect_timeout integer  milliseconds, as all times here
---@field log? fun(level: integer, text: string)
local values = {
  connect_timeout = 60000, send_timeout = 60000, read_timeout = 60000, keepalive_timeout = 60000, pool_size = 30,
  log_errors = false, log_level = 5, trusted_path = "/etc/ssl/certs", verify_depth = 9,
  protocol = "any",
}

local KINDS = {
  connect_timeout = "number", send_timeout = "number", read_timeout = "number", keepalive_timeout = "number",
  pool_size = "number", log_errors = "boolean", log_level = "number", log = "function", verify_depth = "number",
  trusted_certificate = "string", trusted_path = "string", protocol = "string", spawn = "function",
}

local M = { values = values }

local function check_one(name, value)
  local kind = KINDS[name]
  if not kind then error(("bad argument #1 to 'configure' (no setting is called '%s')"):format(name), 0) end
  if type(value) == kind and (kind ~= "number" or value >= 0 and value < 2^31) then return end
  error(("bad argument #1 to 'configure' (%s of '%s' expected, got %s)"):format(kind, name, type(value)), 0)
end

--- Changes settings, for all sockets of the program.
---@param changes table
function M.configure(changes)
  if type(changes) ~= "table" then check.bad(1, "configure", "table", changes) end
  local copy = {}
  for name, value in pairs(changes) do copy[name] = value end
  for name, value in pairs(copy) do
    local done, why = pcall(check_one, name, value)
    if not done then check.raise(why) end
  end
  for name, value in pairs(copy) do values[name] = value end
end

--- Raises as a C function does for a bad argument.
---@param position integer  self not counted
---@param method string
---@param text string
function M.refuse(position, method, text) check.raise(("bad argument #%d to '%s' (%s)"):format(position, method, text)) end

--- Raises unless self is a table.
---@param self any
---@param method string
function M.self(self, method)
  if type(self) ~= "table" then M.refuse(1, method, "table expected, got " .. type(self)) end
end

--- Raises where there is an argument too many.  Methods have fixed parameters and no `...`: LuaJIT of 2022 compiles `...` to the
--- arguments of another call, after calls that raised.
---@param extra any  the argument behind the last one
---@param text string  with %d for how many there were, self counted
---@param seen integer
function M.no_more(extra, text, seen)
  if type(extra) ~= "nil" then check.raise(text:format(seen)) end
end

-- NaN and infinity become what C makes of them on x86-64.
local function cut(number)
  if number - number ~= 0 then return -2^63 end
  return number < 0 and ceil(number) or floor(number)
end

--- Answers a number, or a string that reads like one, without its fraction; nil for others.
---@param value any
---@return number? number
function M.integer(value)
  if type(value) ~= "number" and type(value) ~= "string" then return nil end
  local number = tonumber(value)
  return number and cut(number)
end

--- Answers an argument that must be a number.
---@param value any
---@param position integer
---@param method string
---@return number
function M.check_integer(value, position, method)
  local number = M.integer(value)
  if not number then check.bad(position, method, "number", value) end
  return number
end

--- Answers an argument that must be a string; numbers are taken, too.
---@param value any
---@param position integer
---@param method string
---@return string
function M.check_string(value, position, method)
  if type(value) == "number" then return ("%.14g"):format(value) end
  if type(value) ~= "string" then check.bad(position, method, "string", value) end
  return value
end

--- Answers a time limit in milliseconds: what is no number is 0.
---@param value any
---@return integer milliseconds
function M.milliseconds(value)
  local number = M.integer(value) or 0
  if not (number >= 0 and number < 2^31) then check.raise "bad timeout value" end
  return number
end

--- Answers nginx's word for an errno.
---@param e integer
---@param is_late boolean  the time limit has come
---@return string
function M.word(e, is_late)
  if e == const.ETIMEDOUT and is_late then return "timeout" end
  if e == const.EBADF then return "closed" end
  return (texts[e] or "error"):lower()
end

return M
