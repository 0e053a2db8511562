-- cqueues.lua -- waits in the coroutines of a cqueues controller.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local cqueues = require "cqueues"
local const = require "llsocket.core.const"
local sockets = require "llsocket.socket.object"
local waiting = require "llsocket.wait"
local crowds = require "llsocket.wait.crowd"
local rawequal, max = rawequal, math.max

local monotime, running, cancel, pause = cqueues.monotime, cqueues.running, cqueues.cancel, cqueues.poll
local EBADF = const.EBADF

local crowd = crowds.new()

-- wanted[direction][fd]: what cqueues.poll takes.  It holds only the number, so one does for all waits.
local wanted = { r = {}, w = {} }

local function make_wanted(fd, direction)
  local one = { pollfd = fd, events = direction }
  wanted[direction][fd] = one
  return one
end

-- Call cqueues.cancel after each wait: cqueues keeps the descriptor in its kernel queue until the coroutine yields, and its loop
-- ends with an error if the descriptor is gone by then.  That can happen unnoticed, because a socket may be collected.  Cancel
-- even where the crowd has other waiters, since their coroutines may have been dropped; cqueues then tells them that they are
-- ready, so is_disturbed makes them look.
local function leave(fd, waiter)
  waiter.is_disturbed = false
  crowd:leave(fd, waiter)
  crowd:mark(fd, "is_disturbed")
  cancel(fd)
end

-- Whether the descriptor is really ready: the wake-up may only mean that another waiter has left.
local function is_true(fd, direction, waiter)
  if not waiter.is_disturbed then return true end
  waiter.is_disturbed = false
  return waiting.poll(fd, direction, 0) ~= false
end

-- cqueues also wakes a coroutine that waits for the other direction of the descriptor; then poll answers nothing.  Do not pass
-- a time of nil: cqueues takes it for an object that is never ready.
local function poll(fd, direction, stop, waiter)
  local one, left = wanted[direction][fd] or make_wanted(fd, direction), nil
  repeat
    local ready
    if stop then
      left = max(stop - monotime(), 0)
      ready = pause(one, left)
    else ready = pause(one) end
    if rawequal(ready, one) and is_true(fd, direction, waiter) then return true end
  until waiter.closed or left == 0
  return false
end

-- Answers true, false or the errno.  Call poll(2) first: a descriptor that is not open would end the loop of cqueues, and a
-- regular file, which is always ready, is refused by epoll; so only let others run where it is ready.
local function sleep(fd, direction, sec)
  local ready, _, e = waiting.poll(fd, direction, 0)
  if e then return e end
  local waiter = crowd:enter(fd)
  if ready then pause(0) else ready = poll(fd, direction, sec and monotime() + sec, waiter) end
  local is_closed = waiter.closed
  leave(fd, waiter)
  return is_closed and EBADF or ready
end

local M = {}

--- Waits in the calling coroutine of cqueues, while its controller lets others run; elsewhere with poll(2).
---@param fd integer
---@param direction "r"|"w"
---@param sec? number  seconds, below 2^31; the default is for ever
---@return boolean? ready  false: the time ran out
---@return string? err
---@return integer? errno  EBADF, also when the socket is closed during the wait; EINVAL
function M.wait(fd, direction, sec)
  local co, _, is_ours = waiting.sleeper(fd, direction, sec), running()
  if not (co and is_ours) then return waiting.poll(fd, direction, sec) end
  return waiting.answer(sleep(fd, direction, sec))
end

sockets.before_close(function(sock)
  if crowd:close(sock.sd) then cancel(sock.sd) end
end)

waiting.note_foreign(M.wait)

return M
