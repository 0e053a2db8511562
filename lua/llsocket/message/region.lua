-- region.lua -- finds where a part of the caller's memory begins, and whether it lies within that memory.
--
-- Never call ffi.sizeof for a variable-length array: it aborts the trace.  A ctype tells how many bytes a fixed array has and
-- whether C may write there.  This is learnt once for each ctype and kept by its number, which compiled code folds away.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local check = require "llsocket.core.check"
local ENOMEM = require("llsocket.core.const").ENOMEM
local error, tostring = error, tostring

local type, pcall, getmetatable, tonumber = type, pcall, getmetatable, tonumber
local typeof, cast, floor = ffi.typeof, ffi.cast, math.floor
local byte_ptr = typeof "uint8_t *"
local UNKNOWN = 2^53 -- the size of the memory behind a pointer; doubles are exact up to here

-- Three tables by the number of a ctype.  capacity: its bytes, or -1 where it is neither an array nor a pointer.  writable:
-- whether C may write there.  reference: whether it is a part of another object, as `s.bytes` and `rows[2]` are; such a
-- reference does not keep the object alive.
local capacity, writable, reference = {}, {}, {}

-- Answers the size of an array.  The size behind a pointer to an array, `int (*)[3]`, is unknown: there may be many arrays.
local function size_of(buf, name)
  if not name:find("[", 1, true) or name:find "%(%*[^%[]*%)" or name:find "%[%?%]" then return UNKNOWN end
  return ffi.sizeof(buf)
end

-- Raises where C may not write.  Assign to a pointer instead of casting: only the assignment checks `const`.
local cell = ffi.new "struct { volatile void *target; }"
local function target(buf)
  cell.target = buf
  cell.target = nil
end

-- Memory may run out at any step.  So the capacity is stored last, because it says that all is known, and an error of another
-- cause does not say that C may not write there.
local function learn(id, buf)
  local name = tostring(typeof(buf))
  local is_memory = name:find "[%*%[]" and not name:find("()", 1, true)
  local size, is_writable, why = is_memory and size_of(buf, name) or -1, pcall(target, buf)
  if why == "not enough memory" then error(why, 0) end
  writable[id], reference[id] = is_writable, name:find("&", 1, true) ~= nil
  capacity[id] = size
  return size
end

-- buffers[buf]: whether it is a string.buffer, which newer versions of LuaJIT have.  The answer is kept because getmetatable
-- of userdata does not compile.
local buffers = setmetatable({}, { __mode = "k", __index = function(self, buf)
  self[buf] = getmetatable(buf) == "buffer"
  return self[buf]
end })

local function is_buffer(buf) return type(buf) == "userdata" and buffers[buf] end

local M = { UNKNOWN = UNKNOWN }

--- Tells how many bytes stay alive with an object.
---@param buf string|ffi.cdata*
---@return integer bytes  0 for a pointer, because the caller must keep the memory behind it
function M.held(buf)
  if type(buf) == "string" then return #buf end
  local name = tostring(typeof(buf))
  return name:find("[", 1, true) and not name:find "%(%*[^%[]*%)" and ffi.sizeof(buf) or 0
end

-- Answers whether `offset` and `size` are counts, and end within `total` bytes.
local function fits(size, offset, total)
  return size >= 0 and offset >= 0 and size + offset <= total and floor(size) == size and floor(offset) == offset
end

-- Answers the size that the caller gave, or else all bytes behind `offset`; raises where the total is unknown, too.
local function wanted(size, offset, total, method)
  if type(size) == "number" then return size end
  if type(size) ~= "nil" or total == UNKNOWN then check.bad(2, method, "number", size) end
  return total - offset
end

local function distance(offset, position, method)
  if type(offset) == "nil" then return 0 end
  check.number(offset, position, method)
  return offset
end

-- Makes capacity behind the bytes that a string.buffer holds; answers ENOMEM where it raises because it cannot grow so far.
local function reserve(buf, size)
  local done, start = pcall(buf.reserve, buf, size)
  if done then return start, size end
  return nil, ENOMEM
end

local function region(buf, size, offset, total, method)
  size = wanted(size, offset, total, method)
  if fits(size, offset, total) then return cast(byte_ptr, buf) + offset, size end
end

local function total_of(buf)
  local id = tonumber(typeof(buf))
  return capacity[id] or learn(id, buf), id
