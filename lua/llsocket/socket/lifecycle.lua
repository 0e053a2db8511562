-- lifecycle.lua -- makes and closes sockets: a descriptor is created into an object that already exists, and closed once.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local failure = require "llsocket.core.failure"
local answer = require "llsocket.socket.answer"
local addrinfo = require "llsocket.addrinfo"
local fcntl = require "llsocket.socket.flags"
local sockets = require "llsocket.socket.object"
local shortage = require "llsocket.core.shortage"
local sockaddr = require "llsocket.address.sockaddr"
local zero = require "llsocket.socket.zero"
local type = type

local errno, bor, band, bnot = ffi.errno, bit.bor, bit.band, bit.bnot
local is_self, failed, refused = sockets.self, failure.failed, failure.refused
local settle, close, shutdown = fcntl.settle, fcntl.close, fcntl.shutdown
local collected = shortage.collected
local EINVAL, EBADF, ECONNABORTED = const.EINVAL, const.EBADF, const.ECONNABORTED
local SOCK_SEQPACKET, asked = const.SOCK_SEQPACKET, zero.asked
local F_DUPFD_CLOEXEC = const.F_DUPFD_CLOEXEC

-- The flags that a creating call takes; 0 where the platform needs a second call.
local CLOEXEC, NONBLOCK = const.SOCK_CLOEXEC or 0, const.SOCK_NONBLOCK or 0

---@class llsocket.socket
local Socket = {}

-- The object of a call that failed is kept for the next call, so that a failing call allocates nothing.
local spare

local function take()
  local sock = spare or sockets.new()
  spare = nil
  return sock
end

--- Stores in the object what its descriptor is.  The number itself must be stored in the statement of the call: a debug hook
--- that raises later (a time limit, Ctrl-C) would leave a descriptor that nobody owns.
---@param sock llsocket.socket
---@param domain integer  AF_*
---@param socktype integer  SOCK_*
---@param proto integer  IPPROTO_*
---@param nonblock? boolean
---@return llsocket.socket sock
local function describe(sock, domain, socktype, proto, nonblock)
  local kind = band(socktype, bnot(bor(CLOEXEC, NONBLOCK)))
  local about = sock.about
  about.domain, about.type, about.proto, about.kind, sock.home = domain, kind, proto, kind, domain
  about.nonblocking = nonblock or band(socktype, NONBLOCK) ~= 0
  if kind == SOCK_SEQPACKET then zero.ask(sock) end
  return sock
end

-- Closes a new socket that could not be completed.
local function discard(sock, e)
  close(sock.sd)
  sock.sd = -1
  return failed(e)
end

--- Creates a socket, close-on-exec, for an address; see socket(2).
---@param ai llsocket.addrinfo  family, type and protocol; bind and connect also use it when called without an address
---@param nonblock? boolean  the default is false
---@return llsocket.socket? sock
---@return string? err
---@return integer? errno  EMFILE, ENFILE, EACCES, EPERM, EAFNOSUPPORT, EPROTONOSUPPORT
local function new(ai, nonblock)
  addrinfo.kept(ai, 1, "new")
  check.boolean(nonblock, 2, "new")
  local sock = take()
  local flags = bor(ai.type, CLOEXEC, nonblock and NONBLOCK or 0)
  local e
  sock.sd, e = C.llsocket2_socket(ai.domain, flags, ai.proto), errno()
  if sock.sd < 0 then
    spare = sock
    if collected(e) then return new(ai, nonblock) end
    return failed(e)
  end
  shortage.made = shortage.made + 1
  describe(sock, ai.domain, ai.type, ai.proto, nonblock)
  e = settle(sock.sd, CLOEXEC == 0, nonblock and NONBLOCK == 0)
  if e then return discard(sock, e) end
  sockets.names[sock] = ai
  return sock
end

-- One for each call: a debug hook that makes a pair, too, would leave its numbers in a shared one, and two objects would own
-- each.
local two_t = ffi.typeof "int[2]"

--- Creates a pair of connected unix sockets, close-on-exec; see socketpair(2).
---@param socktype integer  SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET
---@param nonblock? boolean  for both; the default is false
---@param protocol? integer  the default is 0
---@return llsocket.socket[]? socks
---@return string? err
---@return integer? errno  EMFILE, ENFILE, EPROTONOSUPPORT, ESOCKTNOSUPPORT; EINVAL for a number that is not a type
local function pair(socktype, nonblock, protocol)
  local type_ok = check.int(socktype, 1, "pair")
  check.boolean(nonblock, 2, "pair")
  local protocol_ok = type(protocol) == "nil" or check.int(protocol, 3, "pair")
  if not (type_ok and protocol_ok) then return failed(EINVAL) end
  local domain, proto = const.AF_UNIX, protocol or 0
  local a, b = take(), sockets.new()
  local flags = bor(socktype, CLOEXEC, nonblock and NONBLOCK or 0)
  local cell = two_t()
  local rc, e = C.llsocket2_socketpair(domain, flags, proto, cell), errno()
  if rc < 0 then
    spare = a
    if collected(e) then return pair(socktype, nonblock, protocol) end
    return failed(e)
  end
  a.sd, b.sd = cell[0], cell[1]
  shortage.made = shortage.made + 2
  describe(a, domain, socktype, proto, nonblock)
  describe(b, domain, socktype, proto, nonblock)
  e = settle(a.sd, CLOEXEC == 0, nonblock and NONBLOCK == 0) or settle(b.sd, CLOEXEC == 0, nonblock and NONBLOCK == 0)
  if not e then return { a, b } end
  discard(a, e)
  return discard(b, e)
