-- ended.lua -- asks the kernel whether a socket has ended, and whether messages still wait there.  Used only after a call
-- answered 0 bytes.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.core.libc"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"

local errno, band, bor = ffi.errno, bit.band, bit.bor
local POLLRDHUP, FIONREAD = const.POLLRDHUP, const.FIONREAD
local MSG_DONTWAIT, MSG_CTRUNC = const.MSG_DONTWAIT, const.MSG_CTRUNC
local PEEK = bor(const.MSG_PEEK, MSG_DONTWAIT)

local M = {}

local poll_cell, bytes_cell, byte_cell = nil, ffi.new "int32_t[1]", ffi.new "uint8_t[1]"

--- Tells whether no more data can arrive: the peer has ended, or this side was shut down for reading; see poll(2).
---@param sd integer
---@return boolean? ended  nil where poll(2) cannot tell
function M.has_ended(sd)
  if not POLLRDHUP then return nil end
  poll_cell = poll_cell or layout.pollfd()
  poll_cell.fd, poll_cell.events, poll_cell.revents = sd, POLLRDHUP, 0
  local n, revents = C.llsocket2_poll(poll_cell, 1, 0), poll_cell.revents
  return n > 0 and band(revents, POLLRDHUP) ~= 0
end

-- FIONREAD counts the bytes of all messages, but misses an empty one.
local function has_bytes(sd)
  if not FIONREAD then return false end
  bytes_cell[0] = 0
  local rc, n = shim.llsocket2_ioctl(sd, FIONREAD, bytes_cell), bytes_cell[0]
  return rc == 0 and n > 0
end

local peeker -- made by the first peek

local function make_peeker()
  local p = ffi.new(ffi.typeof("struct { $ header; $ part; $ name; uint8_t byte[1]; }",
    layout.msghdr, layout.iovec, layout.sockaddr_storage))
  p.part.iov_base, p.part.iov_len = p.byte, 1
  p.header.msg_iov, p.header.msg_iovlen = p.part, 1
  return p
end

-- Tells whether a message waits.  Do not give the peek a control buffer, or it would install descriptors; MSG_CTRUNC tells
-- that there is ancillary data.  An error also means that this is not the end: the next receive reports it.
local function has_message(sd)
  peeker = peeker or make_peeker()
  local header = peeker.header
  header.msg_name, header.msg_namelen = peeker.name, ffi.sizeof(layout.sockaddr_storage)
  local n, namelen, flags = C.llsocket2_recvmsg(sd, header, PEEK), header.msg_namelen, header.msg_flags
  return n ~= 0 or namelen > 0 or band(flags, MSG_CTRUNC) ~= 0
end

--- Tells whether a message may still be received: the peer has not ended, or a message waits.
---@param sd integer
---@return boolean
function M.has_more(sd) return M.has_ended(sd) == false or has_message(sd) or has_bytes(sd) end

--- Receives one byte where splice(2) moved none: it stops at TCP's urgent mark and at the end alike.  Do not use sockatmark(3)
--- to tell them apart: a newer urgent byte may move the mark in between, and that lost the tail in 65 of 300 rounds.
---@param sd integer
---@return integer n  1; 0 at the end, -1 for an error
---@return integer errno
---@return integer byte
function M.next_byte(sd)
  local n, e, byte = C.llsocket2_recv(sd, byte_cell, 1, MSG_DONTWAIT), errno(), byte_cell[0]
  return n, e, byte
end

return M
