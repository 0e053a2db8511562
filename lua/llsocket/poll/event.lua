-- event.lua -- timers, signals and child exits as descriptors to wait for.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local bit = require "bit"
local ffi = require "ffi"
local C = require "llsocket.core.libc"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local descriptor = require "llsocket.descriptor"
local check = require "llsocket.core.check"
local fcntl = require "llsocket.socket.flags"
local sockets = require "llsocket.socket.object"
local layout = require "llsocket.core.layout"
local failure = require "llsocket.core.failure"
local answer = require "llsocket.socket.answer"
local shortage = require "llsocket.core.shortage"
local poll = require("llsocket.wait").poll
local select, tonumber, type, max = select, tonumber, type, math.max

local errno, floor = ffi.errno, math.floor
local failed, not_received = failure.failed, answer.not_received
local EINVAL, EBADF, EAGAIN, ENOSYS, ECHILD = const.EINVAL, const.EBADF, const.EAGAIN, const.ENOSYS, const.ECHILD
local finalize = shim.llsocket2_finalize

---@class llsocket.event
local Event = check.methods()

local TIMER, SIGNAL, CHILD = 1, 2, 3

local event_t = ffi.metatype("struct { int sd, kind; }", {
  __index = Event,
  __tostring = function(e) return e == nil and "llsocket.event: NULL" or ("llsocket.event: fd %d"):format(e.sd) end,
})

local is_self = check.class(event_t, "llsocket.event")

--- Makes an object that owns nothing yet; see socket/object.lua for the order.
---@param kind integer  TIMER, SIGNAL, CHILD; 0 for what is never read by read()
---@return llsocket.event event
local function new(kind)
  local event = event_t()
  event.sd, event.kind = -1, kind
  return (ffi.gc(event, finalize))
end

local count_cell = ffi.new "uint64_t[1]"
local status_cell = ffi.new "int32_t[1]"
local info_cell = layout.signalfd_siginfo and layout.signalfd_siginfo()

-- Read each cell in the statement of the call: after a branch a finaliser may have read another timer.
local READ = {}

READ[TIMER] = function(event)
  local n, e, count = C.llsocket2_read(event.sd, count_cell, 8), errno(), tonumber(count_cell[0])
  if n < 0 then return nil, e end
  return count
end

READ[SIGNAL] = function(event)
  local n, e, signal = C.llsocket2_read(event.sd, info_cell, ffi.sizeof(info_cell)), errno(), info_cell.ssi_signo
  if n < 0 then return nil, e end
  return signal
end

-- The status has the form that subprocess libraries use: the exit status, or the negative number of the signal that ended
-- the child.
READ[CHILD] = function(event)
  local done, e, status = shim.llsocket2_pidfd_wait(event.sd, status_cell), errno(), status_cell[0]
  if done < 0 and e == ECHILD and poll(event.sd, "r", 0) == false then return nil, EAGAIN end -- no child of ours, but it lives
  if done < 0 then return nil, e end
  if done == 0 then return nil, EAGAIN end
  return status
end

--- Takes what has happened.  A timer answers how often it has run out since the last read, signals answer the number of
--- one, a child answers its exit status, or the negative number of the signal that ended it.  Never blocks.
---@return integer? what
---@return string? err
---@return boolean? again  true: nothing has happened
---@return integer? errno  EAGAIN; ECHILD: somebody else has collected the child; EBADF once closed
function Event:read()
  is_self(self, "read")
  if self.sd < 0 then return not_received(EBADF) end
  local what, e = READ[self.kind](self)
  if e then return not_received(e) end
  return what, nil, false
end

--- Tells the descriptor's number.
---@return integer fd  -1 once closed
function Event:fd()
  is_self(self, "fd")
  return self.sd
end

--- Closes the descriptor; closing twice is harmless.  A signal stays blocked.
---@return string? err
---@return integer? errno  EINTR: the descriptor is closed all the same
function Event:close()
  is_self(self, "close")
  if self.sd < 0 then return end
  local _, err = sockets.closing(self, false)
  local fd = self.sd -- read it only now: a function called above may have closed it, and its number may be in use again
  self.sd = -1
  local e = fd >= 0 and fcntl.close(fd)
  if err then return err end
  if e then return failure.refused(e) end
end

--- Makes an object that owns the descriptor that `call` returns.  The descriptor must go into the object in the statement of
--- the call: if a debug hook raised between the two, nobody would own it.
---@param kind integer
---@param call function
---@param first any
---@param second any
---@return llsocket.event? event
---@return integer? errno
local function born(kind, call, first, second)
  local event = new(kind)
  local e
  event.sd, e = call(first, second), errno()
  if event.sd < 0 then
    if shortage.collected(e) then return born(kind, call, first, second) end
    return nil, e
  end
  shortage.made = shortage.made + 1
  return event
