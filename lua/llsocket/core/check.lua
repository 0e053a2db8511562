-- check.lua -- argument checks.  Raising is the cold path: only the tests cost time.
--
-- A wrong type raises an error at the line that called into the library.  A right type with an impossible value is
-- reported to the caller of the check, which answers EINVAL.  Never pass an unchecked number to the FFI: 2^32+1 becomes 1
-- on one LuaJIT and INT_MIN on another.  Test optional arguments with type(x) == "nil": a NULL cdata pointer also equals nil.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local error, getmetatable, setmetatable, getinfo = error, getmetatable, setmetatable, debug.getinfo

local floor, huge = math.floor, math.huge
local type, io_type, tobit, bor, istype = type, io.type, bit.tobit, bit.bor, ffi.istype
local EINVAL, EBADF = const.EINVAL, const.EBADF

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

--- Raises unless `value` is a number or a Lua file object; answers its descriptor.
---@param value any
---@param position integer  of the argument, self not counted
---@param method string  the caller's name, for the message
---@return integer? fd
---@return integer? errno  EBADF: a negative number or a closed file; EINVAL: no descriptor's number
function M.file(value, position, method)
  if type(value) == "number" then
    local fd = M.fd(value, position, method)
    if fd and fd < 0 then return nil, EBADF end -- here, because a system without the call would answer ENOSYS
    return fd, EINVAL
  end
  local state = io_type(value)
  if state == "file" then return (C.llsocket2_fileno(value)) end
  if state then return nil, EBADF end
  bad(position, method, "number or file", value)
end

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

-- Adds a flag to `bits`, which stays nil once a flag was none; a flag that is nil adds nothing.
local function add(bits, flag, position, method)
  if type(flag) == "nil" then return bits end
  if type(flag) ~= "number" then bad(position, method, "number", flag) end
  local more = word(flag)
  return bits and more and bor(bits, more)
end

-- No loop and no recursion: a trace that began in it could not be a part of the caller's.
local function add_all(position, method, a, b, c, d, e, f, g, h)
  local bits = add(add(0, a, position, method), b, position + 1, method)
  bits = add(add(bits, c, position + 2, method), d, position + 3, method)
  bits = add(add(bits, e, position + 4, method), f, position + 5, method)
  return add(add(bits, g, position + 6, method), h, position + 7, method)
end

-- `not x and x == nil` is true for nil alone: false equals no nil, and a NULL pointer is not false.  Calling type() nine times
-- would cost the interpreter 300 instructions more.
local function are_absent(a, b, c, d, e, f, g, h)
  return not (a or b or c or d or e or f or g or h) and a == nil and b == nil and c == nil and d == nil and e == nil
    and f == nil and g == nil and h == nil
end

local function too_many(position, method)
  error(("bad argument #%d to '%s' (at most eight flags)"):format(position, method), outside())
end

--- Combines `[flag, ...]`: raises unless each is a number or nil, and for a ninth; answers nil where one is not a 32-bit word.
--- Fixed parameters, because LuaJIT starts no trace at a function that has `...`, nor at one that such a function calls.
---@param position integer  of `flag`, self not counted
---@param method string  the caller's name, for the message
---@param flag any
---@param f2? any  more flags, up to f9, which raises
---@return integer? bits
function M.flags(position, method, flag, f2, f3, f4, f5, f6, f7, f8, f9)
  if are_absent(f2, f3, f4, f5, f6, f7, f8, f9) then
    if type(flag) == "nil" then return 0 end
    if type(flag) ~= "number" then bad(position, method, "number", flag) end
    return word(flag)
  end
  if type(f9) ~= "nil" then too_many(position + 8, method) end
  return add_all(position, method, flag, f2, f3, f4, f5, f6, f7, f8)
end

--- Raises an error at the line of the program's call.
---@param text string
function M.raise(text) error(text, outside()) end

local function bad_self(method, class, value)
  error(("calling '%s' on bad self (%s expected, got %s)"):format(method, class, type(value)), outside())
end

--- Makes the table of a ctype's methods, which is its metatype's __index itself: a function there would cost the interpreter
--- 200 instructions a call.  LuaJIT raises for a cdata whose table answers nil, unless a function answers it.  Never replace a
--- method that is in the table: compiled code has it as a constant.
---@return table methods  a name that is unknown is nil
function M.methods() return setmetatable({}, { __index = function() end }) end

--- Makes a test for objects of a ctype.  ffi.istype alone is unsafe: it also accepts a pointer to the struct, which may be
--- NULL.
---@param ctype ffi.ctype*
---@return fun(value: any): boolean is_object
---@return ffi.ctype* pointer  to the struct
function M.is(ctype)
  local pointer = ffi.typeof("$ *", ctype)
  return function(value) return istype(ctype, value) and not istype(pointer, value) end, pointer
end

--- Makes the two checks of a class of cdata: the first checks a method's self, the second an argument.
---@param ctype ffi.ctype*
---@param class string  the name for messages
---@return fun(value: any, method: string) self  raises unless `value` is of the class
---@return fun(value: any, position: integer, method: string) arg  raises unless `value` is of the class
function M.class(ctype, class)
  local is_object, pointer = M.is(ctype)
  -- Not by is_object: each method comes here, and compiled code looks at every function it calls that there are many of.
  local function self(value, method)
    if not istype(ctype, value) or istype(pointer, value) then bad_self(method, class, value) end
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
  meta.__tostring = meta.__tostring or function(value) return ("%s: %p"):format(class, value) end
  local function self(value, method)
    if getmetatable(value) ~= meta then bad_self(method, class, value) end
  end
  local function arg(value, position, method)
    if getmetatable(value) ~= meta then bad(position, method, class, value) end
  end
  return self, arg
end

return M
