-- coroutine.lua -- a loop for coroutines: spawn, run, wait, sleep, cancel, join.
--
-- kernel.lua tells which descriptor is ready, timers.lua which time has come, waiters.lua and pause.lua who waits for what,
-- queue.lua who runs next; mending.lua puts right what an error in the midst has left.
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
local mending = require "llsocket.wait.mending"
local pause = require "llsocket.wait.pause"
local queue = require "llsocket.wait.queue"
local results = require "llsocket.wait.results"
local timers = require "llsocket.wait.timers"
local waiters = require "llsocket.wait.waiters"
local error, ipairs, select, type, unpack, xpcall = error, ipairs, select, type, unpack, xpcall
local create, getinfo, traceback = coroutine.create, debug.getinfo, debug.traceback

local now, told_r, told_w = shim.llsocket2_now, kernel.reads, kernel.writes
local take, readable = kernel.take, kernel.readable
local enqueue, make_room, need_room, is_empty = queue.enqueue, queue.make_room, queue.need_room, queue.is_empty
local run_queue = queue.run
local finish, waited, lost, count = waiters.finish, waiters.waited, waiters.lost, waiters.count
local readers, writers, W_BASE = waiters.readers, waiters.writers, waiters.W_BASE
local band, ceil, max, min = bit.band, math.ceil, math.max, math.min
local resume, running, status = coroutine.resume, coroutine.running, coroutine.status
local ECANCELED, EINTR = const.ECANCELED, const.EINTR
local READABLE = readiness.READ + readiness.HANGUP + readiness.HALF + readiness.ERROR
local WRITABLE = readiness.WRITE + readiness.HANGUP + readiness.ERROR
local IDLE = 1000 -- milliseconds

local is_running, runner, complain = false, nil, nil

-- is_torn: an error came in the midst of the loop's own steps.  reported: the last error of a coroutine that run raised.
local is_torn, reported = false, nil

local M = { sleep = pause.sleep, join = pause.join, wait = waiters.wait }

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
  local is_queued, start = queue.find(co)
  if is_queued then return type(start) == "table" end
  return results.has(co)
end

pause.is_ours = is_ours

--- Ends what a coroutine waits for: wait, sleep or join answers it nil, a text and ECANCELED.
---@param co thread
---@return boolean canceled  false: it does not wait in this loop, or is about to go on
function M.cancel(co)
  if type(co) ~= "thread" then check.bad(1, "cancel", "thread", co) end
  return pause.cancel(co, ECANCELED) or waiters.cancel(co, ECANCELED)
end

-- Tells whether a coroutine ended before it was resumed in vain: it was noted, or in the queue, when it caught an error.
local function was_dead(co, err)
  return err == "cannot resume dead coroutine" and (results.has(co) or not is_ours(co))
end

local function report(co, err)
  waiters.forget(co)
  if was_dead(co, err) then return end
  local text = traceback(co, sockets.text_of(err))
  if is_ours(co) then results.failed(co, text) end
  if pause.ended(co) then return end
  reported = text
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
  need_room()
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
    if type(id) == "table" then pause.expire(id) else waiters.expire(id) end
    make_room()
    id = timers.due(t)
  end
end

local function patience(t)
  if not is_empty() then return 0 end
  if not t then return -1 end
  return min(max(ceil((timers.first() - t) * 1000), 0), waiting.LONGEST)
end

-- Looks for what errors have left behind that coroutines caught.
local function tidy()
  timers.mend()
  pause.prune()
  waiters.forget()
  waiters.wake_lost()
end

-- Answers how many events there are, or -1 and the errno; and the time before the wait, where there are timers.  A loop that
-- has nothing to do for a second looks whether those whom it waits for are still there.
local function wait_for_events()
  local t = timers.first() and now()
  local milliseconds = patience(t)
  if milliseconds >= 0 and milliseconds <= IDLE then
    local n, e = kernel.wait(milliseconds)
    return n, e, t
  end
  local n, e = kernel.wait(IDLE)
  if n ~= 0 then return n, e, t end
  tidy()
  t = timers.first() and now()
  n, e = kernel.wait((count() > 0 or pause.n > 0) and patience(t) or 0)
  return n, e, t
end

-- Resumes straight from the events, without a queue in between.  Events come before times: where a socket is ready in time,
-- its wait does not run out because the process was busy.
local function run_events()
  local n, e, t = wait_for_events()
  if n < 0 and e ~= EINTR then error("llsocket.wait.coroutine: " .. failure.texts[e], 0) end
  for _ = 1, n do
    local fd = readable(readers)
    local co = fd and finish(readers, 0, fd) or next_waiter()
    if co then
      local ok, err = resume(co, true)
      if not ok then report(co, err) end
    end
  end
  if t then expire(n > 0 and t or now()) end
end

-- The events that an error left behind.
local function queue_rest()
  while kernel.left() > 0 do
    local co = next_waiter()
    if co then enqueue(co, true) end
  end
end

-- Puts right what an error in the midst of the loop's own steps has left; may be done again where another comes.
local function mend()
  kernel.distrust()
  timers.rebuild()
  is_torn = false
end

-- Tells whether nobody is left; counts again, for an error may have left the counts too low.
local function is_over()
  pause.prune()
  waiters.forget()
  return count() == 0 and pause.n == 0 and is_empty()
end

-- Looks at the queue last: what a debug hook closes or cancels meanwhile goes from the waiters into the queue.
local function loop()
  waiting.lend(M.wait)
  if is_torn then mend() end
  if kernel.left() > 0 then queue_rest() end
  repeat
    while count() > 0 or pause.n > 0 or not is_empty() do
      if not is_empty() then run_queue(go_on) end
      if count() > 0 or pause.n > 0 then run_events() end
    end
  until is_over()
  timers.clear()
  kernel.close()
  waiting.give_back()
end

-- Takes back a coroutine that the loop had in its hand.
local function take_back(co, told, fn)
  if status(co) == "dead" then
    if is_ours(co) and not results.has(co) then results.failed(co, "") end
    return pause.ended(co)
  end
  if fn == finish then waiters.forget(co) end
  if status(co) ~= "suspended" or queue.find(co) or pause.has(co) or waiters.has(co) then return end
  make_room()
  if type(told) == "nil" then told = true end
  enqueue(co, told)
end

-- Looks whom the loop had in its hand when an error interrupted it.
local function rescue(err)
  waiting.give_back()
  if err == reported then return err end
  is_torn = true
  for _, one in ipairs(mending.in_hand(loop)) do take_back(one.co, one.answer, one.fn) end
  return err
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
  local ok, err = xpcall(loop, rescue)
  if not ok then waiting.give_back() end -- where memory runs out, LuaJIT calls no handler
  is_running, runner, complain = false, nil, nil
  if not ok then error(err, 0) end
end

--- Tells the time of the clock by which the loop's times run: it only goes forward, and has no relation to the date.
---@return number seconds
function M.now() return now() end

return M
