-- zero.lua -- tells whether a received 0 bytes mean an empty message or the end.  Every receive uses this module.
--
-- Its system calls cost ordinary receives nothing, because they run only after an answer of 0 bytes.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local bit = require "bit"
local ffi = require "ffi"
local const = require "llsocket.core.const"
local fcntl = require "llsocket.socket.flags"

local band, require = bit.band, require
local SOCK_STREAM, SOCK_SEQPACKET = const.SOCK_STREAM, const.SOCK_SEQPACKET
local EAGAIN, EWOULDBLOCK, ENOTCONN = const.EAGAIN, const.EWOULDBLOCK, const.ENOTCONN
local SHUT_WR, MSG_ERRQUEUE, MSG_DONTWAIT = const.SHUT_WR, const.MSG_ERRQUEUE or 0, const.MSG_DONTWAIT

-- asked[0]: whether any socket asks; testing each socket would cost 400 interpreted instructions.  Not a field of a table,
-- which a trace would have to look up.
local asked = ffi.new "bool[1]"
local M = { asked = asked }

local ended

-- Requires the module on first use: at load it would cost 0.3 million instructions.
local function kernel()
  ended = ended or require "llsocket.socket.ended"
  return ended
end

--- Tells whether the 0 bytes that a receive answered are a message, and not the end.  A report in the error queue is always a
--- message: it need not contain the bytes that it is about.
---@param sock llsocket.socket
---@param flags integer  MSG_* of the receive, or those that it answered
---@param accompanied boolean  a sender or ancillary data came with them
---@return boolean
function M.is_message(sock, flags, accompanied)
  if band(flags, MSG_ERRQUEUE) ~= 0 then return true end
  if sock.about.kind == SOCK_STREAM then return false end
  if accompanied or not sock.about.asks then return true end
  if sock.about.kind ~= SOCK_SEQPACKET then return false end
  return kernel().has_more(sock.sd)
end

--- Tells whether a failed receive means the end: Linux answers EAGAIN for a datagram socket that was shut down for reading
--- and must not block.
---@param sock llsocket.socket
---@param e integer  errno
---@param flags integer  MSG_* of the receive
---@return boolean
function M.is_end(sock, e, flags)
  if not (asked[0] and sock.about.asks) or e ~= EAGAIN and e ~= EWOULDBLOCK then return false end
  if sock.about.kind == SOCK_SEQPACKET then return false end
  if band(flags, MSG_ERRQUEUE) ~= 0 then return false end
  return band(flags, MSG_DONTWAIT) ~= 0 or fcntl.is_nonblock(sock.sd) == true
end

--- Makes receives from a socket ask for the sender, which tells an empty message from the end.
---@param sock llsocket.socket
function M.ask(sock) sock.about.asks, asked[0] = true, true end

--- Remembers that a datagram or raw socket was shut down for reading.  An ENOTCONN counts, too: shutdown(2) shuts such a
--- socket down although it answers that.
---@param sock llsocket.socket
---@param how integer  SHUT_*
---@param e integer?  errno of shutdown(2)
function M.was_shut(sock, how, e)
  if how ~= SHUT_WR and (not e or e == ENOTCONN) and sock.about.kind ~= SOCK_STREAM then M.ask(sock) end
end

--- Asks poll(2) whether a datagram or raw socket that other code made was shut down for reading.
---@param sock llsocket.socket
---@param sd integer  its descriptor, which need not be stored in `sock` yet
function M.look(sock, sd)
  if sock.about.kind ~= SOCK_STREAM and sock.about.kind ~= SOCK_SEQPACKET and kernel().has_ended(sd) then M.ask(sock) end
end

return M
