-- luv.lua -- waits in coroutines over libuv's loop, which uv.run drives.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local uv = require "luv"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local sockets = require "llsocket.socket.object"
local waiting = require "llsocket.wait"
local error, rawequal, tostring, type, traceback = error, rawequal, tostring, type, debug.traceback

local now = shim.llsocket2_now
local ceil, resume, running = math.ceil, coroutine.resume, coroutine.running
local yield = require("llsocket.wait.yielding").yield
local is_socket = check.is(sockets.type)
local EBADF, EBUSY, EINVAL = const.EBADF, const.EBUSY, const.EINVAL

-- watches[fd]: one entry for both directions, because libuv has one handle for both.  An entry is kept for the next wait; its
-- stopped handle holds only the number, and does not keep the descriptor open.
--   poll, tell   libuv's handle and its callback
--   r, w         the coroutine that waits to read, to write
--   word         the directions for which the handle is started; "" when it is stopped
--   sock         the socket for which it is started; nil for a bare number
--   timers       the timer of each direction
--
-- The handle of a socket stays started while a coroutine runs that was told of an event.  Mostly it waits for the same socket
-- next, and makes no system call then; a stop and a start make three.  If it waits for something else, the handle is stopped.
-- Keep `sock` until then: if the collector closed it, its number could go to a handle of the program, which libuv would not
-- watch while ours is started.
local watches = {}

-- What libuv tells, by direction.
local READS, WRITES = { r = true, rw = true }, { w = true, rw = true }

-- Continues a coroutine; answers the text of its error.
local function advance(co, answer)
  local ok, err = resume(co, answer)
  return not ok and traceback(co, tostring(err)) or nil
end

-- Raises an error of the coroutine, like an error in a callback of libuv.
local function wake(co, answer)
  local err = advance(co, answer)
  if err then error(err, 0) end
end

-- The directions that a coroutine waits for now.
local function wanted(entry) return entry.r and (entry.w and "rw" or "r") or entry.w and "w" or "" end

local function halt(timer)
  if not (timer and timer.due) then return end
  timer.due = nil
  timer.handle:stop()
end

-- Stops all that is started for an entry; the loop of libuv ends when nothing is started.
local function stop(entry)
  if entry.word ~= "" then entry.poll:stop() end
  entry.word, entry.sock = "", nil
  halt(entry.timers.r)
  halt(entry.timers.w)
end

-- Makes libuv watch the directions that a coroutine waits for now; answers the errno, or nil.
local function watch(entry, sock)
  local word = wanted(entry)
  if word == "" then return stop(entry) end
  local ok, _, name = entry.poll:start(word, entry.tell)
  if not ok then return const[name] or EINVAL end
  entry.word, entry.sock = word, sock
end

-- Ends the wait of one direction; answers its coroutine, or nil where none waits.
local function release(entry, direction)
  local co, timer = entry[direction], entry.timers[direction]
  entry[direction] = nil
  if timer then timer.at = nil end
  return co
end

-- Look at both directions before any coroutine runs: one that runs may wait again at once.
local function told(entry, r, w)
  local reader, writer = r and release(entry, "r"), w and release(entry, "w")
  if not entry.sock then watch(entry) end -- a coroutine may close the number and not say so
  local first = reader and advance(reader, true)
  local second = writer and advance(writer, true)
  if not (entry.r or entry.w) then
    stop(entry)
  elseif r and not reader or w and not writer then
    watch(entry, entry.sock)
  end
  if first or second then error(first or second, 0) end
end

-- An error counts as ready: the next call on the socket will report it.  Libuv has stopped the handle then, but not told the
-- kernel.
local function tell(entry, err, events)
  if not err then return told(entry, READS[events], WRITES[events]) end
  entry.poll:stop()
  entry.word, entry.sock = "", nil
  told(entry, true, true)
end

local function new_watch(fd)
  local poll, _, name = uv.new_poll(fd)
  if not poll then return nil, const[name] or EINVAL end
  local entry = { poll = poll, word = "", timers = {} }
  function entry.tell(err, events) tell(entry, err, events) end
  watches[fd] = entry
  return entry
end

-- Add 1 ms, so that few timers run out too early: libuv counts whole milliseconds, from when it last looked at the clock.
local function run_timer(timer, sec)
  timer.due = now() + sec
  timer.handle:start(sec > 0 and ceil(sec * 1000) + 1 or 0, 0, timer.run)
end

-- Stop the handle before the coroutine runs: after a time-out the socket may be collected at once.
local function run_out(entry, direction, timer)
  timer.due = nil
  local left, answer = timer.at and timer.at - now(), timer.answer
  if not left then return end
  if left > 0 then return run_timer(timer, left) end
  local co = release(entry, direction)
  watch(entry, entry.sock)
  wake(co, answer)
end