end

--- Finds memory to receive into: an array or a pointer that is not const, or a string.buffer, which gets capacity for
--- `size` bytes behind those that it holds.  The caller of this function must keep `buf` while C uses the memory.
---@param buf any
---@param size any  bytes; the default is the whole of a fixed array
---@param offset any  bytes; the default is 0
---@param position integer  of `offset` among the arguments
---@param method string  the caller's name, for messages
---@return ffi.cdata*? start  nil where it does not fit
---@return integer? size  or ENOMEM where a string.buffer cannot grow
function M.target(buf, size, offset, position, method)
  local first = distance(offset, position, method)
  if type(buf) == "cdata" then
    local total, id = total_of(buf)
    if total >= 0 and writable[id] then return region(buf, size, first, total, method) end
  elseif is_buffer(buf) then
    size = wanted(size, first, UNKNOWN, method)
    if first == 0 and fits(size, 0, 0x7fffffff) then return reserve(buf, size) end
    return nil
  end
  check.bad(1, method, "writable array, pointer or string.buffer", buf)
end

--- Tells the size of memory to receive into: of an array or a pointer that is not const.
---@param buf any
---@return integer? size  UNKNOWN behind a pointer; nil where C may not write
function M.writable(buf)
  if type(buf) ~= "cdata" then return nil end
  local total, id = total_of(buf)
  return total >= 0 and writable[id] and total or nil
end

--- Tells whether memory is a part of another object: an array in a struct, or a row of an array.  Do not keep such a reference
--- beyond the call: it does not keep the object alive.
---@param buf any
---@return boolean
function M.is_reference(buf)
  if type(buf) ~= "cdata" then return false end
  local _, id = total_of(buf)
  return reference[id]
end

-- Finds the part of a string, an array or a pointer; raises for anything else.
local function still(buf, size, first, method, expected)
  if type(buf) == "string" then return region(buf, size, first, #buf, method) end
  local total = type(buf) == "cdata" and total_of(buf) or -1
  if total >= 0 then return region(buf, size, first, total, method) end
  check.bad(1, method, expected, buf)
end

--- Finds memory to send from: a string, an array, a pointer, or the bytes that a string.buffer holds.  The caller of this
--- function must keep `buf` while C uses the memory.
---@param buf any
---@param size any  bytes; the default is the rest of a string, a string.buffer or a fixed array
---@param offset any  bytes; the default is 0
---@param position integer  of `offset` among the arguments
---@param method string  the caller's name, for messages
---@return ffi.cdata*? start  nil where it does not fit
---@return integer? size
function M.source(buf, size, offset, position, method)
  local first = distance(offset, position, method)
  if not is_buffer(buf) then return still(buf, size, first, method, "string, array, pointer or string.buffer") end
  local start, total = buf:ref()
  return region(start, size, first, total, method)
end

--- Finds memory to send from that does not move and that can be kept: a string, an array or a pointer.  It refuses a
--- string.buffer, whose bytes may move, and a reference, which keeps nothing alive.
---@param buf any
---@param size any  bytes; the default is the rest of a string or a fixed array
---@param offset any  bytes; the default is 0
---@param position integer  of `offset` among the arguments
---@param method string  the caller's name, for messages
---@return ffi.cdata*? start  nil where it does not fit
---@return integer? size
function M.lasting(buf, size, offset, position, method)
  if M.is_reference(buf) then check.bad(1, method, "string, pointer, or array that is no part of another object", buf) end
  return still(buf, size, distance(offset, position, method), method, "string, array or pointer")
end

local LENT = "array that is no part of another object, or pointer"

--- Finds memory that the kernel goes on reading after the call: an array or a pointer.  It refuses strings, whose memory gets
--- other contents once they are collected, string.buffers, and references.
---@param buf any
---@param size any  bytes; the default is the rest of a fixed array
---@param offset any  bytes; the default is 0
---@param position integer  of `offset` among the arguments
---@param method string  the caller's name, for messages
---@return ffi.cdata*? start  nil where it does not fit
---@return integer? size
function M.lent(buf, size, offset, position, method)
  if type(buf) ~= "cdata" or M.is_reference(buf) then check.bad(1, method, LENT, buf) end
  return still(buf, size, distance(offset, position, method), method, LENT)
end

return M
