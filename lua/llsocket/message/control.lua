-- control.lua -- the buffers that ancillary data is sent from and received into.
--
-- A buffer to receive into owns the descriptors that arrive in it, in C, until Lua takes them: no failure on the
-- way can leak one.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local cmsghdr = require "llsocket.cmsghdr"
local iovec = require "llsocket.message.iovec"
local ipairs = ipairs

local ENOMEM, ENOBUFS = const.ENOMEM, const.ENOBUFS
local head_ptr = ffi.typeof "struct { uint32_t len, size; } *"
local cell = ffi.new "int32_t[5]"

local M = {}

-- The data of each header, and the room that all take; nil and the errno.
local function measure(cmsgs)
  local data, size = {}, 0
  for i, cmsg in ipairs(cmsgs) do
    local bytes, e = cmsghdr.encode(cmsg)
    if not bytes then return nil, e end
    data[i] = bytes
    size = size + shim.llsocket2_cmsg_space(#bytes)
  end
  if size >= 2^31 then return nil, ENOBUFS end -- as Linux has it; offsets are 32 bits
  return data, size
end

--- Writes headers to send into `out.block`, `out.size` bytes.
---@param out { block?: ffi.cdata*, room?: integer, size?: integer }  the block is kept for the next
---@param cmsgs llsocket.cmsghdr[]
---@return integer? errno  EBADF, ENOBUFS, ENOMEM; nil when done
function M.put(out, cmsgs)
  local data, size = measure(cmsgs)
  if not data then return size end
  local block = out.block
  if size > (out.room or 0) then block = iovec.memory(size) end
  if size > 0 and not block then return ENOMEM end
  if block ~= out.block then out.block, out.room = block, size end
  local at = 0
  for i, cmsg in ipairs(cmsgs) do
    at = shim.llsocket2_cmsg_put(block, at, cmsg.cmsg_level, cmsg.cmsg_type, data[i], #data[i])
  end
  out.size = size
end

--- Makes a buffer to receive into: `bytes` is for the kernel, `head.len` what it wrote.
---@param size integer  bytes of room
---@return { block: ffi.cdata*, head: ffi.cdata*, bytes: ffi.cdata* }? into  nil when there is no memory
function M.receiver(size)
  local block = shim.llsocket2_control_new(size)
  if block == nil then return nil end
  block = ffi.gc(block, shim.llsocket2_control_free)
  return { block = block, head = ffi.cast(head_ptr, block), bytes = shim.llsocket2_control_bytes(block) }
end

--- Tells the buffer's block what a receive wrote, and what that answered.  In C: msg_controllen may be 64 bits, and
--- boxing it could fail for want of memory before the descriptors have their owner.
---@type fun(block: ffi.cdata*, header: ffi.cdata*, n: integer)
M.received = shim.llsocket2_control_received

--- Closes the descriptors that nobody took, and empties the buffer.
---@param into { block: ffi.cdata* }
function M.close(into) shim.llsocket2_control_close(into.block) end

-- The header at `at`, and where the next is.  The cell is read in the same statement, as errno is: after a branch a
-- finaliser may run that walks another message.
local function get(into, at)
  local got, level, type, offset, length, after =
    shim.llsocket2_cmsg_get(into.bytes, into.head.len, at, cell), cell[0], cell[1], cell[2], cell[3], cell[4]
  if got == 1 then return after, level, type, offset, length end
end

--- Finds one kind of ancillary data.
---@param bytes ffi.cdata*  where the headers lie
---@param size integer  bytes of them
---@param wanted_level integer  SOL_SOCKET, IPPROTO_UDP, ...
---@param wanted_type integer  SCM_*, UDP_*, ...
---@return integer? offset  of its data
---@return integer? length
function M.find(bytes, size, wanted_level, wanted_type)
  local at = 0
  repeat
    local got, level, type, offset, length, after =
      shim.llsocket2_cmsg_get(bytes, size, at, cell), cell[0], cell[1], cell[2], cell[3], cell[4]
    if got == 1 and level == wanted_level and type == wanted_type then return offset, length end
    at = after
  until got ~= 1
end

local byte_ptr, int_ptr = ffi.typeof "const uint8_t *", ffi.typeof "const int32_t *"

--- Reads the int of the first header of a kind, without making an object.
---@param into { head: ffi.cdata*, bytes: ffi.cdata* }
---@param wanted_level integer
---@param wanted_type integer
---@return integer? n  nil where there is none
function M.integer(into, wanted_level, wanted_type)
  local offset, length = M.find(into.bytes, into.head.len, wanted_level, wanted_type)
  if offset and length == 4 then return ffi.cast(int_ptr, ffi.cast(byte_ptr, into.bytes) + offset)[0] end
  return nil
end

--- Makes objects of the headers that arrived; they own the descriptors from here on.
---@param into { head: ffi.cdata*, bytes: ffi.cdata* }
---@return llsocket.cmsghdr[] cmsgs
function M.take(into)
  local cmsgs = {}
  local at, level, type, offset, length = get(into, 0)
  while at do
    cmsgs[#cmsgs + 1] = cmsghdr.received(level, type, into.bytes, offset, length)
    at, level, type, offset, length = get(into, at)
  end
  return cmsgs
end

return M