end

--- Duplicates the socket, close-on-exec; see F_DUPFD_CLOEXEC in fcntl(2).  Both share one connection and
--- O_NONBLOCK.  Never blocks.
---@param ai? llsocket.addrinfo  the copy's address, family, type and protocol; the default is the socket's own
---@return llsocket.socket? sock
---@return string? err
---@return integer? errno  EMFILE; EBADF once closed
function Socket:dup(ai)
  is_self(self, "dup")
  check.optional(addrinfo.kept, ai, 1, "dup")
  local sock = take()
  local e = fcntl.duplicate(self.sd, sock)
  if e then
    spare = sock
    if collected(e) then return self:dup(ai) end
    return failed(e)
  end
  shortage.made = shortage.made + 1
  local mine, copy = self.about, sock.about
  local from = ai or mine
  describe(sock, from.domain, from.type, from.proto, mine.nonblocking)
  copy.kind, sock.home, copy.ifindex, copy.asks = mine.kind, self.home, mine.ifindex, mine.asks
  e = not F_DUPFD_CLOEXEC and fcntl.set_cloexec(sock.sd, true)
  if e then return discard(sock, e) end
  sockets.names[sock] = ai or sockets.names[self]
  sockets.copied[self], sockets.copied[sock] = true, true
  return sock
end

local namelen_cell = ffi.new "uint32_t[1]"
local has_accept4 = CLOEXEC ~= 0 and pcall(function() return C.llsocket2_accept4 end)

-- Gives `sock` the new connection; answers the errno.
local function accept(listener, sock, flags)
  local e
  if has_accept4 then
    sock.sd, e = C.llsocket2_accept4(listener.sd, nil, nil, flags), errno()
  else
    sock.sd, e = C.llsocket2_accept(listener.sd, nil, nil), errno()
  end
  return e
end

local function accept_named(listener, sock, flags, ai)
  local e, namelen
  if has_accept4 then
    sock.sd, e, namelen = C.llsocket2_accept4(listener.sd, ai, namelen_cell, flags), errno(), namelen_cell[0]
  else
    sock.sd, e, namelen = C.llsocket2_accept(listener.sd, ai, namelen_cell), errno(), namelen_cell[0]
  end
  return e, namelen
end

-- Gives `sock` the new connection and `ai` its peer's address; answers the errno.  macOS tells no address of a peer that has
-- gone.
local function accept_from(listener, sock, flags, ai)
  namelen_cell[0] = sockaddr.SIZE
  local e, namelen = accept_named(listener, sock, flags, ai)
  if sock.sd < 0 then return e end
  local about = listener.about
  if namelen == 0 then ai.name.any.ss_family = listener.home end
  addrinfo.received(ai, namelen, about.kind, about.proto)
  return e
end

-- Describes the accepted socket, and sets the flags that the call could not set; answers the errno.
local function settle_accepted(listener, sock, nonblock)
  shortage.made = shortage.made + 1
  local its, about = listener.about, sock.about
  describe(sock, its.domain, its.type, its.proto, nonblock)
  about.kind, sock.home = its.kind, listener.home
  if asked[0] then about.asks = its.asks end
  local e = settle(sock.sd, not has_accept4)
  -- Without accept4, set O_NONBLOCK in any case: on BSD the new socket inherits it, on Linux it does not.
  if not (e or has_accept4) then e = fcntl.set_nonblock(sock.sd, nonblock) end
  return e
end

