-- carrier.lua -- the message that carries one descriptor: one byte of data, and one piece of ancillary data.
--
-- One is kept for each direction, because a message made for each call cost 45,000 instructions.  Who takes a carrier has it
-- alone: a finaliser or a debug hook that passes a descriptor meanwhile makes its own.  Give it back only when it holds nothing
-- of the call any more.  If the call raises, it is not given back: the collector frees it, and closes what arrived in it.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local control = require "llsocket.message.control"
local iovec = require "llsocket.message.iovec"
local rights = require "llsocket.message.rights"
local sockaddr = require "llsocket.address.sockaddr"

local band, cast = require("bit").band, ffi.cast
local single, own, SIZE = shim.llsocket2_control_single, rights.own, sockaddr.SIZE
local MSG_CTRUNC = const.MSG_CTRUNC
local CONTROL_SIZE = 256 -- more than one descriptor, so that a message with several tells of them and is not cut
local byte_t, fd_ptr = ffi.typeof "uint8_t[1]", ffi.typeof "int32_t *"
local FIRST = shim.llsocket2_cmsg_len(0) -- where the content of the first header begins, in bytes

---@class llsocket.carrier
---@field header ffi.cdata*  for sendmsg(2), recvmsg(2)
---@field part ffi.cdata*  its iovec, which points at `byte`
---@field byte ffi.cdata*
---@field fd ffi.cdata*  the descriptor's number in the ancillary data
---@field bytes? ffi.cdata*  to send: the ancillary data
---@field object? any  to send: whose descriptor it is
---@field name? llsocket.addrinfo|ffi.cdata*  to send: where to; to receive: for the sender
---@field control? table  to receive: see control.receiver

-- The carriers that are not in use.
local outgoing, incoming

-- Makes a carrier without ancillary data yet.
local function blank()
  local carrier = { header = layout.msghdr(), part = layout.iovec(), byte = byte_t() }
  carrier.part.iov_base, carrier.part.iov_len = carrier.byte, 1
  carrier.header.msg_iov, carrier.header.msg_iovlen = carrier.part, 1
  return carrier
end

local function make_outgoing()
  local carrier, size = blank(), shim.llsocket2_cmsg_space(4)
  local bytes = iovec.memory(size)
  if not bytes then return nil end
  shim.llsocket2_cmsg_put(bytes, 0, const.SOL_SOCKET, const.SCM_RIGHTS, ffi.new "int32_t[1]", 4)
  carrier.bytes, carrier.fd = bytes, cast(fd_ptr, cast("uint8_t *", bytes) + FIRST)
  carrier.header.msg_control, carrier.header.msg_controllen = bytes, size
  return carrier
end

local function make_incoming()
  local carrier, receiving = blank(), control.receiver(CONTROL_SIZE)
  if not receiving then return nil end
  carrier.control, carrier.fd = receiving, cast(fd_ptr, cast("uint8_t *", receiving.bytes) + FIRST)
  carrier.name = sockaddr.type()
  carrier.header.msg_name, carrier.header.msg_control = carrier.name, receiving.bytes
  return carrier
end

local M = {}

--- Takes a carrier to send with.  Store the number in `carrier.fd[0]` just before the send.
---@param object any  whose descriptor it is: kept alive until the carrier is given back
---@param ai? llsocket.addrinfo  where to
---@return llsocket.carrier? carrier  nil when there is no memory
function M.to_send(object, ai)
  local carrier = outgoing or make_outgoing()
  outgoing = nil
  if not carrier then return nil end
  carrier.object = object
  if ai then
    carrier.name = ai
    carrier.header.msg_name, carrier.header.msg_namelen = ai, ai.namelen
  end
  return carrier
end

--- Gives it back.
---@param carrier llsocket.carrier
function M.sent(carrier)
  carrier.object = nil
  if carrier.name then
    carrier.header.msg_name, carrier.header.msg_namelen = nil, 0
    carrier.name = nil
  end
  outgoing = carrier
end

--- Takes a carrier to receive with.
---@return llsocket.carrier? carrier  nil when there is no memory
function M.to_receive()
  local carrier = incoming or make_incoming()
  incoming = nil
  if not carrier then return nil end
  local header = carrier.header
  header.msg_namelen, header.msg_controllen = SIZE, CONTROL_SIZE
  return carrier
end

--- Tells whether ancillary data was cut: the buffer was too small, or no descriptor number was left.
---@param carrier llsocket.carrier
---@return boolean
function M.is_cut(carrier) return band(carrier.header.msg_flags, MSG_CTRUNC) ~= 0 end

--- Tells whether a sender or ancillary data came with the byte, including ancillary data that was cut.
---@param carrier llsocket.carrier
---@return boolean
function M.is_accompanied(carrier)
  return carrier.header.msg_namelen > 0 or carrier.control.head.len > 0 or M.is_cut(carrier)
end

--- Makes an object of the first descriptor that arrived, closes the others, and gives the carrier back.
---@param carrier llsocket.carrier
---@return llsocket.socket|llsocket.descriptor|nil object
function M.received(carrier)
  local object = single(carrier.control.block) == 1 and own(carrier.fd, 0) or nil
  incoming = carrier
  return object
end

--- Gives it back after a receive that failed.
---@param carrier llsocket.carrier
function M.unused(carrier) incoming = carrier end

return M