local function timer_of(entry, direction)
  local timer = entry.timers[direction]
  if not timer then
    timer = { handle = uv.new_timer() }
    function timer.run() run_out(entry, direction, timer) end
    entry.timers[direction] = timer
  end
  return timer
end

-- A function of its own, so that it is compiled also where a coroutine waits, which is not.
local function after(sec) return now() + sec end

-- Ends the wait of a direction after a time.  A timer that an earlier wait has started is left as it is, unless it would run out
-- too late; if it runs out too early, it is started again.
local function limit(entry, direction, sec, answer)
  local timer, at = timer_of(entry, direction), after(sec)
  timer.at, timer.answer = at, answer
  if not timer.due or timer.due > at then run_timer(timer, sec) end
end

-- Makes another handle where the program has closed all handles of the loop.
local function entry_of(fd)
  local entry = watches[fd]
  if entry and (entry.word ~= "" or not entry.poll:is_closing()) then return entry end
  return new_watch(fd)
end

-- Starts to watch; answers the errno, or nil.  Call poll(2) first: the number may be closed by now, or be a regular file, which
-- is always ready, and libuv aborts the program when it must watch one of these.  Treat a borrowed descriptor like a bare number:
-- its owner may close it and not say so.
local function begin(entry, fd, direction, sock)
  local is_ready, _, e = waiting.poll(fd, direction, 0)
  if e then return e end
  if is_ready then return limit(entry, direction, 0, true) end
  return watch(entry, sock and not sock.about.borrowed and sock or nil)
end

-- Ends a wait that did not begin, or whose coroutine somebody else resumed.
local function abandon(entry, direction)
  release(entry, direction)
  watch(entry, entry.sock)
end

-- Waits in coroutine `co`, which is noted; answers true, false or the errno.
local function sleep(entry, co, direction)
  local answer = yield()
  if rawequal(entry[direction], co) then abandon(entry, direction) end
  return answer
end

local function watch_and_sleep(co, fd, direction, sec, sock)
  local entry, e = entry_of(fd)
  if not entry then return e end
  if entry[direction] then return EBUSY end
  entry[direction] = co
  if sec then limit(entry, direction, sec, false) end
  e = begin(entry, fd, direction, sock)
  if e then
    abandon(entry, direction)
    return e
  end
  return sleep(entry, co, direction)
end

-- Answers the entry of a socket for which libuv watches the direction while nobody waits.  Its number and the direction need no
-- more checks, which would cost as much as the wait.
local function watched(fd, direction, sock)
  local entry = sock and watches[fd]
  if not entry or not rawequal(entry.sock, sock) or entry[direction] then return nil end
  local is_covered = entry.word == direction or entry.word == "rw" and (direction == "r" or direction == "w")
  return is_covered and entry or nil
end

local function checked_wait(fd, direction, sec, sock)
  local co = waiting.sleeper(fd, direction, sec)
  if not co then return waiting.poll(fd, direction, sec) end
  if sock and not (is_socket(sock) and sock.sd == fd) then sock = nil end
  return waiting.answer(watch_and_sleep(co, fd, direction, sec, sock))
end

local M = {}

--- Waits in the calling coroutine, while uv.run lets others run; outside a coroutine with poll(2).
---@param fd integer  libuv makes it non-blocking
---@param direction "r"|"w"
---@param sec? number  seconds, below 2^31; the default is for ever
---@param sock? llsocket.socket  whose descriptor it is: if it is waited for again at once, no system call is made for that
---@return boolean? ready  false: the time ran out
---@return string? err
---@return integer? errno  EBADF, also when the socket is closed during the wait; EBUSY: another coroutine waits for the
---same descriptor and direction; EEXIST: the program watches it with its own uv_poll_t; EPERM: a regular file; EINVAL
function M.wait(fd, direction, sec, sock)
  local entry = watched(fd, direction, sock)
  local is_odd = type(sec) ~= "nil" and (type(sec) ~= "number" or not (sec > 0 and sec < 2^31))
  local co, is_main = running()
  if not entry or is_odd or not co or is_main then return checked_wait(fd, direction, sec, sock) end
  entry[direction] = co
  if sec then limit(entry, direction, sec, false) end
  return waiting.answer(sleep(entry, co, direction))
end

-- Wakes the coroutine from the loop of libuv, not from inside close().
local function wake_later(co)
  local timer = uv.new_timer()
  timer:start(0, 0, function()
    timer:close()
    wake(co, EBADF)
  end)
end

-- Stop the handle, do not close it: luv crashes when the program ends before its loop has run once more.
sockets.before_close(function(sock)
  local entry = watches[sock.sd]
  if not entry then return nil end
  local r, w = release(entry, "r"), release(entry, "w")
  stop(entry)
  if r then wake_later(r) end
  if w then wake_later(w) end
end)

waiting.note_foreign(M.wait)

return M
