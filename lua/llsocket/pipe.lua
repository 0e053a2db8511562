-- pipe.lua -- the pipe that splice moves bytes through: it holds both ends, and counts the bytes in the pipe.
--
-- No other code has the ends, so the count is right.  Only an error of a debug hook can come between splice(2) and the count:
-- `moving` is true meanwhile, and where it is found true the kernel is asked.  A drain that asked for bytes that have gone would
-- wait for ever.  The ends are blocking.  Splice never waits for them, only for its
-- sockets: it fills the pipe only when it is empty, and drains only as many bytes as it holds.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local C = require "llsocket.core.libc"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local failure = require "llsocket.core.failure"
local descriptor = require "llsocket.descriptor"
local fcntl = require "llsocket.socket.flags"
local shortage = require "llsocket.core.shortage"
local setmetatable, type = setmetatable, type

local errno, failed, refused = ffi.errno, failure.failed, failure.refused
local EINVAL, ENOSYS = const.EINVAL, const.ENOSYS

---@class llsocket.pipe
local Pipe = {}
local meta = { __index = Pipe }

local is_self, arg = check.object(meta, "llsocket.pipe")

-- One for each call: a debug hook that makes a pipe, too, would leave its numbers in a shared one.
local two_t = ffi.typeof "int[2]"

-- Give the numbers to their owners right after the call: a debug hook that raises before would leave two descriptors that
-- nobody owns.
local function open_pipe(pipe)
  local from, to, cell = pipe.output, pipe.input, two_t()
  local rc, e
  if const.SPLICE_F_MOVE then -- every system with this constant also has pipe2(2)
    rc, e = C.llsocket2_pipe2(cell, const.O_CLOEXEC), errno()
  else
    rc, e = C.llsocket2_pipe(cell), errno()
  end
  if rc < 0 then
    if shortage.collected(e) then return open_pipe(pipe) end
    return e
  end
  from.sd, to.sd = cell[0], cell[1]
  shortage.made = shortage.made + 2
  if not const.SPLICE_F_MOVE then return fcntl.set_cloexec(from.sd, true) or fcntl.set_cloexec(to.sd, true) end
end

local function set_size(pipe, size)
  if not const.F_SETPIPE_SZ then return ENOSYS end
  local rc, e = shim.llsocket2_fcntl(pipe.input.sd, const.F_SETPIPE_SZ, size), errno()
  if rc < 0 then return e end
end

---@class llsocket.pipe.module
local M = {}

--- Makes a pipe for splice, close-on-exec; see pipe(7).
---@param size? integer  bytes that it can hold, 1 to 2^31-1, which the kernel rounds up; the default is the system's
---@return llsocket.pipe? pipe
---@return string? err
---@return integer? errno  EMFILE, ENFILE; EINVAL; EPERM: larger than an unprivileged user may have; ENOSYS: this system has
---only one size
function M.new(size)
  if type(size) ~= "nil" and (not check.int(size, 1, "new") or size < 1) then return failed(EINVAL) end
  local pipe = setmetatable({ input = descriptor.new(), output = descriptor.new(), bytes = 0, moving = false }, meta)
  local e = open_pipe(pipe) or size and set_size(pipe, size)
  if not e then return pipe end
  pipe:close()
  return failed(e)
end

local bytes_cell = ffi.new "int[1]"

--- Tells how many bytes wait.
---@param pipe llsocket.pipe
---@return integer bytes
function M.count(pipe)
  if pipe.moving then
    local rc, n = shim.llsocket2_ioctl(pipe.output.sd, const.FIONREAD, bytes_cell), bytes_cell[0]
    if rc == 0 then pipe.bytes, pipe.moving = n, false end
  end
  return pipe.bytes
end

--- Tells how many bytes wait in the pipe to be sent.
---@return integer bytes
function Pipe:held()
  is_self(self, "held")
  return M.count(self)
end

--- Closes both ends; the bytes in the pipe are lost.  Closing twice is harmless.  A collected pipe is closed, too.
---@return string? err
---@return integer? errno  EIO
function Pipe:close()
  is_self(self, "close")
  local _, first = self.input:close()
  local _, second = self.output:close()
  self.bytes, self.moving = 0, false
  if first or second then return refused(first or second) end
end

M.methods, M.arg = Pipe, arg

return require("llsocket.core.lazy").keep("llsocket.pipe", M)
