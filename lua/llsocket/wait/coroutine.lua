-- coroutine.lua -- a loop for coroutines: spawn, run, wait, sleep, cancel, join.
--
-- kernel.lua tells which descriptor is ready, timers.lua which time has come.  Here is who waits for what.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local bit = require "bit"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local failure = require "llsocket.core.failure"
local sockets = require "llsocket.socket.object"
local readiness = require "llsocket.poll.bits"
local waiting = require "llsocket.wait"
local kernel = require "llsocket.wait.kernel"
local pause = require "llsocket.wait.pause"
local results = require "llsocket.wait.results"
local timers = require "llsocket.wait.timers"
local error, pcall, select, type, unpack = error, pcall, select, type, unpack
local create, getinfo, traceback = coroutine.create, debug.getinfo, debug.traceback

local now, failed, take, limits = shim.llsocket2_now, failure.failed, kernel.take, timers.at
local band, bor, ceil, max, min = bit.band, bit.bor, math.ceil, math.max, math.min
local resume, running, yield = coroutine.resume, coroutine.running, coroutine.yield
local is_socket, told_r, told_w = check.is(sockets.type), kernel.reads, kernel.writes
local EBADF, EBUSY, ECANCELED, EINTR = const.EBADF, const.EBUSY, const.ECANCELED, const.EINTR
local READ, WRITE = readiness.READ, readiness.WRITE
local READABLE = READ + readiness.HANGUP + readiness.HALF + readiness.ERROR
local WRITABLE = WRITE + readiness.HANGUP + readiness.ERROR

-- By descriptor: the coroutine that waits, or false.
local readers, writers = {}, {}
local WAITS, TOLD, BIT = { r = readers, w = writers }, { r = told_r, w = told_w }, { r = READ, w = WRITE }

-- The ids of timers.lua are the descriptors of those who wait to read, and these numbers above for those who wait to write.
-- Do not make them negative: LuaJIT does not compile a negative key of a table that is also an array.
local W_BASE = 2^26
local BASE = { r = 0, w = W_BASE }

local is_running, runner, waiters, complain = false, nil, 0, nil

-- The coroutines to run in the next round, each followed by the answer of its wait.  A new one is followed by its function and
-- arguments.
local queue, first, last = {}, 1, 0

local function enqueue(co, answer)
  queue[last + 1], queue[last + 2] = co, answer
  last = last + 2
end

pause.enqueue = enqueue

-- Makes the places for two coroutines.  Where memory runs out it must do so before an event, a time or a wait is taken, or a
-- coroutine is lost: it would neither wait nor be in the queue.
local function make_room()
  queue[last + 1], queue[last + 2], queue[last + 3], queue[last + 4] = false, false, false, false
end

-- Ends a wait; answers the coroutine, or false.
local function finish(waits, base, fd)
  local co, id = waits[fd], base + fd
  if not co then return false end
  if limits[id] then limits[id] = false end
  waits[fd] = false
  waiters = waiters - 1
  return co
end

local function wake(waits, base, fd, answer)
  if not waits[fd] then return end
  make_room()
  enqueue(finish(waits, base, fd), answer)
end

local function waited(fd) return bor(readers[fd] and READ or 0, writers[fd] and WRITE or 0) end

local function lost(fd, e)
  wake(readers, 0, fd, e)
  wake(writers, W_BASE, fd, e)
end

kernel.waited, kernel.lost = waited, lost

-- Makes the place before it counts: memory may run out.  Counts before it notes: a debug hook that closes the socket in between
-- finds nobody to wake.
local function note(waits, fd, co)
  waits[fd] = false
  waiters = waiters + 1
  waits[fd] = co
end

-- Registers what is not yet told, and notes that `co` waits; answers the errno.
local function begin(co, fd, direction, sock)
  local waits, bits, holds = WAITS[direction], bor(waited(fd), BIT[direction]), sock and kernel.holds(fd, sock)
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

-- The other arguments are kept alive by being arguments: a tail call with nothing after the yield would drop them.
local function answer(told)
  if told == true then return true end
  if type(told) == "number" then return failed(told) end
  return told
end

