-- block.lua -- the memory of a batch: one block with the headers, addresses, ancillary data and bytes of all messages.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local addrinfo = require "llsocket.addrinfo"
local iovec = require "llsocket.message.iovec"
local sockaddr = require "llsocket.address.sockaddr"
local ipairs, cast, copy, floor = ipairs, ffi.cast, ffi.copy, math.floor

local EINVAL, ENOMEM = const.EINVAL, const.ENOMEM
local IPPROTO_UDP, UDP_SEGMENT = const.IPPROTO_UDP, const.UDP_SEGMENT
local SOL_SOCKET, SO_TIMESTAMPING = const.SOL_SOCKET, const.SO_TIMESTAMPING
local NAME_SIZE, AI_SIZE = sockaddr.SIZE, ffi.sizeof(addrinfo.type)

local mmsghdr_t = layout.mmsghdr or ffi.typeof("struct { $ msg_hdr; uint32_t msg_len; }", layout.msghdr)

-- The ancillary data of a send: the size of UDP's segments in 16 bits, and behind it the flags of SO_TIMESTAMPING in 32.
-- Each has a header, and its value at VALUE_AT.
local VALUE_AT = shim.llsocket2_cmsg_len(0)
local SEGMENT_SIZE, STAMP_SIZE = shim.llsocket2_cmsg_space(2), shim.llsocket2_cmsg_space(4)
local EXTRA_SIZE, FLAGS_AT = SEGMENT_SIZE + STAMP_SIZE, SEGMENT_SIZE + VALUE_AT
local short_ptr, int_ptr = ffi.typeof "uint16_t *", ffi.typeof "int32_t *"

local M = {}

-- The parts of a block, each with one element for every message.  The kernel needs no alignment above 8 bytes.
local function parts_of(size, controlsize)
  return {
    { "into", mmsghdr_t }, { "out", mmsghdr_t }, { "scattered", layout.iovec }, { "gathered", layout.iovec },
    { "names", addrinfo.type }, { "controllens", ffi.typeof "uint64_t" },
    { "extras", ffi.typeof "uint8_t", EXTRA_SIZE }, { "controls", ffi.typeof "uint8_t", controlsize },
    { "bytes", ffi.typeof "uint8_t", size },
  }
end

local function round(size) return floor((size + 7) / 8) * 8 end

-- Answers the parts with the offset of each, and the total size.
local function arrange(count, size, controlsize)
  local parts, at = parts_of(size, controlsize), 0
  for _, part in ipairs(parts) do
    part.at, part.stride = at, round(part[3] or ffi.sizeof(part[2]))
    at = at + count * part.stride
  end
  return parts, at
end

-- Points the headers of message `i` at its parts of the block; this is done once.  All pointers are shifted by one element so
-- that message i is p[i].  Writing p[i - 1] makes LuaJIT 2.1.0-beta3 emit an illegal instruction on ARM64 (emit_lso).
local function wire(batch, i)
  local into, out = batch.into[i].msg_hdr, batch.out[i].msg_hdr
  local scattered, gathered = batch.scattered[i], batch.gathered[i]
  scattered.iov_base, scattered.iov_len = batch.bytes + i * batch.stride, batch.size
  gathered.iov_base = batch.bytes + i * batch.stride
  into.msg_iov, into.msg_iovlen, into.msg_name, into.msg_namelen = batch.scattered + i, 1, batch.names + i, NAME_SIZE
  out.msg_iov, out.msg_iovlen, out.msg_name = batch.gathered + i, 1, batch.names + i
  if batch.controlsize > 0 then
    into.msg_control, into.msg_controllen = batch.controls + i * batch.controlstride, batch.controlsize
  end
end

--- Sets the ancillary data that goes with a message.  Where there is none, clear the pointer as well as the length, because macOS
--- looks at the pointer.
---@param batch llsocket.batch
---@param i integer  from 1
---@param size integer  of UDP's segments, bytes; 0 for none
---@param flags integer  SOF_TIMESTAMPING_TX_*; 0 for none
function M.set_extras(batch, i, size, flags)
  local at = batch.extras + i * batch.extrastride
  local out = batch.out[i].msg_hdr
  cast(short_ptr, at + VALUE_AT)[0], cast(int_ptr, at + FLAGS_AT)[0] = size, flags
  if size > 0 then
    out.msg_control, out.msg_controllen = at, flags ~= 0 and EXTRA_SIZE or SEGMENT_SIZE
  elseif flags ~= 0 then
    out.msg_control, out.msg_controllen = at + SEGMENT_SIZE, STAMP_SIZE
  else
    out.msg_control, out.msg_controllen = nil, 0
  end
end

--- Tells the size of the segments that a message goes in.
---@param batch llsocket.batch
---@param i integer  from 1
---@return integer size  bytes; 0 for none
function M.segment(batch, i) return cast(short_ptr, batch.extras + i * batch.extrastride + VALUE_AT)[0] end

--- Tells which times a message asks for.
---@param batch llsocket.batch
---@param i integer  from 1
---@return integer flags  SOF_TIMESTAMPING_TX_*; 0 for none
function M.timestamping(batch, i) return cast(int_ptr, batch.extras + i * batch.extrastride + FLAGS_AT)[0] end

--- Sets the address that a message goes to.
---@param batch llsocket.batch
---@param i integer  from 1
---@param ai? llsocket.addrinfo  which is copied
local function set_name(batch, i, ai)
  local namelen = ai and ai.namelen or 0
  if ai then copy(batch.names + i, ai, AI_SIZE) end
  batch.out[i].msg_hdr.msg_namelen = namelen
end

-- Writes the headers of the ancillary data, once: set_extras writes the values.
local function put_extras(batch, i)
  local at = batch.extras + i * batch.extrastride
  if UDP_SEGMENT then shim.llsocket2_cmsg_put(at, 0, IPPROTO_UDP, UDP_SEGMENT, "\0\0", 2) end
  if SO_TIMESTAMPING then shim.llsocket2_cmsg_put(at, SEGMENT_SIZE, SOL_SOCKET, SO_TIMESTAMPING, "\0\0\0\0", 4) end
end

--- Wires all messages and sets the address that they go to.
---@param batch table
---@param name? llsocket.addrinfo
---@return table batch
function M.prepare(batch, name)
  for i = 1, batch.capacity do
    wire(batch, i)
    set_name(batch, i, name)
    put_extras(batch, i)
  end
  return batch
end

--- Makes the fields of a batch.
---@param count integer
---@param size integer
---@param controlsize integer
---@return table? batch
---@return integer? errno  EINVAL, ENOMEM
function M.make(count, size, controlsize)
  local parts, total = arrange(count, size, controlsize)
  if total >= 2^31 then return nil, EINVAL end
  -- Zeroes: length() may make a message longer than what was written there, and old heap must not be sent.
  local block = iovec.zeroes(total)
  if not block then return nil, ENOMEM end
  local batch = {
    block = block, capacity = count, size = size, controlsize = controlsize, filled = count, has_extras = false,
    stride = round(size), controlstride = round(controlsize), extrastride = round(EXTRA_SIZE),
  }
  for _, part in ipairs(parts) do
    local one = cast("uint8_t *", block) + part.at - part.stride
    batch[part[1]] = cast(ffi.typeof("$ *", part[2]), one)
  end
  return batch
end

M.set_name = set_name

return M
