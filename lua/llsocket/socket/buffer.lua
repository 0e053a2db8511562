-- buffer.lua -- sends from the caller's memory and receives into it, without making a string or allocating.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local answer = require "llsocket.socket.answer"
local addrinfo = require "llsocket.addrinfo"
local sockets = require "llsocket.socket.object"
local region = require "llsocket.message.region"
local sockaddr = require "llsocket.address.sockaddr"
local transfer = require "llsocket.socket.transfer"
local zero = require "llsocket.socket.zero"

local errno, min, bor, type = ffi.errno, math.min, bit.bor, type
local is_self, has_empty, send_flags = sockets.self, answer.has_empty, answer.send_flags
local is_blind, is_message, is_end = answer.is_blind, zero.is_message, zero.is_end
local not_received, not_sent = answer.not_received, answer.not_sent
local c_send, c_sendto, receive = answer.send, answer.sendto, transfer.receive
local received = addrinfo.received
local somebody, asked = transfer.somebody, zero.asked
local EINVAL, MSG_NOSIGNAL = const.EINVAL, answer.MSG_NOSIGNAL
local MAX_LENGTH, sent, flags_of = answer.MAX_LENGTH, answer.sent, check.flags
local target, source = region.target, region.source

---@class llsocket.socket
local Socket = {}

-- Adds received bytes to a string.buffer: they belong to it only after commit.
local function commit(buf, n, size)
  if n > 0 and type(buf) == "userdata" then buf:commit(min(n, size)) end
end

--- Receives a message into the caller's memory; see recv(2).  Blocks on a blocking socket, for as long as rcvtimeo
--- allows.  Allocates nothing.
---@param buf ffi.cdata*|string.buffer  an array or pointer that is not const; the bytes are appended to a string.buffer
---@param size? integer  most bytes to take, from 1; the default is the rest of an array of fixed size
---@param offset? integer  the byte in the array to begin at; the default is 0.  A string.buffer takes only 0
---@param flag? integer  MSG_*.  MSG_TRUNC is EINVAL on a stream; elsewhere `len` then counts the bytes that were cut off, too
---@param f2? integer  more flags, up to f8
---@return integer? len  bytes; no values at all when the peer has closed
---@return string? err
---@return boolean? again  true: would block or was interrupted
---@return integer? errno  EAGAIN, EINTR, ECONNRESET, ECONNREFUSED, ENOTCONN; EINVAL out of range; ENOMEM; EFAULT; EBADF once
---closed
function Socket:recvinto(buf, size, offset, flag, f2, f3, f4, f5, f6, f7, f8, f9)
  is_self(self, "recvinto")
  local flags = flags_of(4, "recvinto", flag, f2, f3, f4, f5, f6, f7, f8, f9)
  local start, len = target(buf, size, offset, 3, "recvinto")
  if not (start and flags and len > 0) or is_blind(self, flags) then return not_received(not start and len or EINVAL) end
  local n, e, namelen = receive(self.sd, start, min(len, MAX_LENGTH), flags, asked[0] and self.about.asks and somebody or nil)
  if n < 0 then
    if is_end(self, e, flags) then return end
    return answer.receive_failed(self, e)
  end
  commit(buf, n, len)
  if n > 0 or is_message(self, flags, namelen > 0) then return n, nil, false end
end

--- Sends a message from the caller's memory; see send(2).  Blocks on a blocking socket, for as long as sndtimeo
--- allows.  Allocates nothing.  Never raises SIGPIPE.
---@param buf string|ffi.cdata*|string.buffer  an array or pointer, or a string.buffer, which keeps the bytes that are sent
---@param size? integer  bytes; 0 sends an empty message, except on a stream; the default is the rest, a pointer has no default
---@param offset? integer  the byte to begin at; the default is 0
---@param flag? integer  MSG_*
---@param f2? integer  more flags, up to f8
---@return integer? len  bytes sent; no values at all when the peer has closed
---@return string? err
---@return boolean? again  true: fewer than `size` were taken, would block, or was interrupted
---@return integer? errno  EINVAL out of range; EFAULT: a pointer to nowhere; else as for send
function Socket:sendfrom(buf, size, offset, flag, f2, f3, f4, f5, f6, f7, f8, f9)
  is_self(self, "sendfrom")
  local flags = send_flags(4, "sendfrom", flag, f2, f3, f4, f5, f6, f7, f8, f9)
  local start, len = source(buf, size, offset, 3, "sendfrom")
  if not (start and flags) or len == 0 and not has_empty(self.about.kind) then return not_sent(EINVAL) end
  local n, e = c_send(self.sd, start, min(len, MAX_LENGTH), bor(flags, MSG_NOSIGNAL)), errno()
  if n < 0 then return answer.send_failed(self, e) end
  return sent(self, n, n < len)
