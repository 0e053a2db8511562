-- waker.lua -- what wakes a poller: an eventfd, or a pipe on systems without one.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local bit = require "bit"
local ffi = require "ffi"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local descriptor = require "llsocket.descriptor"
local event = require "llsocket.poll.event"
local failed = require("llsocket.core.failure").failed
local fcntl = require "llsocket.socket.flags"
local shortage = require "llsocket.core.shortage"

local errno, EAGAIN = ffi.errno, const.EAGAIN
local WAKER = 0 -- no kind of event.lua's: nobody calls read() on it

-- The write end of a pipe.  The waker itself is the read end and keeps the write end alive.
local others = setmetatable({}, { __mode = "k" })
local two_t = ffi.typeof "int[2]" -- one for each call: a debug hook would leave its numbers in a shared one

local function pipe_waker()
  local waker, other, cell = event.new(WAKER), descriptor.new(), two_t()
  local rc, e = C.llsocket2_pipe(cell), errno()
  if rc < 0 then
    if shortage.collected(e) then return pipe_waker() end
    return nil, e
  end
  local read_end, write_end = cell[0], cell[1]
  waker.sd, other.sd = read_end, write_end
  shortage.made, others[waker] = shortage.made + 2, other
  e = fcntl.set_cloexec(read_end, true) or fcntl.set_nonblock(read_end, true)
    or fcntl.set_cloexec(write_end, true) or fcntl.set_nonblock(write_end, true)
  if e then return nil, e end
  return waker
end

local M = {}

--- Makes what wakes a poller.
---@return llsocket.event? waker  readable while a wake-up waits to be taken
---@return integer? errno  EMFILE
function M.new()
  if not const.EFD_CLOEXEC then return pipe_waker() end
  return event.born(WAKER, C.llsocket2_eventfd, 0, bit.bor(const.EFD_CLOEXEC, const.EFD_NONBLOCK))
end

--- Tells the descriptor to write to.
---@param waker llsocket.event
---@return integer fd  -1 once closed
function M.fd(waker)
  local other = others[waker]
  return other and other.sd or waker.sd
end

--- Closes both ends.
---@param waker llsocket.event
function M.close(waker)
  local other = others[waker]
  if other then other:close() end
  waker:close()
end

local one_cell = ffi.new("uint64_t[1]", 1)

--- Wakes the poller.  If the pipe or counter is full, the poller is awake already.
---@param waker llsocket.event
---@return boolean? woken
---@return string? err
---@return integer? errno  EBADF once closed
function M.wake(waker)
  local n, e = C.llsocket2_write(M.fd(waker), one_cell, 8), errno()
  if n < 0 and e ~= EAGAIN then return failed(e) end
  return true
end

local drain_cell = ffi.new "uint8_t[512]"

--- Takes all wake-ups; a pipe may hold many.
---@param waker llsocket.event
function M.drain(waker)
  repeat local n = C.llsocket2_read(waker.sd, drain_cell, 512) until n < 512
end

return M