--- Accepts a connection, close-on-exec; see accept4(2).  Blocks on a blocking socket, for as long as rcvtimeo
--- allows.  Allocates the object.
---@param nonblock? boolean  for the new socket; the default is the value that llsocket last set or read on this one
---@param ai? llsocket.addrinfo  is overwritten with the peer's address, which is known even where the peer has already reset
---the connection; by default the address is not asked for
---@return llsocket.socket? sock
---@return string? err
---@return boolean? again  true: no connection waits, the call was interrupted, or the connection ended in the queue
---@return integer? errno  EAGAIN, EINTR, ECONNABORTED, EMFILE, ENFILE, EINVAL: it does not listen; EBADF once closed
function Socket:accept(nonblock, ai)
  is_self(self, "accept")
  check.boolean(nonblock, 1, "accept")
  check.optional(addrinfo.arg, ai, 2, "accept")
  if nonblock == nil then nonblock = self.about.nonblocking end
  local sock, flags = take(), bor(CLOEXEC, nonblock and NONBLOCK or 0)
  local e
  if ai then e = accept_from(self, sock, flags, ai) else e = accept(self, sock, flags) end
  if sock.sd < 0 then
    spare = sock
    if collected(e) then return self:accept(nonblock, ai) end
    self.waits = answer.READ
    return answer.not_accepted(e)
  end
  e = settle_accepted(self, sock, nonblock)
  if not e then return sock end
  discard(sock, e)
  return answer.not_accepted(e == EINVAL and ECONNABORTED or e) -- EINVAL: the connection has ended, see settle
end

--- Tells the descriptor's number; see socket(2).  Makes no system call.
---@return integer fd  -1 once closed
function Socket:fd()
  is_self(self, "fd")
  return self.sd
end

--- Tells the address family; see socket(2).  Makes no system call.
---@return integer? af  AF_*
---@return string? err
---@return integer? errno  EBADF once closed
function Socket:family()
  is_self(self, "family")
  if self.sd < 0 then return failed(EBADF) end
  return self.about.domain
end

--- Tells the socket type; see socket(2).  Makes no system call.
---@return integer? st  SOCK_*, without SOCK_CLOEXEC and SOCK_NONBLOCK
---@return string? err
---@return integer? errno  EBADF once closed
function Socket:socktype()
  is_self(self, "socktype")
  if self.sd < 0 then return failed(EBADF) end
  return self.about.type
end

--- Tells the protocol; see socket(2).  Makes no system call.
---@return integer? proto  IPPROTO_*, 0 for the family's default
---@return string? err
---@return integer? errno  EBADF once closed
function Socket:protocol()
  is_self(self, "protocol")
  if self.sd < 0 then return failed(EBADF) end
  return self.about.proto
end

local HOW = { [const.SHUT_RD] = true, [const.SHUT_WR] = true, [const.SHUT_RDWR] = true }

--- Shuts down one or both directions of a connection; see shutdown(2).
---@param flag? integer  SHUT_RD, SHUT_WR or SHUT_RDWR, which is the default
---@return string? err
---@return integer? errno  ENOTCONN; EINVAL for another flag; EBADF once closed
function Socket:shutdown(flag)
  is_self(self, "shutdown")
  if type(flag) == "nil" then flag = const.SHUT_RDWR end
  check.number(flag, 1, "shutdown")
  if not HOW[flag] then return refused(EINVAL) end
  local e = shutdown(self.sd, flag)
  zero.was_shut(self, flag, e)
  if e then return refused(e) end
end

-- Answers the errno of the first call that failed.  Set sd to -1 just before close(2): as soon as that returns, the number may
-- belong to another descriptor.  An error that a debug hook raises between the two leaks the descriptor.
--
-- Replace the finaliser by a no-op builtin (`type`): calling it costs a tenth of a C call (accept and close: 1,950 instead of
-- 2,300 instructions).  Do not remove it with ffi.gc(sock, nil): that leaves tombstones in LuaJIT's finaliser table, and every
-- insert into a nearly full table then rehashes it (20 us instead of 0.7 us at 1,023 sockets).
local function release(sock, flag)
  local sd, borrowed = sock.sd, sock.about.borrowed
  if sd < 0 then return nil end
  local e = flag and shutdown(sd, flag) or nil
  sock.sd = -1
  if borrowed then return e end
  local rc, e2 = C.llsocket2_close(sd), errno()
  ffi.gc(sock, type)
  return e or rc ~= 0 and e2 or nil
end

-- Where a hook closes the socket again, that inner close does nothing: the close that runs the hook completes.
local function close_watched(sock, flag)
  local go_on, err = sockets.closing(sock, false)
  if not go_on then return end
  sock.about.watched = false
  local e = release(sock, not sockets.reset[sock] and flag or nil)
  if err then return err end
  if e then return refused(e) end
end

--- Closes the descriptor; see close(2).  Closing twice is harmless.  Blocks only where linger is set.  Does not retry after
--- EINTR, because the descriptor is closed nevertheless.
---@param flag? integer  SHUT_*, to shut down first; by default it only closes
---@return string? err  of the first call that failed
---@return integer? errno  ENOTCONN from the shutdown; EIO, EINTR; EINVAL for another flag, and then nothing is closed
function Socket:close(flag)
  is_self(self, "close")
  if type(flag) ~= "nil" then check.number(flag, 1, "close") end
  if flag and not HOW[flag] then return refused(EINVAL) end
  if self.about.watched then return close_watched(self, flag) end
  local e = release(self, flag)
  if e then return refused(e) end
end

return { methods = Socket, new = new, pair = pair, describe = describe }
