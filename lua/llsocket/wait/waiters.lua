-- waiters.lua -- who waits for which descriptor in the loop of coroutines.
--
-- An error may come between any two steps here: of a debug hook, or because memory ran out.  The order of the steps leaves
-- states that can be put right: somebody who waits is noted, or in the queue, or both; and the count is never too high, or the
-- loop would wait for ever.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local bit = require "bit"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local sockets = require "llsocket.socket.object"
local readiness = require "llsocket.poll.bits"
local waiting = require "llsocket.wait"
local kernel = require "llsocket.wait.kernel"
local mending = require "llsocket.wait.mending"
local queue = require "llsocket.wait.queue"
local timers = require "llsocket.wait.timers"
local failed = require("llsocket.core.failure").failed
local type = type

local now, limits, enqueue, make_room = shim.llsocket2_now, timers.at, queue.enqueue, queue.make_room
local running, status, yield = coroutine.running, coroutine.status, require("llsocket.wait.yielding").yield
local bor, is_socket, told_r, told_w = bit.bor, check.is(sockets.type), kernel.reads, kernel.writes
local EBADF, EBUSY, READ, WRITE = const.EBADF, const.EBUSY, readiness.READ, readiness.WRITE

-- By descriptor: the coroutine that waits, or false.
local readers, writers = {}, {}
local WAITS, TOLD, BIT = { r = readers, w = writers }, { r = told_r, w = told_w }, { r = READ, w = WRITE }

-- The ids of timers.lua are the descriptors of those who wait to read, and these numbers above for those who wait to write.
-- Do not make them negative: LuaJIT does not compile a negative key of a table that is also an array.
local W_BASE = 2^26
local BASE = { r = 0, w = W_BASE }
local waiters = 0 -- how many; after an error fewer than there are

--- Ends a wait.  Counts first: where an error comes in between, the count is too low, which the loop finds before it ends; one
--- that is too high would let it wait for ever.
---@param waits (thread|false)[]  by descriptor
---@param base integer  what the ids of their times have more than the descriptor
---@param fd integer
---@return thread|false co  who waited
local function finish(waits, base, fd)
  local co, id = waits[fd], base + fd
  if not co then return false end
  waiters = waiters - 1
  if limits[id] then limits[id] = false end
  waits[fd] = false
  return co
end

local function wake(waits, base, fd, answer)
  local co = waits[fd]
  if not co then return end
  make_room()
  enqueue(co, answer)
  finish(waits, base, fd)
end

--- Tells what somebody waits for.
---@param fd integer
---@return integer bits
local function waited(fd) return bor(readers[fd] and READ or 0, writers[fd] and WRITE or 0) end

--- Wakes those who wait for a descriptor, with an errno.
---@param fd integer
---@param e integer
local function lost(fd, e)
  wake(readers, 0, fd, e)
  wake(writers, W_BASE, fd, e)
end

kernel.waited, kernel.lost = waited, lost

-- Memory may run out in the first step only.  Counts last, as `finish` tells.
local function note(waits, fd, co)
  waits[fd] = co
  waiters = waiters + 1
end

-- Registers what is not yet told, and notes that `co` waits; answers the errno.
local function begin(co, fd, direction, sock)
  local waits = WAITS[direction]
  if waits[fd] and (waits[fd] == co or status(waits[fd]) == "dead") then finish(waits, BASE[direction], fd) end
  local bits, holds = bor(waited(fd), BIT[direction]), sock and kernel.holds(fd, sock)
  if waits[fd] and (holds or not sock) then return EBUSY end
  local e, is_new
  if not sock then
    e = kernel.once(fd, bits)
  elseif not holds then
    e, is_new = kernel.register(fd, bits, sock)
  end
  if e then return e end
  if is_new then lost(fd, EBADF) end
  if waits[fd] then return EBUSY end
  note(waits, fd, co)
  e = holds and not TOLD[direction][fd] and kernel.change(fd, bits) or nil
  if not e and sock and sock.sd ~= fd then e = kernel.closed(fd, sock) end
  if e and finish(waits, BASE[direction], fd) then return e end -- else it was woken meanwhile: its answer is in the queue
end

-- Somebody resumed a coroutine that is still noted: what an error has left, mostly.  It waits on, unless its wait has ended.
local function remain(told, waits, fd, co)
  while told == true or told == EBADF and kernel.has(fd) do
    told = yield()
    if waits[fd] ~= co then return told end
  end
  finish(waits, waits == readers and 0 or W_BASE, fd)
  return told
end

-- The other arguments are kept alive by being arguments: a tail call with nothing after the yield would drop them.
local function answer(told)
  if told == true then return true end
  if type(told) == "number" then return failed(told) end
  return told
end

local M = { readers = readers, writers = writers, W_BASE = W_BASE, finish = finish, waited = waited, lost = lost }

