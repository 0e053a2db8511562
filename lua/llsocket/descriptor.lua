-- descriptor.lua -- an object that owns a descriptor which is not a socket; SCM_RIGHTS may pass such a descriptor.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local C = require "llsocket.core.libc"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local sockets = require "llsocket.socket.object"
local failure = require "llsocket.core.failure"

local errno, failed, refused = ffi.errno, failure.failed, failure.refused
local finalize = shim.llsocket2_finalize

---@class llsocket.descriptor
local Descriptor = check.methods()

local descriptor_t = ffi.metatype("struct { int sd; }", {
  __index = Descriptor,
  __tostring = function(d) return d == nil and "llsocket.descriptor: NULL" or ("llsocket.descriptor: fd %d"):format(d.sd) end,
})

local is_self = check.class(descriptor_t, "llsocket.descriptor")

--- Makes an object that owns nothing yet; see socket/object.lua.
---@return llsocket.descriptor d
local function new()
  local d = descriptor_t()
  d.sd = -1
  return (ffi.gc(d, finalize))
end

--- Tells the descriptor's number.
---@return integer fd  -1 once closed
function Descriptor:fd()
  is_self(self, "fd")
  return self.sd
end

--- Gives the descriptor up: it stays open, and the caller must close it.
---@return integer? fd
---@return string? err
---@return integer? errno  EBADF once closed
function Descriptor:unwrap()
  is_self(self, "unwrap")
  if self.sd < 0 then return failed(const.EBADF) end
  sockets.closing(self, true)
  local fd = self.sd -- read it after closing(), which may have closed it
  self.sd = -1
  if fd < 0 then return failed(const.EBADF) end
  return fd
end

--- Closes the descriptor; closing twice is harmless.  See close(2).
---@return string? err
---@return integer? errno  EIO, ENOSPC, EDQUOT: written data is lost; EINTR
function Descriptor:close()
  is_self(self, "close")
  if self.sd < 0 then return end
  local _, err = sockets.closing(self, false)
  local fd = self.sd -- read it after closing(), which may have closed it: the number may then belong to other code
  self.sd = -1
  local rc, e = C.llsocket2_close(fd), errno()
  if err then return err end
  if fd >= 0 and rc ~= 0 then return refused(e) end
end

---@class llsocket.descriptor.module
local M = { type = descriptor_t, methods = Descriptor, new = new }

return require("llsocket.core.lazy").keep("llsocket.descriptor", M)
