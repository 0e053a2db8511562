-- connect.lua -- where a socket is bound and connected, and waiting for it.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local failure = require "llsocket.core.failure"
local addrinfo = require "llsocket.addrinfo"
local fcntl = require "llsocket.socket.flags"
local sockets = require "llsocket.socket.object"
local sockaddr = require "llsocket.address.sockaddr"
local waiting = require "llsocket.wait"
local type = type

local errno = ffi.errno
local is_self, failed, refused = sockets.self, failure.failed, failure.refused
local EINVAL, EBADF, EAGAIN, EINTR = const.EINVAL, const.EBADF, const.EAGAIN, const.EINTR
local WRITE = require("llsocket.socket.answer").WRITE
local quick_r, quick_w, is_plain = waiting.quick_r, waiting.quick_w, waiting.is_plain
local EINPROGRESS, EALREADY = const.EINPROGRESS, const.EALREADY

---@class llsocket.socket
local Socket = {}

-- Answers the address to use; nil and the errno where neither the call nor the constructor gave one.
local function target(sock, ai, method)
  check.optional(addrinfo.arg, ai, 1, method)
  ai = ai or sockets.names[sock]
  if ai then return ai end
  return nil, sock.sd < 0 and EBADF or EINVAL
end

--- Binds the socket to an address; see bind(2).
---@param ai? llsocket.addrinfo  the default is the constructor's
---@return string? err
---@return integer? errno  EADDRINUSE, EADDRNOTAVAIL, EACCES, ENOENT; EINVAL without any address; EBADF once closed
function Socket:bind(ai)
  is_self(self, "bind")
  local name, why = target(self, ai, "bind")
  if not name then return refused(why) end
  local rc, e = C.llsocket2_bind(self.sd, name, name.namelen), errno()
  if rc ~= 0 then return refused(e) end
end

-- Asks the kernel whether the socket blocks: a copy of the descriptor shares O_NONBLOCK and may have changed it.  A sandbox may
-- refuse the question.
local function is_nonblock(sock)
  local on = fcntl.is_nonblock(sock.sd)
  if on == nil then return sock.about.nonblocking end
  return on
end

-- EINPROGRESS on a blocking socket means that sndtimeo ran out.
local function not_connected(sock, e)
  sock.waits = WRITE
  if e == EINPROGRESS and is_nonblock(sock) then return nil, true, e end
  return failure.texts[e], e == EINTR or e == EALREADY or e == EAGAIN, e
end

--- Connects the socket to an address, which for a datagram socket is where it sends; see connect(2).
--- Blocks on a blocking socket, for as long as sndtimeo allows.
---@param ai? llsocket.addrinfo  the default is the constructor's
---@return string? err
---@return boolean? again  true: under way (EINPROGRESS, EALREADY, EINTR), wait with sendable and ask error();
---or a unix socket's backlog is full (EAGAIN), try again
---@return integer? errno  ECONNREFUSED, EISCONN, ENOENT, ETIMEDOUT, ENETUNREACH, EHOSTUNREACH; on a blocking socket
---EINPROGRESS is a time-out; EINVAL without any address; EBADF once closed
function Socket:connect(ai)
  is_self(self, "connect")
  local name, why = target(self, ai, "connect")
  if not name then return failure.texts[why], false, why end
  local rc, e = C.llsocket2_connect(self.sd, name, name.namelen), errno()
  if rc ~= 0 then return not_connected(self, e) end
end

--- Listens for connections; see listen(2).
---@param backlog? integer  connections that may wait, 0 to 2^31-1; the default is SOMAXCONN
---@return string? err
---@return integer? errno  EADDRINUSE, EOPNOTSUPP; EINVAL for a number out of range; EBADF once closed
function Socket:listen(backlog)
  is_self(self, "listen")
  if type(backlog) == "nil" then backlog = const.SOMAXCONN end
  if not check.int(backlog, 1, "listen") or backlog < 0 then return refused(EINVAL) end
  local rc, e = C.llsocket2_listen(self.sd, backlog), errno()
  if rc ~= 0 then return refused(e) end
