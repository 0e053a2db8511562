-- transfer.lua -- sending and receiving.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.core.libc"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local answer = require "llsocket.socket.answer"
local addrinfo = require "llsocket.addrinfo"
local sockets = require "llsocket.socket.object"
local sockaddr = require "llsocket.address.sockaddr"
local zero = require "llsocket.socket.zero"
local type = type

local errno, min, max, floor, bor = ffi.errno, math.min, math.max, math.floor, bit.bor
local is_self, has_empty, is_blind, send_flags = sockets.self, answer.has_empty, answer.is_blind, answer.send_flags
local not_received, not_sent = answer.not_received, answer.not_sent
local c_send, c_sendto, c_recv = answer.send, answer.sendto, C.llsocket2_recv
local flags_of, check_string, sent, to_string = check.flags, check.string, answer.sent, ffi.string
local MSG_NOSIGNAL, MAX_LENGTH = answer.MSG_NOSIGNAL, answer.MAX_LENGTH
local EINVAL, EBADF, ENOMEM = const.EINVAL, const.EBADF, const.ENOMEM
local is_message, is_end, asked = zero.is_message, zero.is_end, zero.asked

---@class llsocket.socket
local Socket = {}

-- All receives share one buffer.  Nothing can run between the call that fills it and the copy into a string.
local SHARED_SIZE = 65536
local memory = ffi.new "uint8_t[65536]"
local shared = ffi.cast("uint8_t *", memory) -- in a trace a small cdata is a constant; a large one is loaded and checked
local namelen_cell = ffi.new "uint32_t[1]"
local received = addrinfo.received
local somebody = addrinfo.blank(0, 0, 0) -- for receives that only want to know whether there is a sender

--- Receives; asks for the sender, too, if `name` is given.  See recv(2), recvfrom(2).
---@param sd integer
---@param buf ffi.cdata*
---@param size integer  bytes
---@param flags integer  MSG_*
---@param name? ffi.cdata*  sockaddr.SIZE bytes
---@return integer n  as recv(2)
---@return integer errno
---@return integer namelen  0 when the sender has no name or was not asked for
local function receive(sd, buf, size, flags, name)
  if not name then return c_recv(sd, buf, size, flags), errno(), 0 end
  namelen_cell[0] = sockaddr.SIZE
  return C.llsocket2_recvfrom(sd, buf, size, flags, name, namelen_cell), errno(), namelen_cell[0]
end

-- A larger buffer belongs to the call alone.  It comes from malloc, which does not clear it and does not count against
-- LuaJIT's heap.
local function read_large(sd, size, flags, name)
  local block = C.llsocket2_malloc(size)
  if block == nil then return nil, -1, ENOMEM, 0 end
  local buf = ffi.gc(block, C.llsocket2_free) -- frees it if ffi.string runs out of memory
  local n, e, namelen = receive(sd, buf, min(size, MAX_LENGTH), flags, name)
  local msg = n > 0 and to_string(buf, min(n, size)) or nil
  C.llsocket2_free(ffi.gc(buf, nil))
  return msg, n, e, namelen
end

-- Returns the message, recvfrom's result, the errno and the length of the name.  Read the last three before the string is
-- made: making it may run the collector, and a finaliser may receive something itself.  min, because MSG_TRUNC counts
-- the bytes that were cut off.
local function read(sd, size, flags, name)
  if size > SHARED_SIZE then return read_large(sd, size, flags, name) end
  local n, e, namelen = receive(sd, shared, size, flags, name)
  -- Copy before testing n: a branch here would start a side trace, which may run the collector, and a finaliser could
  -- overwrite `shared`.
  local msg = to_string(shared, max(min(n, size), 0))
  return msg, n, e, namelen
end

-- How many bytes recv and recvfrom may take; nil for an impossible size.
local function size_of(size, method)
  if type(size) == "nil" then return 4096 end
  return check.int(size, 1, method) and size >= 1 and size or nil
end

