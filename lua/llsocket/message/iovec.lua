-- iovec.lua -- arrays of iovec: they point at strings to send, or at one block of memory to receive into.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local C = require "llsocket.core.libc"
local layout = require "llsocket.core.layout"

local min = math.min
local SIZE = ffi.sizeof(layout.iovec)
local iovec_ptr, byte_ptr, char_ptr = ffi.typeof("$ *", layout.iovec), ffi.typeof "uint8_t *", ffi.typeof "const char *"

---@class llsocket.iovec
---@field block? ffi.cdata*  the memory that holds the array
---@field iov? ffi.cdata*  the same memory, as a pointer to iovec
---@field capacity? integer  how many iovecs fit into it
---@field buffer? ffi.cdata*  the block that scatter points at

local M = {}

--- Takes memory from malloc(3), which LuaJIT's heap does not count.  The memory is freed when the answered object is
--- collected.
---@param size integer  bytes
---@return ffi.cdata*? block  nil when there is no memory
function M.memory(size)
  local block = C.llsocket2_malloc(size)
  if block ~= nil then return (ffi.gc(block, C.llsocket2_free)) end
end

--- The same, all bytes 0: for memory that a program may read or send before anything is written there.
---@param size integer  bytes
---@return ffi.cdata*? block  nil when there is no memory
function M.zeroes(size)
  local block = C.llsocket2_calloc(1, size)
  if block ~= nil then return ffi.gc(block, C.llsocket2_free) end
end

--- Makes capacity for `n` iovecs in an array.  Keep array.block: the typed pointer array.iov alone would not keep it alive.
---@param array llsocket.iovec
---@param n integer
---@return boolean done  false when there is no memory
local function reserve(array, n)
  if array.capacity and array.capacity >= n then return true end
  local block = M.memory(n * SIZE)
  if not block then return false end
  array.block, array.iov = block, ffi.cast(iovec_ptr, block)
  array.capacity = n -- last: where a debug hook raises before, the next call makes all of it again
  return true
end

M.reserve = reserve

--- Points an array at strings, without the first `skip` bytes of them all.  The array must have the capacity, and the
--- caller must keep the strings.
---@param array llsocket.iovec
---@param parts string[]
---@param skip integer
---@return integer count  of iovecs
---@return integer total  bytes
function M.gather(array, parts, skip)
  local iov, count, total = array.iov, 0, 0
  for i = 1, #parts do
    local part = parts[i]
    local length = #part - min(skip, #part)
    if length > 0 then
      iov[count].iov_base = ffi.cast("void *", ffi.cast(char_ptr, part) + (#part - length))
      iov[count].iov_len = length
      count, total = count + 1, total + length
    end
    skip = skip - (#part - length)
  end
  return count, total
end

--- Points an array at a block that is divided into parts of these sizes.
---@param array llsocket.iovec
---@param sizes integer[]  bytes
---@param total integer  their sum
---@param start? ffi.cdata*  memory that the caller of this function must keep; by default the array gets its own block
---@return boolean done  false when there is no memory
function M.scatter(array, sizes, total, start)
  if not reserve(array, #sizes) then return false end
  array.buffer = start or M.memory(total)
  if not array.buffer then return false end
  -- Do not write iov[i - 1]: LuaJIT makes two stores below a pointer an illegal instruction on ARM64 (emit_lso, 2022-03).
  local at, count = ffi.cast(byte_ptr, array.buffer), 0
  for i = 1, #sizes do
    array.iov[count].iov_base, array.iov[count].iov_len = at, sizes[i]
    at, count = at + sizes[i], count + 1
  end
  return true
end

--- Frees the block of a scattered array.
---@param array table
function M.release(array)
  if array.buffer then C.llsocket2_free(ffi.gc(array.buffer, nil)) end
  array.buffer = nil
end

--- Reads the first `n` bytes of a scattered block as strings, one per size.
---@param array llsocket.iovec
---@param sizes integer[]  the sizes that scatter got
---@param n integer  bytes
---@return string[] parts
function M.strings(array, sizes, n)
  local parts, at = {}, ffi.cast(byte_ptr, array.buffer)
  for i = 1, #sizes do
    local length = min(n, sizes[i])
    parts[i] = ffi.string(at, length)
    at, n = at + sizes[i], n - length
  end
  return parts
end

return M