end

local namelen_cell = ffi.new "uint32_t[1]"

-- Read the length in the same statement as errno: after a branch a finaliser may run and ask for a name itself.
local function name_of(sock, call)
  local ai = addrinfo.blank(0, 0, 0)
  namelen_cell[0] = sockaddr.SIZE
  local rc, e, namelen = call(sock.sd, ai, namelen_cell), errno(), namelen_cell[0]
  if rc ~= 0 then return failed(e) end
  if namelen == 0 then ai.name.any.ss_family = sock.about.domain end
  return addrinfo.received(ai, namelen, sock.about.type, sock.about.proto)
end

--- Tells the address that the socket is bound to; see getsockname(2).
---@return llsocket.addrinfo? ai
---@return string? err
---@return integer? errno  ENOBUFS; EBADF once closed
function Socket:getsockname()
  is_self(self, "getsockname")
  return name_of(self, C.llsocket2_getsockname)
end

--- Tells the address that the socket is connected to; see getpeername(2).
---@return llsocket.addrinfo? ai  of an unnamed unix socket the path is empty
---@return string? err
---@return integer? errno  ENOTCONN; EBADF once closed
function Socket:getpeername()
  is_self(self, "getpeername")
  return name_of(self, C.llsocket2_getpeername)
end

--- Tells whether the next byte is the one after the out-of-band mark; see sockatmark(3).
---@return boolean? bool
---@return string? err
---@return integer? errno  ENOTTY, EINVAL: this socket has no mark; EBADF once closed
function Socket:atmark()
  is_self(self, "atmark")
  local rc, e = C.llsocket2_sockatmark(self.sd), errno()
  if rc < 0 then return failed(e) end
  return rc == 1
end

-- A function of its own, so that it is compiled also where a coroutine waits, which is not: interpreted, it would allocate
-- 24 bytes a wait.
local function watch(sock) sock.about.watched = true end

local function answer(_, ready, err, e)
  if ready == nil then return nil, err, e end
  return ready
end

-- Not a tail call on purpose: passing sock to answer() keeps it alive during the wait.  Otherwise only sock.sd would be on
-- the stack, and the collector could close the socket while a loop watches it: a way of waiting need not keep its fourth
-- argument.
--
-- The time is checked here, so that the error for a wrong one names the method, whichever way of waiting is set.
local function wait(sock, direction, sec, method)
  if not waiting.milliseconds(sec, 1, method) then return failed(EINVAL) end
  if sock.sd < 0 then return failed(EBADF) end
  if waiting.is_set() then watch(sock) end -- its loop may want to know of the end
  return answer(sock, waiting.wait(sock.sd, direction, sec, sock))
end

--- Waits until a receive or accept would not block: there is data, a connection, the end or an error; see poll(2).
---@param sec? number  seconds, below 2^31, to the millisecond rounded up; the default is for ever
---@return boolean? ready  false: the time ran out
---@return string? err
---@return integer? errno  EINTR; EINVAL for a number out of range; EBADF once closed
function Socket:recvable(sec)
  is_self(self, "recvable")
  local quick = quick_r()
  if quick and is_plain(sec) then return quick(self, sec) end
  return wait(self, "r", sec, "recvable")
end

--- Waits until a send would not block or a connect has ended, well or not (ask error()); see poll(2).
---@param sec? number  seconds, below 2^31, to the millisecond rounded up; the default is for ever
---@return boolean? ready  false: the time ran out
---@return string? err
---@return integer? errno  EINTR; EINVAL for a number out of range; EBADF once closed
function Socket:sendable(sec)
  is_self(self, "sendable")
  local quick = quick_w()
  if quick and is_plain(sec) then return quick(self, sec) end
  return wait(self, "w", sec, "sendable")
end

return { methods = Socket }
