-- wrap.lua -- takes over or borrows sockets that other code made, and gives sockets up.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local check = require "llsocket.core.check"
local failure = require "llsocket.core.failure"
local fcntl = require "llsocket.socket.flags"
local lifecycle = require "llsocket.socket.lifecycle"
local sockets = require "llsocket.socket.object"
local optionkind = require "llsocket.socket.optionkind"
local zero = require "llsocket.socket.zero"
local type = type

local errno, settle, is_self = ffi.errno, fcntl.settle, sockets.self
local failed, refused = failure.failed, failure.refused
local EINVAL, EBADF = const.EINVAL, const.EBADF
local SOL_SOCKET, SO_DOMAIN, SO_TYPE, SO_PROTOCOL = const.SOL_SOCKET, const.SO_DOMAIN, const.SO_TYPE, const.SO_PROTOCOL

---@class llsocket.socket
local Socket = {}

local KIND_INT = optionkind.KIND.int
local any_cell, namelen_cell = layout.sockaddr_storage(), ffi.new "uint32_t[1]"

local function domain_of(fd)
  if SO_DOMAIN then return KIND_INT.read(fd, SOL_SOCKET, SO_DOMAIN) end
  namelen_cell[0] = ffi.sizeof(any_cell)
  local rc, e, family = C.llsocket2_getsockname(fd, any_cell, namelen_cell), errno(), any_cell.ss_family
  if rc < 0 then return failed(e) end
  return family
end

-- Asks the kernel for family, type and protocol; answers them, or nil, err, errno.
local function identity(fd)
  local domain, socktype, proto, err, e
  domain, err, e = domain_of(fd)
  if not domain then return nil, err, e end
  socktype, err, e = KIND_INT.read(fd, SOL_SOCKET, SO_TYPE)
  if not socktype then return nil, err, e end
  if not SO_PROTOCOL then return domain, socktype, 0 end
  proto, err, e = KIND_INT.read(fd, SOL_SOCKET, SO_PROTOCOL)
  if not proto then return nil, err, e end
  return domain, socktype, proto
end

-- Reads the second argument of wrap: `nonblock`, or `{ own =, nonblock = }`.  Answers nonblock, borrowed.
local function wrap_options(how)
  if type(how) ~= "table" then
    check.boolean(how, 2, "wrap")
    return how, false
  end
  local own, nonblock = how.own, how.nonblock -- read each once: __index may answer another value the next time
  check.boolean(own, 2, "wrap")
  check.boolean(nonblock, 2, "wrap")
  return nonblock, own == false
end

-- Sets the flags; answers whether the descriptor is non-blocking, or nil and the errno.
local function take_over(fd, nonblock, as_is)
  local e = settle(fd, not as_is) or nonblock ~= nil and fcntl.set_nonblock(fd, nonblock)
  if e then return nil, e end
  if nonblock ~= nil then return nonblock end
  return fcntl.is_nonblock(fd)
end

--- Makes an object that describes a socket.  The caller must then store the descriptor number in it.
---@param fd integer
---@param nonblock? boolean  nil leaves O_NONBLOCK as it is
---@param as_is? boolean  close-on-exec is left alone; the default is to set it
---@return llsocket.socket? sock
---@return string? err
---@return integer? errno  EBADF, ENOTSOCK
local function shell(fd, nonblock, as_is)
  local domain, socktype, proto = identity(fd)
  if not domain then return nil, socktype, proto end
  local sock = sockets.new()
  local nonblocking, e = take_over(fd, nonblock, as_is)
  if nonblocking == nil then return failed(e) end
  lifecycle.describe(sock, domain, socktype, proto, nonblocking)
  zero.look(sock, fd)
  return sock
end

--- Takes over a descriptor: from now on the object closes it.  Reads its family, type and protocol from the kernel, and sets
--- close-on-exec; see socket(7), fcntl(2).  When the call fails, the descriptor still belongs to the caller.
---@param fd integer  a socket
---@param nonblock? boolean | { own?: boolean, nonblock?: boolean }  nil leaves O_NONBLOCK as it is;
---`{ own = false }` borrows the descriptor: llsocket never closes it and leaves close-on-exec alone
---@return llsocket.socket? sock
---@return string? err
---@return integer? errno  EBADF, ENOTSOCK; EINVAL for a number that cannot be a descriptor
local function wrap(fd, nonblock)
  local number = check.fd(fd, 1, "wrap")
  local state, borrowed = wrap_options(nonblock)
  if not number then return failed(EINVAL) end
  local sock, err, e = shell(number, state, borrowed)
  if not sock then return nil, err, e end
  if borrowed then ffi.gc(sock, type) end -- see release in lifecycle.lua
  sock.about.borrowed, sock.sd = borrowed, fd
  return sock
end

--- Gives the descriptor up: it stays open, and the caller must close it; see close(2).  Afterwards the socket behaves like a
--- closed one.  Makes no system call.
---@return integer? fd
---@return string? err
---@return integer? errno  EBADF once closed
function Socket:unwrap()
  is_self(self, "unwrap")
  local fd = self.sd
  if fd < 0 then return failed(EBADF) end
  if self.about.watched then sockets.closing(self, true) end
  self.sd = -1
  return fd
end

--- Gives the descriptor up as unwrap does: LuaSec's ssl.wrap calls it once the TLS connection owns the descriptor.
---@param fd integer  -1, and nothing else
---@return string? err
---@return integer? errno  EINVAL for any other number; EBADF once closed
function Socket:setfd(fd)
  is_self(self, "setfd")
  check.number(fd, 1, "setfd")
  if fd ~= -1 then return refused(EINVAL) end
  local _, err, e = self:unwrap()
  if e then return err, e end
end

return { methods = Socket, wrap = wrap, shell = shell }
