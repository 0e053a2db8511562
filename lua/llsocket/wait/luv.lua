-- luv.lua -- waits in coroutines over libuv's loop, which uv.run drives.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local uv = require "luv"
local const = require "llsocket.core.const"
local sockets = require "llsocket.socket.object"
local waiting = require "llsocket.wait"
local error, tostring, traceback = error, tostring, debug.traceback

local ceil, resume, yield = math.ceil, coroutine.resume, coroutine.yield
local EBADF, EBUSY, EINVAL = const.EBADF, const.EBUSY, const.EINVAL

-- watches[fd]: one entry for both directions, because libuv has one handle for both.  poll: that handle; waiting and timers:
-- the coroutine and the timer of each direction.  An entry is kept for the next wait; its stopped handle holds only the
-- number, and does not keep the descriptor open.
local watches = {}

-- Raises an error of the coroutine, like an error in a callback of libuv.
local function wake(co, answer)
  local ok, err = resume(co, answer)
  if not ok then error(traceback(co, tostring(err)), 0) end
end

-- Makes libuv watch the directions that a coroutine waits for now.
local function watch(entry)
  local word = (entry.waiting.r and "r" or "") .. (entry.waiting.w and "w" or "")
  if word == "" then return entry.poll:stop() end
  return entry.poll:start(word, entry.tell)
end

-- Ends the wait of one direction; answers its coroutine, or nil where none waits.
local function release(entry, direction)
  local co, timer = entry.waiting[direction], entry.timers[direction]
  entry.waiting[direction] = nil
  if timer then timer:stop() end
  return co
end

-- Look at both directions before any coroutine runs: one that runs may wait again at once.  An error counts as ready: the next
-- call on the socket will report it.
local function told(entry, err, events)
  local r = (err or events:find("r", 1, true)) and release(entry, "r")
  local w = (err or events:find("w", 1, true)) and release(entry, "w")
  watch(entry)
  if r then wake(r, true) end
  if w then wake(w, true) end
end

local function new_watch(fd)
  local poll, _, name = uv.new_poll(fd)
  if not poll then return nil, const[name] or EINVAL end
  local entry = { poll = poll, waiting = {}, timers = {} }
  function entry.tell(err, events) told(entry, err, events) end
  watches[fd] = entry
  return entry
end

local function start_timer(entry, direction, milliseconds, answer)
  local timer = entry.timers[direction] or uv.new_timer()
  entry.timers[direction] = timer
  uv.update_time()
  timer:start(milliseconds, 0, function()
    local co = release(entry, direction)
    watch(entry)
    if co then wake(co, answer) end
  end)
end

-- Add 1 ms, so that no wait ends early: libuv counts whole milliseconds, starting with the one that has already begun.
local function wait_for(entry, direction, sec)
  watch(entry)
  if sec then start_timer(entry, direction, ceil(sec * 1000) + 1, false) end
end

-- Waits in coroutine `co`; answers true, false or the errno.  Call poll(2) first: the number of a kept handle may be closed by
-- now, or be a regular file, which is always ready, and libuv aborts the program when it must watch one of these.
local function sleep(co, fd, direction, sec)
  local entry, e = watches[fd]
  if not entry then
    entry, e = new_watch(fd)
    if not entry then return e end
  end
  if entry.waiting[direction] then return EBUSY end
  local is_ready, _, why = waiting.poll(fd, direction, 0)
  if why then return why end
  entry.waiting[direction] = co
  if is_ready then start_timer(entry, direction, 0, true) else wait_for(entry, direction, sec) end
  return yield()
end

local M = {}

--- Waits in the calling coroutine, while uv.run lets others run; outside a coroutine with poll(2).
---@param fd integer  libuv makes it non-blocking
---@param direction "r"|"w"
---@param sec? number  seconds, below 2^31; the default is for ever
---@return boolean? ready  false: the time ran out
---@return string? err
---@return integer? errno  EBADF, also when the socket is closed during the wait; EBUSY: another coroutine waits for the
---same descriptor and direction; EEXIST: the program watches it with its own uv_poll_t; EPERM: a regular file; EINVAL
function M.wait(fd, direction, sec)
  local co = waiting.sleeper(fd, direction, sec)
  if not co then return waiting.poll(fd, direction, sec) end
  return waiting.answer(sleep(co, fd, direction, sec))
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
  entry.poll:stop()
  if r then wake_later(r) end
  if w then wake_later(w) end
end)

return M