local M = { sleep = pause.sleep, join = pause.join }

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
  if sec and WAITS[direction][fd] == co then timers.set(BASE[direction] + fd, now() + sec) end
  return answer(yield(), x, sock)
end

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
  local told = TOLD[direction]
  local number, co, is_main = told and told[x], running()
  if not (number and co and is_socket(sock)) or is_main then return wait(x, direction, sec, sock) end
  local waits = WAITS[direction]
  local is_odd = type(sec) ~= "nil" and (type(sec) ~= "number" or not (sec > 0 and sec < 2^31))
  if number ~= sock.about.registration or waits[x] or is_odd then return wait(x, direction, sec, sock) end
  if sec then timers.set(BASE[direction] + x, now() + sec) end
  waiters = waiters + 1
  waits[x] = co
  if told[x] ~= number and waits[x] == co then -- as at the end of `begin`
    finish(waits, BASE[direction], x)
    return failed(EBADF)
  end
  return answer(yield(), sock)
end

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

local function ended(...)
  local co = running()
  results.done(co, ...)
  pause.ended(co)
end

local function main(fn, ...) return ended(fn(...)) end

--- Makes a coroutine, which run starts.
---@param fn function
---@param ... any  its arguments
---@return thread co
function M.spawn(fn, ...)
  if type(fn) ~= "function" then check.bad(1, "spawn", "function", fn) end
  local co = create(main)
  enqueue(co, { fn = fn, n = select("#", ...), ... })
  return co
end

-- Tells whether spawn made a coroutine: it has results, or `main` is its first function, or it is yet to start.
local function is_ours(co)
  local level, info = 0, nil
  repeat
    local fn = info and info.func
    level, info = level + 1, getinfo(co, level, "f")
    if not info and fn == main then return true end
  until not info
  for i = first, last, 2 do
    if queue[i] == co then return type(queue[i + 1]) == "table" end
  end
  return results.has(co)
end

pause.is_ours = is_ours

--- Ends what a coroutine waits for: wait, sleep or join answers it nil, a text and ECANCELED.
---@param co thread
---@return boolean canceled  false: it does not wait in this loop, or is about to go on
function M.cancel(co)
  if type(co) ~= "thread" then check.bad(1, "cancel", "thread", co) end
  if pause.cancel(co, ECANCELED) then return true end
  for fd = 0, kernel.highest() do
    local direction = readers[fd] == co and "r" or writers[fd] == co and "w"
    if direction then
      wake(WAITS[direction], BASE[direction], fd, ECANCELED)
      return true
    end
  end
  return false
end

-- An error between the steps that begin a wait, as when memory runs out, leaves a coroutine noted that has ended, or the count
-- wrong.
local function forget_waits(co)
  local n = 0
  pause.forget(co)
  for fd = 0, kernel.highest() do
    if readers[fd] == co then finish(readers, 0, fd) end
    if writers[fd] == co then finish(writers, W_BASE, fd) end
    n = n + (readers[fd] and 1 or 0) + (writers[fd] and 1 or 0)
  end
  waiters = n
end

local function report(co, err)
  forget_waits(co)
  local text = traceback(co, sockets.text_of(err))
  if is_ours(co) then results.failed(co, text) end
  if pause.ended(co) then return end
  if not complain then error(text, 0) end
  complain(text, co)
end

local function go_on(co, told)
  local ok, err
  if type(told) == "table" then
    ok, err = resume(co, told.fn, unpack(told, 1, told.n))
  else
    ok, err = resume(co, told)
  end
  if not ok then report(co, err) end
end

-- Runs all coroutines that are in the queue now.  Those that they add wait for the next round, so that none can starve the
-- others.
local function run_queue()
  local stop = last
  while first <= stop do
    local co, told = queue[first], queue[first + 1]
    queue[first], queue[first + 1] = nil, nil
    first = first + 2
    go_on(co, told)
  end
  if first > last then first, last = 1, 0 end
end