--- Receives a message; see recv(2).  Blocks on a blocking socket, for as long as rcvtimeo allows.
--- Allocates only the string.
---@param bufsize? integer  most bytes to take, 1 to 2^31-1; the default is 4096
---@param flag? integer  MSG_*.  MSG_TRUNC is EINVAL on a stream
---@param f2? integer  more flags, up to f8
---@return string? msg  no values at all when the peer has closed
---@return string? err
---@return boolean? again  true: would block or was interrupted
---@return integer? errno  EAGAIN, EINTR, ECONNRESET, ECONNREFUSED, ENOTCONN, ENOMEM; EINVAL out of range; EBADF once closed
function Socket:recv(bufsize, flag, f2, f3, f4, f5, f6, f7, f8, f9)
  is_self(self, "recv")
  local size = size_of(bufsize, "recv")
  local flags = flags_of(2, "recv", flag, f2, f3, f4, f5, f6, f7, f8, f9)
  if not (size and flags) or is_blind(self, flags) then return not_received(EINVAL) end
  local msg, n, e, namelen = read(self.sd, size, flags, asked[0] and self.about.asks and somebody or nil)
  if n > 0 then return msg, nil, false end
  if n < 0 then
    if is_end(self, e, flags) then return end
    return answer.receive_failed(self, e)
  end
  if is_message(self, flags, namelen > 0) then return "", nil, false end
end

-- The address must be made before the call that fills it.  If the call gave none, the next call uses it.
local spare

--- Receives a message and tells its sender; see recvfrom(2).  Blocks on a blocking socket, for as long as
--- rcvtimeo allows.  Allocates only the string and the address.
---@param bufsize? integer  most bytes to take, 1 to 2^31-1; the default is 4096
---@param flag? integer  MSG_*.  MSG_TRUNC is EINVAL on a stream
---@param f2? integer  more flags, up to f8
---@return string? msg  no values at all when the peer has closed
---@return llsocket.addrinfo? ai  nil where the sender has no name, or the socket is a connected stream
---@return string? err
---@return boolean? again  true: would block or was interrupted
---@return integer? errno  EAGAIN, EINTR, ECONNRESET, ECONNREFUSED, ENOTCONN, ENOMEM; EINVAL out of range; EBADF once closed
function Socket:recvfrom(bufsize, flag, f2, f3, f4, f5, f6, f7, f8, f9)
  is_self(self, "recvfrom")
  local size = size_of(bufsize, "recvfrom")
  local flags = flags_of(2, "recvfrom", flag, f2, f3, f4, f5, f6, f7, f8, f9)
  if not (size and flags) or is_blind(self, flags) then return nil, not_received(EINVAL) end
  local ai = spare or addrinfo.blank(0, 0, 0)
  spare = nil
  local msg, n, e, namelen = read(self.sd, size, flags, ai)
  if n < 0 or namelen == 0 then
    spare, ai = ai, nil
  else
    received(ai, namelen, self.about.type, self.about.proto)
  end
  if n > 0 then return msg, ai, nil, false end
  if n < 0 then
    if is_end(self, e, flags) then return end
    return nil, answer.receive_failed(self, e)
  end
  if is_message(self, flags, namelen > 0) then return "", ai, nil, false end
end

-- A stream has no empty messages.
local function sendable(sock, msg) return #msg > 0 or has_empty(sock.about.kind) end