end

local namelen_cell = ffi.new "uint32_t[1]"

-- The address object is made before the call that fills it, and kept for the next call where this one gave no address.
local spare

local function take()
  local ai = spare or addrinfo.blank(0, 0, 0)
  spare = nil
  return ai
end

--- Receives a message into the caller's memory and tells its sender; see recvfrom(2).  Blocks on a blocking socket, for as
--- long as rcvtimeo allows.  Allocates an address object, or nothing where `ai` is given.
---@param buf ffi.cdata*|string.buffer  as for recvinto
---@param size? integer  most bytes to take, from 1; the default is the rest of an array of fixed size
---@param ai? llsocket.addrinfo  is overwritten with the sender's address; the default is a new object
---@param offset? integer  the byte in the array to begin at; the default is 0.  A string.buffer takes only 0
---@param flag? integer  MSG_*.  MSG_TRUNC is EINVAL on a stream; elsewhere `len` then counts the bytes that were cut off, too
---@param f2? integer  more flags, up to f8
---@return integer? len  bytes; no values at all when the peer has closed
---@return llsocket.addrinfo? ai  nil where the sender has no name, or the socket is a connected stream
---@return string? err
---@return boolean? again  true: would block or was interrupted
---@return integer? errno  EAGAIN, EINTR, ECONNRESET, ECONNREFUSED, ENOTCONN; EINVAL out of range; ENOMEM; EFAULT; EBADF once
---closed
function Socket:recvfrominto(buf, size, ai, offset, flag, f2, f3, f4, f5, f6, f7, f8, f9)
  is_self(self, "recvfrominto")
  local flags = flags_of(5, "recvfrominto", flag, f2, f3, f4, f5, f6, f7, f8, f9)
  local start, len = target(buf, size, offset, 4, "recvfrominto")
  check.optional(addrinfo.arg, ai, 3, "recvfrominto")
  if not (start and flags and len > 0) or is_blind(self, flags) then return nil, not_received(not start and len or EINVAL) end
  local mine = type(ai) == "nil" and take()
  local to = mine or ai
  namelen_cell[0] = sockaddr.SIZE
  local n, e, namelen =
    C.llsocket2_recvfrom(self.sd, start, min(len, MAX_LENGTH), flags, to, namelen_cell), errno(), namelen_cell[0]
  local named = n >= 0 and namelen > 0
  if mine and not named then spare = mine end
  if n < 0 then
    if is_end(self, e, flags) then return end
    return nil, answer.receive_failed(self, e)
  end
  commit(buf, n, len)
  if n > 0 or is_message(self, flags, named) then
    return n, named and received(to, namelen, self.about.type, self.about.proto) or nil, nil, false
  end
end

--- Sends a message from the caller's memory to an address; see sendto(2).  Blocks on a blocking socket, for as long
--- as sndtimeo allows.  Allocates nothing.  Never raises SIGPIPE.
---@param buf string|ffi.cdata*|string.buffer  as for sendfrom
---@param size integer?  bytes; 0 sends an empty message, except on a stream; nil means the rest, but a pointer needs a number
---@param ai llsocket.addrinfo  the address to send to
---@param offset? integer  the byte to begin at; the default is 0
---@param flag? integer  MSG_*
---@param f2? integer  more flags, up to f8
---@return integer? len  bytes sent; no values at all when the peer has closed
---@return string? err
---@return boolean? again  true: fewer than `size` were taken, would block, or was interrupted
---@return integer? errno  EINVAL out of range; EFAULT: a pointer to nowhere; else as for sendto
function Socket:sendtofrom(buf, size, ai, offset, flag, f2, f3, f4, f5, f6, f7, f8, f9)
  is_self(self, "sendtofrom")
  local flags = send_flags(5, "sendtofrom", flag, f2, f3, f4, f5, f6, f7, f8, f9)
  local start, len = source(buf, size, offset, 4, "sendtofrom")
  addrinfo.arg(ai, 3, "sendtofrom")
  if not (start and flags) or len == 0 and not has_empty(self.about.kind) then return not_sent(EINVAL) end
  local n, e = c_sendto(self.sd, start, min(len, MAX_LENGTH), bor(flags, MSG_NOSIGNAL), ai, ai.namelen), errno()
  if n < 0 then return answer.send_failed(self, e) end
  return sent(self, n, n < len)
end

return { methods = Socket }