end

-- Each call makes its own: a finaliser may run between two steps of this call and make a timer, too.
local times_t = layout.itimerspec

local function set_time(spec, sec)
  local nsec = floor(sec * 1e9 + 0.5)
  if sec > 0 and nsec == 0 then nsec = 1 end -- 0 would disarm the timer
  spec.tv_sec = floor(nsec / 1e9)
  spec.tv_nsec = nsec - floor(nsec / 1e9) * 1e9
end

local function is_time(sec) return sec >= 0 and sec < 2^31 end

local M = { type = event_t, methods = Event, new = new, born = born }

--- Makes a timer; see timerfd_create(2).
---@param seconds number  until it first runs out, below 2^31; 0 is at once
---@param interval? number  seconds between further times; by default it runs out once
---@return llsocket.event? timer
---@return string? err
---@return integer? errno  EMFILE, EINVAL; ENOSYS on a system without it
function M.timer(seconds, interval)
  check.number(seconds, 1, "timer")
  if type(interval) == "nil" then interval = 0 end
  check.number(interval, 2, "timer")
  if not (is_time(seconds) and is_time(interval)) then return failed(EINVAL) end
  if not const.TFD_CLOEXEC then return failed(ENOSYS) end
  local flags = bit.bor(const.TFD_CLOEXEC, const.TFD_NONBLOCK)
  local event, e = born(TIMER, C.llsocket2_timerfd_create, const.CLOCK_MONOTONIC, flags)
  if not event then return failed(e) end
  local times = times_t()
  set_time(times.it_value, max(seconds, 1e-9))
  set_time(times.it_interval, interval)
  local rc, why = C.llsocket2_timerfd_settime(event.sd, 0, times, nil), errno()
  if rc == 0 then return event end
  event:close()
  return failed(why)
end

-- Each call makes its own: a finaliser may make signals readable while the object of this call is made.
local signals_t = ffi.typeof "int32_t[64]"

--- Makes signals readable instead of deadly; see signalfd(2).  It blocks them in this thread and never unblocks them: the
--- kernel does not give a signal to both a handler and a descriptor.
---@param signal integer  SIG*
---@param ... integer  more of them, at most 64 in all
---@return llsocket.event? signals
---@return string? err
---@return integer? errno  EMFILE, EINVAL; ENOSYS on a system without it
function M.signal(signal, ...)
  local list = { signal, ... }
  local n, signals = max(1, select("#", signal, ...)), signals_t()
  for i = 1, n do
    if not check.int(list[i], i, "signal") or n > 64 then return failed(EINVAL) end
    signals[i - 1] = list[i]
  end
  local event, e = born(SIGNAL, shim.llsocket2_signalfd, signals, n)
  if not event then return failed(e) end
  return event
end

local function pidfd(pid) return shim.llsocket2_pidfd(pid) end

local F_DUPFD_CLOEXEC = const.F_DUPFD_CLOEXEC
local F_DUPFD = F_DUPFD_CLOEXEC or const.F_DUPFD
local function duplicate(fd) return shim.llsocket2_fcntl(fd, F_DUPFD, 0) end
local is_descriptor = check.is(descriptor.type)

-- The event has a descriptor of its own: the program may close the other.
local function child_of(process)
  if process.sd < 0 then return nil, EBADF end
  local is, e = shim.llsocket2_pidfd_is(process.sd), errno()
  if is == 0 then return nil, e == EBADF and EINVAL or e end -- EBADF: it is open, but no process
  local event
  event, e = born(CHILD, duplicate, process.sd)
  if event and not F_DUPFD_CLOEXEC then e = fcntl.set_cloexec(event.sd, true) end
  if not event or e then return nil, e end
  return event
end

--- Makes a process's end something to wait for; see pidfd_open(2).
---@param pid integer|llsocket.descriptor  a child that nobody can have collected yet; or the descriptor of any process, from
---peerpidfd or SCM_PIDFD, which remains the caller's: read tells how it ended if it is a child, otherwise ECHILD then
---@return llsocket.event? child
---@return string? err
---@return integer? errno  ESRCH, EMFILE; EINVAL, also for a descriptor that is no process; EBADF for one that is closed; ENOSYS
---on a system without it
function M.child(pid)
  local event, e
  if is_descriptor(pid) then
    event, e = child_of(pid)
  else
    if type(pid) ~= "number" then check.bad(1, "child", "number or descriptor", pid) end
    if not check.int(pid, 1, "child") or pid < 1 then return failed(EINVAL) end
    event, e = born(CHILD, pidfd, pid)
  end
  if not event then return failed(e) end
  return event
end

return M