-- Looks at both directions before any coroutine runs: one that runs may wait again or close at once.  What the kernel told and
-- nobody waits for is not asked for any more: it would be told without end.
local function tell(fd, ready)
  local can_read, can_write = band(ready, READABLE) ~= 0, band(ready, WRITABLE) ~= 0
  local asked_r, asked_w = told_r[fd], told_w[fd]
  local r, w = can_read and finish(readers, 0, fd), can_write and finish(writers, W_BASE, fd)
  local left = waited(fd)
  if not (asked_r or asked_w) then
    local e = left ~= 0 and kernel.once(fd, left)
    if e then lost(fd, e) end
  elseif can_read and asked_r and not r or can_write and asked_w and not w or not (r or w) then
    kernel.change(fd, left)
  end
  if r and w then enqueue(w, true) end
  return r or w
end

-- Answers the coroutine that the next event wakes; nil or false where it wakes none.
local function next_waiter()
  if queue[last + 4] == nil then make_room() end
  local fd, ready = take()
  if not fd then return nil end
  if told_r[fd] and band(ready, WRITABLE) == 0 and readers[fd] then return finish(readers, 0, fd) end
  return tell(fd, ready)
end

-- Ends the waits whose time has come.
local function expire(t)
  make_room()
  local id = timers.due(t)
  while id do
    if type(id) == "table" then
      pause.expire(id)
    elseif id < W_BASE then
      wake(readers, 0, id, false)
    else
      wake(writers, W_BASE, id - W_BASE, false)
    end
    make_room()
    id = timers.due(t)
  end
end

local function patience(t)
  if first <= last then return 0 end
  if not t then return -1 end
  return min(max(ceil((timers.first() - t) * 1000), 0), waiting.LONGEST)
end

-- Answers how many events there are, or -1 and the errno; and the time before the wait, where there are timers.
local function wait_for_events()
  local t = timers.first() and now()
  local n, e = kernel.wait(patience(t))
  return n, e, t
end

-- Resumes straight from the events, without a queue in between.  Events come before times: where a socket is ready in time,
-- its wait does not run out because the process was busy.
local function run_events()
  local n, e, t = wait_for_events()
  if n < 0 and e ~= EINTR then error("llsocket.wait.coroutine: " .. failure.texts[e], 0) end
  for _ = 1, n do
    local co = next_waiter()
    if co then
      local ok, err = resume(co, true)
      if not ok then report(co, err) end
    end
  end
  if t then expire(n > 0 and t or now()) end
end

-- Looks at the queue last: what a debug hook closes or cancels meanwhile goes from the waiters into the queue.
local function loop()
  while waiters > 0 or pause.n > 0 or first <= last do
    if first <= last then run_queue() end
    if waiters > 0 or pause.n > 0 then run_events() end
  end
  timers.clear()
  kernel.close()
end

-- The events that an error left behind.
local function queue_rest()
  while kernel.left() > 0 do
    local co = next_waiter()
    if co then enqueue(co, true) end
  end
end

-- Tells whether the loop runs.  An error of a debug hook at the edges of run leaves is_running set, so the stack has the last
-- word.  From a coroutine the stack of the main thread cannot be seen.
local function runs()
  if not is_running or not runner and running() then return is_running end
  local level = 0
  while true do
    local info
    if runner then info = getinfo(runner, level, "f") else info = getinfo(level, "f") end
    if not info or info.func == loop then return info ~= nil end
    level = level + 1
  end
end

pause.runs = runs

local function handler(value)
  if type(value) == "table" then value = value.onerror end
  if type(value) ~= "nil" and type(value) ~= "function" then check.bad(1, "run", "function or table with onerror", value) end
  return value
end

--- Runs until no coroutine waits or is ready to run.  While it runs, recvable and sendable wait in this loop unless the
--- program has set another way.  Raises an error that a coroutine raised, with its traceback; the other coroutines are
--- unharmed, and run may be called again.
---@param onerror? fun(err: string, co: thread)|{ onerror: fun(err: string, co: thread) }  is told of the errors instead, and
---run goes on
function M.run(onerror)
  local fn = handler(onerror)
  if runs() then error("llsocket.wait.coroutine is running", 2) end
  is_running, runner, complain = true, running(), fn
  waiting.lend(M.wait)
  local ok, err = pcall(loop)
  waiting.give_back()
  is_running, runner, complain = false, nil, nil
  if ok then return end
  queue_rest()
  error(err, 0)
end

--- Tells the time of the clock by which the loop's times run: it only goes forward, and has no relation to the date.
---@return number seconds
function M.now() return now() end

return M
