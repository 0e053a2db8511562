-- control.lua -- the buffers that ancillary data is sent from and received into.
--
-- A receive buffer owns the descriptors that arrive in it, in C, until Lua takes them: so no failure in between can leak
-- one.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local ancillary = require "llsocket.message.ancillary"
local decode = require "llsocket.message.decode"
local iovec = require "llsocket.message.iovec"
local ipairs = ipairs

local ENOMEM, ENOBUFS, SOL_SOCKET = const.ENOMEM, const.ENOBUFS, const.SOL_SOCKET
local NONE = -1 -- no header has this type
local SCM_TIMESTAMP, SCM_TIMESTAMPNS = const.SCM_TIMESTAMP or NONE, const.SCM_TIMESTAMPNS or NONE
local SCM_TIMESTAMPING = const.SCM_TIMESTAMPING or NONE
local head_ptr = ffi.typeof "struct { uint32_t len, size; } *"
local cell = ffi.new "int32_t[5]"

local M = {}

-- Returns the data of each header and the bytes that all headers need, or nil and the errno.
local function measure(cmsgs)
  local data, size = {}, 0
  for i, cmsg in ipairs(cmsgs) do
    local bytes, e = ancillary.encode(cmsg)
    if not bytes then return nil, e end
    data[i] = bytes
    size = size + shim.llsocket2_cmsg_space(#bytes)
  end
  if size >= 2^31 then return nil, ENOBUFS end -- ENOBUFS as on Linux; offsets are 32 bits
  return data, size
end

--- Writes headers to send into `out.block` and sets `out.size`, the bytes used.
---@param out { block?: ffi.cdata*, capacity?: integer, size?: integer }  keeps the block for the next call;
---`capacity` is its size
---@param cmsgs llsocket.cmsghdr[]
---@return integer? errno  EBADF, ENOBUFS, ENOMEM; nil when done
function M.put(out, cmsgs)
  local data, size = measure(cmsgs)
  if not data then return size end
  local block = out.block
  if size > (out.capacity or 0) then block = iovec.memory(size) end
  if size > 0 and not block then return ENOMEM end
  if block ~= out.block then out.block, out.capacity = block, size end
  local at = 0
  for i, cmsg in ipairs(cmsgs) do
    at = shim.llsocket2_cmsg_put(block, at, cmsg.cmsg_level, cmsg.cmsg_type, data[i], #data[i])
  end
  out.size = size
end

--- Makes a buffer to receive into.  Pass `bytes` to the kernel; `head.len` tells how many bytes it wrote.
---@param size integer  capacity in bytes
---@return { block: ffi.cdata*, head: ffi.cdata*, bytes: ffi.cdata* }? into  nil when there is no memory
function M.receiver(size)
  local block = shim.llsocket2_control_new(size)
  if block == nil then return nil end
  block = ffi.gc(block, shim.llsocket2_control_free)
  return { block = block, head = ffi.cast(head_ptr, block), bytes = shim.llsocket2_control_bytes(block) }
end

--- Tells the buffer's block what a receive wrote, and the result of the receive.  Done in C, because msg_controllen may have
--- 64 bits: Lua would box it, and that may run out of memory before the descriptors have an owner.
---@type fun(block: ffi.cdata*, header: ffi.cdata*, n: integer)
M.received = shim.llsocket2_control_received

--- Closes the descriptors that Lua has not taken, and empties the buffer.
---@param into { block: ffi.cdata* }
function M.close(into) shim.llsocket2_control_close(into.block) end

-- Returns the offset of the next header, then level, type, offset and length of the header at `at`; nothing at the end.
-- Read the cell in the statement of the call, like errno: after a branch a finaliser may run that walks another message.
local function get(into, at)
  local got, level, type, offset, length, after =
    shim.llsocket2_cmsg_get(into.bytes, into.head.len, at, cell), cell[0], cell[1], cell[2], cell[3], cell[4]
  if got == 1 then return after, level, type, offset, length end
end

--- Finds one kind of ancillary data.  Pass the pointer that an object keeps, and where the headers begin: a pointer made for
--- the call would be allocated where the caller is not compiled.  Do not walk in Lua: there are one or two headers, and LuaJIT
--- may give up such a short loop for good, and with it everything that calls it.
---@param bytes ffi.cdata*
---@param at integer  where the headers begin, bytes
---@param stop integer  where they end
---@param level integer  SOL_SOCKET, IPPROTO_UDP, ...
---@param type integer  SCM_*, UDP_*, ...
---@return integer? offset  of its data
---@return integer? length
local function find(bytes, at, stop, level, type)
  local got, offset, length = shim.llsocket2_cmsg_find(bytes, stop, at, level, type, cell), cell[2], cell[3]
  if got == 1 then return offset, length end
end
M.find = find

local byte_ptr, int_ptr = ffi.typeof "const uint8_t *", ffi.typeof "const int32_t *"

--- Reads the int in the first header of one kind, without making an object.
---@param into { head: ffi.cdata*, bytes: ffi.cdata* }
---@param wanted_level integer
---@param wanted_type integer
---@return integer? n  nil when there is none
function M.integer(into, wanted_level, wanted_type)
  local offset, length = find(into.bytes, 0, into.head.len, wanted_level, wanted_type)
  if offset and length == 4 then return ffi.cast(int_ptr, ffi.cast(byte_ptr, into.bytes) + offset)[0] end
  return nil
end

-- Returns the kind of the time, then offset and length of its data.  The kernel writes SCM_TIMESTAMPING last.
local function find_time(bytes, at, stop)
  local offset, length = find(bytes, at, stop, SOL_SOCKET, SCM_TIMESTAMPNS)
  if offset then return SCM_TIMESTAMPNS, offset, length end
  offset, length = find(bytes, at, stop, SOL_SOCKET, SCM_TIMESTAMP)
  if offset then return SCM_TIMESTAMP, offset, length end
  return SCM_TIMESTAMPING, find(bytes, at, stop, SOL_SOCKET, SCM_TIMESTAMPING)
end

--- Reads the time that came with a message, without making an object.
---@param bytes ffi.cdata*  see find
---@param at integer
---@param stop integer
---@return integer? sec  nil when there is none
---@return integer? nsec
---@return integer? hwsec
---@return integer? hwnsec
function M.timestamp(bytes, at, stop)
  local kind, offset, length = find_time(bytes, at, stop)
  if not offset or not decode.is_time(kind, length) then return nil end
  return decode.time(kind, ffi.cast(byte_ptr, bytes) + offset)
end

--- Makes an object of each header that arrived.  The objects own the descriptors from here on.
---@param into { head: ffi.cdata*, bytes: ffi.cdata* }
---@return llsocket.cmsghdr[] cmsgs
function M.take(into)
  local cmsgs = {}
  local at, level, type, offset, length = get(into, 0)
  while at do
    cmsgs[#cmsgs + 1] = ancillary.received(level, type, into.bytes, offset, length)
    at, level, type, offset, length = get(into, at)
  end
  return cmsgs
end

return M
