-- flags.lua -- calls of fcntl(2), ioctl(2), shutdown(2) and close(2) for a descriptor number.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.core.libc"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local failed = require("llsocket.core.failure").failed
local sockets = require "llsocket.socket.object"
local optionkind = require "llsocket.socket.optionkind"

local errno, band = ffi.errno, bit.band
local fcntl, ioctl, is_self = shim.llsocket2_fcntl, shim.llsocket2_ioctl, sockets.self
local F_SETFD, F_GETFD, F_GETFL, FD_CLOEXEC = const.F_SETFD, const.F_GETFD, const.F_GETFL, const.FD_CLOEXEC
local O_NONBLOCK, FIONBIO = const.O_NONBLOCK, const.FIONBIO
local F_DUPFD = const.F_DUPFD_CLOEXEC or const.F_DUPFD

local int_cell = ffi.new "int[1]"

--- Sets O_NONBLOCK with one call, where fcntl(2) would need two; see FIONBIO in ioctl_tty(2).
---@param sd integer
---@param on boolean
---@return integer? errno
local function set_nonblock(sd, on)
  int_cell[0] = on and 1 or 0
  local rc, e = ioctl(sd, FIONBIO, int_cell), errno()
  if rc < 0 then return e end
end

--- Tells whether O_NONBLOCK is set; see fcntl(2).
---@param sd integer
---@return boolean? on
---@return integer? errno
local function is_nonblock(sd)
  local flags, e = fcntl(sd, F_GETFL, 0), errno()
  if flags < 0 then return nil, e end
  return band(flags, O_NONBLOCK) ~= 0
end

--- Tells whether exec closes the descriptor, or that it is not open; see FD_CLOEXEC in fcntl(2).
---@param sd integer
---@return boolean? on
---@return integer? errno  EBADF
local function is_cloexec(sd)
  local flags, e = fcntl(sd, F_GETFD, 0), errno()
  if flags < 0 then return nil, e end
  return band(flags, FD_CLOEXEC) ~= 0
end

--- Sets whether exec closes the descriptor; see fcntl(2).
---@param sd integer
---@param on boolean
---@return integer? errno
local function set_cloexec(sd, on)
  local rc, e = fcntl(sd, F_SETFD, on and FD_CLOEXEC or 0), errno()
  if rc < 0 then return e end
end

-- The option that prevents SIGPIPE where sends have no flag for that.  It belongs to the socket, so duplicates share it.
local SO_NOSIGPIPE = not const.MSG_NOSIGNAL and const.SO_NOSIGPIPE

local function set_nosigpipe(sd)
  int_cell[0] = 1
  return optionkind.set(sd, const.SOL_SOCKET, SO_NOSIGPIPE, int_cell, 4)
end

--- Sets the flags that the call that made a socket could not set.
---@param sd integer
---@param cloexec boolean  whether close-on-exec must still be set
---@param nonblock? boolean  whether O_NONBLOCK must still be set
---@return integer? errno  EINVAL: it is shut down in both directions, where macOS refuses SO_NOSIGPIPE
local function settle(sd, cloexec, nonblock)
  return cloexec and set_cloexec(sd, true) or nonblock and set_nonblock(sd, true)
    or SO_NOSIGPIPE and set_nosigpipe(sd) or nil
end

--- Closes a descriptor without retrying; see close(2).
---@param sd integer
---@return integer? errno
local function close(sd)
  local rc, e = C.llsocket2_close(sd), errno()
  if rc ~= 0 then return e end
end

--- Shuts a connection down; see shutdown(2).
---@param sd integer
---@param how integer  SHUT_*
---@return integer? errno
local function shutdown(sd, how)
  local rc, e = C.llsocket2_shutdown(sd, how), errno()
  if rc ~= 0 then return e end
end

--- Duplicates a descriptor, close-on-exec where the system can; see fcntl(2).
---@param fd integer
---@param owner llsocket.socket  gets the number in the statement of the call; -1 when the call failed
---@return integer? errno
local function duplicate(fd, owner)
  local e
  owner.sd, e = fcntl(fd, F_DUPFD, 0), errno() -- 0: the lowest number for the duplicate
  if owner.sd < 0 then return e end
end

---@class llsocket.socket
local Socket = {}

--- Tells or sets whether exec closes the descriptor; see FD_CLOEXEC in fcntl(2).  Never blocks.
---@param enable? boolean  every socket that llsocket makes starts with true
---@return boolean? enable
---@return string? err
---@return integer? errno  EBADF once closed
function Socket:cloexec(enable)
  is_self(self, "cloexec")
  check.boolean(enable, 1, "cloexec")
  local e
  if enable ~= nil then e = set_cloexec(self.sd, enable) else enable, e = is_cloexec(self.sd) end
  if e then return failed(e) end
  return enable
end

--- Tells or sets whether calls answer EAGAIN instead of blocking; see O_NONBLOCK in fcntl(2).  Duplicates share it, and
--- accept uses the value that this method last told or set.
---@param enable? boolean  the constructor's default is false
---@return boolean? enable
---@return string? err
---@return integer? errno  EBADF once closed
function Socket:nonblock(enable)
  is_self(self, "nonblock")
  check.boolean(enable, 1, "nonblock")
  local e
  if enable ~= nil then e = set_nonblock(self.sd, enable) else enable, e = is_nonblock(self.sd) end
  if e then return failed(e) end
  self.about.nonblocking = enable
  return enable
end

return {
  methods = Socket, settle = settle, close = close, shutdown = shutdown, duplicate = duplicate,
  set_nonblock = set_nonblock, is_nonblock = is_nonblock, set_cloexec = set_cloexec, is_cloexec = is_cloexec,
}