-- Waits where the descriptor may have to be registered, and checks all arguments.
local function wait(x, direction, sec, sock)
  local fd = x
  if is_socket(x) then fd, sock = x.sd, x elseif type(x) ~= "number" then fd = waiting.number_of(x, "wait") end
  if sock and not (is_socket(sock) and sock.sd == fd) then sock = nil end
  local co = waiting.sleeper(fd, direction, sec)
  if not co then return waiting.poll(fd, direction, sec) end
  local e = begin(co, fd, direction, sock)
  if e then return failed(e) end
  -- A coroutine that begin() has woken with an error waits no longer: its limit would end the next wait.
  local waits = WAITS[direction]
  if sec and waits[fd] == co then timers.set(BASE[direction] + fd, now() + sec) end
  local told = yield()
  if waits[fd] == co then told = remain(told, waits, fd, co) end
  return answer(told, x, sock)
end

-- Closed while its wait began; as at the end of `begin`.
local function vanished(waits, base, fd, co)
  if waits[fd] == co then
    finish(waits, base, fd)
    return failed(EBADF)
  end
  if limits[base + fd] then limits[base + fd] = false end
  return answer(yield())
end

-- Makes the wait for sockets that are registered; others go to `wait`.  Between running() and yield(), which are not compiled,
-- is one trace, and little of it stands on the stack, which with many coroutines is in no cache.
local function shortcut(direction)
  local told, waits, base = TOLD[direction], WAITS[direction], BASE[direction]
  return function(sock, sec)
    local co, is_main = running()
    local fd = sock.sd
    local number = told[fd]
    if not number or number ~= sock.about.registration or waits[fd] or not co or is_main then
      return wait(sock, direction, sec)
    end
    waits[fd] = co
    waiters = waiters + 1
    if sec then timers.set(base + fd, now() + sec) end
    if told[fd] ~= number then return vanished(waits, base, fd, co) end
    local value = yield()
    if waits[fd] == co then value = remain(value, waits, fd, co) end
    return answer(value, sock)
  end
end

local QUICK = { r = shortcut "r", w = shortcut "w" }

--- Waits in the calling coroutine, while run lets others run; outside a coroutine with poll(2).
---@param x integer|llsocket.socket|any  a descriptor, or whatever has a method `fd` or `getfd`; it is kept during the wait
---@param direction "r"|"w"
---@param sec? number  seconds, below 2^31; the default is for ever
---@param sock? llsocket.socket  the socket of the descriptor: recvable and sendable pass it
---@return boolean? ready  false: the time ran out
---@return string? err
---@return integer? errno  EBADF, also when the socket is closed during the wait; EBUSY: another coroutine waits for the
---same descriptor and direction; ECANCELED; EMFILE, EPERM: a regular file; EINVAL
function M.wait(x, direction, sec, sock)
  local quick = QUICK[direction]
  local is_quick = quick and type(x) == "number" and is_socket(sock) and sock.sd == x and waiting.is_plain(sec)
  if is_quick then return quick(sock, sec) end
  return wait(x, direction, sec, sock)
end

waiting.shorten(M.wait, QUICK.r, QUICK.w)

local function number_before(object)
  if type(object) == "table" then return object:fd() end -- a poller
  return object.sd
end

-- Do not use pairs here: LuaJIT could not compile the code that closes a socket.
sockets.before_close(function(object)
  local fd = number_before(object)
  kernel.forget(fd)
  lost(fd, EBADF)
end)

--- Tells how many wait; after an error in the midst of a wait's steps it may be fewer than there are.
---@return integer n
function M.count() return waiters end

--- Ends the wait of a coroutine for whatever it waits for.
---@param co thread
---@param e integer  the errno that it is told
---@return boolean ended  false: it does not wait
function M.cancel(co, e)
  for fd = 0, kernel.highest() do
    local direction = readers[fd] == co and "r" or writers[fd] == co and "w"
    if direction then
      wake(WAITS[direction], BASE[direction], fd, e)
      return true
    end
  end
  return false
end

--- Ends the wait whose time has run out.
---@param id integer  of timers.lua
function M.expire(id)
  if id < W_BASE then wake(readers, 0, id, false) else wake(writers, W_BASE, id - W_BASE, false) end
  if limits[id] then limits[id] = false end -- nobody waited
end

--- Forgets the waits of a coroutine that has ended, and counts.  An error between the steps that begin a wait leaves a coroutine
--- noted that has ended, or the count wrong.
---@param co? thread  nil: of all that have ended
function M.forget(co)
  local top = kernel.highest()
  waiters = mending.prune(readers, 0, top, limits, co) + mending.prune(writers, W_BASE, top, limits, co)
end

--- Tells whether a coroutine waits.
---@param co thread
---@return boolean
function M.has(co)
  local top = kernel.highest()
  return mending.is_noted(readers, top, co) or mending.is_noted(writers, top, co)
end

--- Wakes those who wait for what is not registered: an error came while it was closed.
function M.wake_lost()
  for fd = 0, kernel.highest() do
    if waited(fd) ~= 0 and not kernel.has(fd) then lost(fd, EBADF) end
  end
end

return M
