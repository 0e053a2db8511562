-- zero.lua -- what the kernel's answer of 0 bytes means: an empty message or the end.  Every receive asks here.
--
-- All of it runs after such an answer only, so its system calls cost ordinary receives nothing.
package.loaded[...] = nil -- see later.lua
setfenv(1, require "llsocket.later")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.libc"
local shim = require "llsocket.shim"
local const = require "llsocket.const"
local layout = require "llsocket.layout"
local fcntl = require "llsocket.fcntl"

local errno, band, bor = ffi.errno, bit.band, bit.bor
local SOCK_STREAM, SOCK_SEQPACKET = const.SOCK_STREAM, const.SOCK_SEQPACKET
local EAGAIN, EWOULDBLOCK, ENOTCONN = const.EAGAIN, const.EWOULDBLOCK, const.ENOTCONN
local POLLRDHUP, SHUT_WR, FIONREAD = const.POLLRDHUP, const.SHUT_WR, const.FIONREAD
local MSG_ERRQUEUE, MSG_DONTWAIT, MSG_CTRUNC = const.MSG_ERRQUEUE or 0, const.MSG_DONTWAIT, const.MSG_CTRUNC
local PEEK = bor(const.MSG_PEEK, MSG_DONTWAIT)

local asked = { any = false }
local M = { asked = asked } -- `any`: whether a socket asks at all; to look at each costs LuaJIT's interpreter 400 instructions

local poll_cell, bytes_cell, byte_cell = nil, ffi.new "int32_t[1]", ffi.new "uint8_t[1]"

-- Tells whether no more can come: the peer has ended, or this side was shut down for reading.  nil where poll(2) does
-- not tell.
local function has_ended(sd)
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

local peeker -- made for the first peek

local function make_peeker()
  local p = ffi.new(ffi.typeof("struct { $ header; $ part; $ name; uint8_t byte[1]; }",
    layout.msghdr, layout.iovec, layout.sockaddr_storage))
  p.part.iov_base, p.part.iov_len = p.byte, 1
  p.header.msg_iov, p.header.msg_iovlen = p.part, 1
  return p
end

-- Tells whether a message waits.  Without a control buffer the peek installs no descriptor, and MSG_CTRUNC tells that there
-- are some.  An error means that this is not the end either: the next receive tells it.
local function has_message(sd)
  peeker = peeker or make_peeker()
  local header = peeker.header
  header.msg_name, header.msg_namelen = peeker.name, ffi.sizeof(layout.sockaddr_storage)
  local n, namelen, flags = C.llsocket2_recvmsg(sd, header, PEEK), header.msg_namelen, header.msg_flags
  return n ~= 0 or namelen > 0 or band(flags, MSG_CTRUNC) ~= 0
end

--- Tells whether 0 bytes that a receive answered are a message, and not the end.  A report in the error queue need not
--- bring the bytes that it is about.
---@param sock llsocket.socket
---@param flags integer  MSG_* of the receive, or those that it answered
---@param accompanied boolean  a sender or ancillary data came with them
---@return boolean
function M.is_message(sock, flags, accompanied)
  if band(flags, MSG_ERRQUEUE) ~= 0 then return true end
  if sock.kind == SOCK_STREAM then return false end
  if accompanied or not sock.asks then return true end
  if sock.kind ~= SOCK_SEQPACKET then return false end
  return has_ended(sock.sd) == false or has_message(sock.sd) or has_bytes(sock.sd)
end

--- Tells whether a receive that failed found the end: Linux answers EAGAIN where a datagram socket was shut down for
--- reading and may not block.
---@param sock llsocket.socket
---@param e integer  errno
---@param flags integer  MSG_* of the receive
---@return boolean
function M.is_end(sock, e, flags)
  if not sock.asks or e ~= EAGAIN and e ~= EWOULDBLOCK or sock.kind == SOCK_SEQPACKET then return false end
  if band(flags, MSG_ERRQUEUE) ~= 0 then return false end
  return band(flags, MSG_DONTWAIT) ~= 0 or fcntl.is_nonblock(sock.sd) == true
end

--- Makes receives from a socket ask for the sender.
---@param sock llsocket.socket
function M.ask(sock) sock.asks, asked.any = true, true end

--- Remembers that a datagram or raw socket was shut down for reading.  shutdown(2) does so also where it answers ENOTCONN.
---@param sock llsocket.socket
---@param how integer  SHUT_*
---@param e integer?  errno of shutdown(2)
function M.was_shut(sock, how, e)
  if how ~= SHUT_WR and (not e or e == ENOTCONN) and sock.kind ~= SOCK_STREAM then M.ask(sock) end
end

--- Asks poll(2) whether a datagram or raw socket that somebody else made was shut down for reading.
---@param sock llsocket.socket
---@param sd integer  its descriptor, which it need not have yet
function M.look(sock, sd)
  if sock.kind ~= SOCK_STREAM and sock.kind ~= SOCK_SEQPACKET and has_ended(sd) then M.ask(sock) end
end

--- Receives one byte where splice(2) found none: TCP stops it at an urgent mark as at the end.  Not sockatmark(3): a newer
--- urgent byte moves the mark in between, and that lost the tail in 65 of 300 rounds.
---@param sd integer
---@return integer n  1; 0 at the end, -1 for an error
---@return integer errno
---@return integer byte
function M.next_byte(sd)
  local n, e, byte = C.llsocket2_recv(sd, byte_cell, 1, MSG_DONTWAIT), errno(), byte_cell[0]
  return n, e, byte
end

return M
