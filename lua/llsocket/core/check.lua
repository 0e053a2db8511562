-- check.lua -- argument checks.  Raising is the cold path: only the tests cost time.
--
-- A wrong type raises an error at the line that called into the library.  A right type with an impossible value is
-- reported to the caller of the check, which answers EINVAL.  Never pass an unchecked number to the FFI: 2^32+1 becomes 1
-- on one LuaJIT and INT_MIN on another.  Test optional arguments with type(x) == "nil": a NULL cdata pointer also equals nil.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local error, getmetatable, getinfo = error, getmetatable, debug.getinfo

local floor, huge = math.floor, math.huge
local type, select, tobit, bor, istype = type, select, bit.tobit, bit.bor, ffi.istype

local M = {}

-- The prefix of the source names of all modules.  A module that is linked into a program has its module name as source.
local source = debug.getinfo(1, "S").source
local here = source:match "^(.*)core/check%.lua$" or source:match "^(.*llsocket%.)core%.check$" or "\0"

-- Finds the first function outside the library; answers its level for an error() in the function that calls this one.
local function outside()
  local level = 1
  repeat
    level = level + 1
    local info = getinfo(level, "S")
  until not info or info.source:sub(1, #here) ~= here
  return level - 1
end

--- Raises the error for an argument that has a wrong type.
---@param position integer  of the argument, self not counted
---@param method string  the caller's name
---@param expected string  the name of the right type
---@param value any  the argument
local function bad(position, method, expected, value)
  local message = "bad argument #%d to '%s' (%s expected, got %s)"
  error(message:format(position, method, expected, type(value)), outside())
end

--- Raises unless `value` is a string.
---@param value any
---@param position integer  of the argument, self not counted
---@param method string  the caller's name, for the message
function M.string(value, position, method)
  if type(value) ~= "string" then bad(position, method, "string", value) end
end

--- Raises unless `value` is a boolean or, for an optional argument, nil.
---@param value any
---@param position integer  of the argument, self not counted
---@param method string  the caller's name, for the message
function M.boolean(value, position, method)
  if type(value) ~= "nil" and type(value) ~= "boolean" then bad(position, method, "boolean", value) end
end

--- Raises unless `value` is a string or nil.
---@param value any
---@param position integer  of the argument, self not counted
---@param method string  the caller's name, for the message
function M.optional_string(value, position, method)
  if type(value) ~= "nil" and type(value) ~= "string" then bad(position, method, "string", value) end
end

--- Raises unless `value` is a number.
---@param value any
---@param position integer  of the argument, self not counted
---@param method string  the caller's name, for the message
function M.number(value, position, method)
  if type(value) ~= "number" then bad(position, method, "number", value) end
end

--- Raises unless `value` is a number; answers whether it is a signed 32-bit integer.
---@param value any
---@param position integer  of the argument, self not counted
---@param method string  the caller's name, for the message
---@return boolean is_int
function M.int(value, position, method)
  if type(value) ~= "number" then bad(position, method, "number", value) end
  return tobit(value) == value
end

--- Raises unless `value` is a number; answers it as a descriptor number.  Answers -1 for any integer below 0, because every
--- call answers EBADF to -1, and nil for any other number that is not a 32-bit integer.
---@param value any
---@param position integer  of the argument, self not counted
---@param method string  the caller's name, for the message
---@return integer? fd
function M.fd(value, position, method)
  if type(value) ~= "number" then bad(position, method, "number", value) end
  if tobit(value) == value then return value end
  if value < 0 and value > -huge and floor(value) == value then return -1 end
end

M.bad = bad

-- Takes a 32-bit word written signed or unsigned; answers it signed, or nil for any other number.
local function word(value)
  local bits = tobit(value)
  if bits == value or bits < 0 and bits + 2^32 == value then return bits end
end

--- Raises unless `value` is a number; answers it as a signed 32-bit integer, or nil where it is neither a signed nor an
--- unsigned 32-bit integer.
---@param value any
---@param position integer  of the argument, self not counted
---@param method string  the caller's name, for the message
---@return integer? bits
function M.word(value, position, method)
  if type(value) ~= "number" then bad(position, method, "number", value) end
  return word(value)
end

local function fold(bits, position, method, flag, ...)
  if type(flag) ~= "number" then bad(position, method, "number", flag) end
  local more = word(flag)
  bits = bits and more and bor(bits, more)
  if select("#", ...) == 0 then return bits end
  return fold(bits, position + 1, method, ...)
end

--- Combines `[flag, ...]`: raises unless each is a number, answers nil where one is not a 32-bit word.
--- A single flag is handled first, so that the common call has no loop over varargs.
---@param position integer  of `flag`, self not counted
---@param method string  the caller's name, for the message
---@param flag any
---@param ... any
---@return integer? bits
function M.flags(position, method, flag, ...)
  if select("#", ...) == 0 then
    if type(flag) == "nil" then return 0 end
    if type(flag) ~= "number" then bad(position, method, "number", flag) end
    return word(flag)
  end
  if type(flag) == "nil" then flag = 0 end
  return fold(0, position, method, flag, ...)
end

local function bad_self(method, class, value)
  error(("calling '%s' on bad self (%s expected, got %s)"):format(method, class, type(value)), outside())
end

--- Makes a test for objects of a ctype.  ffi.istype alone is unsafe: it also accepts a pointer to the struct, which may be
--- NULL.
---@param ctype ffi.ctype*
---@return fun(value: any): boolean is_object
function M.is(ctype)
  local pointer = ffi.typeof("$ *", ctype)
  return function(value) return istype(ctype, value) and not istype(pointer, value) end
end

--- Makes the two checks of a class of cdata: the first checks a method's self, the second an argument.
---@param ctype ffi.ctype*
---@param class string  the name for messages
---@return fun(value: any, method: string) self  raises unless `value` is of the class
---@return fun(value: any, position: integer, method: string) arg  raises unless `value` is of the class
function M.class(ctype, class)
  local is_object = M.is(ctype)
  local function self(value, method)
    if not is_object(value) then bad_self(method, class, value) end
  end
  local function arg(value, position, method)
    if not is_object(value) then bad(position, method, class, value) end
  end
  return self, arg
end

--- Raises unless `value` is nil or passes a class's check of an argument.
---@param arg fun(value: any, position: integer, method: string)
---@param value any
---@param position integer
---@param method string
function M.optional(arg, value, position, method)
  if type(value) ~= "nil" then arg(value, position, method) end
end

--- Makes the two checks of a class of tables: the first checks a method's self, the second an argument.
---@param meta table  their metatable
---@param class string  the name for messages
---@return fun(value: any, method: string) self  raises unless `value` is of the class
---@return fun(value: any, position: integer, method: string) arg  raises unless `value` is of the class
function M.object(meta, class)
  local function self(value, method)
    if getmetatable(value) ~= meta then bad_self(method, class, value) end
  end
  local function arg(value, position, method)
    if getmetatable(value) ~= meta then bad(position, method, class, value) end
  end
  return self, arg
end

return M