--- Sends a message; see send(2).  Blocks on a blocking socket, for as long as sndtimeo allows.  Allocates nothing.
--- Never raises SIGPIPE.
---@param msg string  bytes; "" sends an empty message, on a stream it is EINVAL
---@param flag? integer  MSG_*
---@param f2? integer  more flags, up to f8
---@return integer? len  bytes sent; no values at all when the peer has closed
---@return string? err
---@return boolean? again  true: fewer than #msg were taken, would block, or was interrupted
---@return integer? errno  EAGAIN, EINTR, EINPROGRESS, EMSGSIZE, ENOTCONN, EDESTADDRREQ, ECONNREFUSED, ENOBUFS; EINVAL
---for a flag, and for "" on a stream; EBADF once closed
function Socket:send(msg, flag, f2, f3, f4, f5, f6, f7, f8, f9)
  is_self(self, "send")
  check_string(msg, 1, "send")
  local flags = send_flags(2, "send", flag, f2, f3, f4, f5, f6, f7, f8, f9)
  if not (flags and sendable(self, msg)) then return not_sent(EINVAL) end
  local n, e = c_send(self.sd, msg, min(#msg, MAX_LENGTH), bor(flags, MSG_NOSIGNAL)), errno()
  if n < 0 then return answer.send_failed(self, e) end
  return sent(self, n, n < #msg)
end

--- Sends a message to an address; see sendto(2).  Blocks on a blocking socket, for as long as sndtimeo allows.
--- Allocates nothing.  Never raises SIGPIPE.
---@param msg string  bytes; "" sends an empty message, on a stream it is EINVAL
---@param ai llsocket.addrinfo  where to
---@param flag? integer  MSG_*
---@param f2? integer  more flags, up to f8
---@return integer? len  bytes sent; no values at all when the peer has closed
---@return string? err
---@return boolean? again  true: fewer than #msg were taken, would block, or was interrupted
---@return integer? errno  EISCONN, ENOENT, EHOSTUNREACH, ENETUNREACH, EACCES, EAFNOSUPPORT; else as for send
function Socket:sendto(msg, ai, flag, f2, f3, f4, f5, f6, f7, f8, f9)
  is_self(self, "sendto")
  check_string(msg, 1, "sendto")
  addrinfo.arg(ai, 2, "sendto")
  local flags = send_flags(3, "sendto", flag, f2, f3, f4, f5, f6, f7, f8, f9)
  if not (flags and sendable(self, msg)) then return not_sent(EINVAL) end
  local n, e = c_sendto(self.sd, msg, min(#msg, MAX_LENGTH), bor(flags, MSG_NOSIGNAL), ai, ai.namelen), errno()
  if n < 0 then return answer.send_failed(self, e) end
  return sent(self, n, n < #msg)
end

-- Doubles are exact up to 2^53.
local function is_count(n, least) return n >= least and n <= 2^53 and floor(n) == n end

--- Sends a part of a file; see sendfile(2).  Blocks on a blocking socket, for as long as sndtimeo allows.  The
--- file's own position neither counts nor moves, and what io.write still buffers is not sent.  Never raises SIGPIPE.
---@param fd integer|file*  a regular file, open for reading
---@param bytes integer  how many, 1 to 2^53
---@param offset? integer  where to begin, 0 to 2^53; the default is 0
---@return integer? len  bytes sent, 0 at or past the end of the file; no values at all when the peer has closed
---@return string? err
---@return boolean? again  true: fewer than asked for were taken, would block, or was interrupted
---@return integer? errno  EAGAIN, EINTR, EBADF, ENOTCONN, EIO, ENOSYS; ESPIPE, EINVAL: no regular file
function Socket:sendfile(fd, bytes, offset)
  is_self(self, "sendfile")
  local file, why = check.file(fd, 1, "sendfile")
  check.number(bytes, 2, "sendfile")
  if type(offset) == "nil" then offset = 0 end
  check.number(offset, 3, "sendfile")
  if not (is_count(bytes, 1) and is_count(offset, 0)) then return not_sent(EINVAL) end
  if self.sd < 0 then return not_sent(EBADF) end -- the kernel checks the file first and may answer another error
  if not file then return not_sent(why) end
  local n = shim.llsocket2_sendfile(self.sd, file, offset, bytes)
  if n < 0 then return answer.send_failed(self, -n) end
  return sent(self, n, n > 0 and n < bytes)
end

return {
  methods = Socket, receive = receive, somebody = somebody,
  memory = memory, -- keeps it alive: `shared` does not
}
