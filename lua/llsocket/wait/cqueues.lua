-- cqueues.lua -- waits in the coroutines of a cqueues controller.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local cqueues = require "cqueues"
local const = require "llsocket.core.const"
local sockets = require "llsocket.socket.object"
local waiting = require "llsocket.wait"

local pairs, max, monotime = pairs, math.max, cqueues.monotime
local EBADF = const.EBADF

local crowd = waiting.crowd()

-- Call cqueues.cancel after each wait: cqueues keeps the descriptor in its kernel queue, and its loop ends with an error
-- if the descriptor is gone by the next wait.  That can happen unnoticed, because a socket may be collected.  Cancel even
-- where the crowd has other waiters, since their coroutines may have been dropped; cqueues then tells them that they are ready,
-- so is_disturbed makes them look.
local function leave(fd, waiter)
  crowd:leave(fd, waiter)
  for other in pairs(crowd[fd] or {}) do other.is_disturbed = true end
  cqueues.cancel(fd)
end

-- Whether the descriptor is really ready: the wake-up may only mean that another waiter has left.
local function is_true(wanted, waiter)
  if not waiter.is_disturbed then return true end
  waiter.is_disturbed = false
  return waiting.poll(wanted.pollfd, wanted.events, 0) ~= false
end

-- cqueues also wakes a coroutine that waits for the other direction of the descriptor; then poll answers nothing.  Do not pass
-- a time of nil: cqueues takes it for an object that is never ready.
local function poll(wanted, stop, waiter)
  local ready
  repeat
    local left = stop and max(stop - monotime(), 0)
    if left then ready = cqueues.poll(wanted, left) else ready = cqueues.poll(wanted) end
    if ready == wanted and is_true(wanted, waiter) then return true end
  until waiter.closed or left == 0
  return false
end

-- Do not pass a ready descriptor to cqueues, only let others run: it may be a regular file, which is always ready and which
-- epoll refuses.
local function watch(fd, direction, sec, is_ready, waiter)
  if not is_ready then return poll({ pollfd = fd, events = direction }, sec and monotime() + sec, waiter) end
  cqueues.sleep(0)
  return true
end

-- Answers true, false or the errno.  Call poll(2) first: a descriptor that is not open would end the loop of cqueues.
local function sleep(fd, direction, sec)
  local is_ready, _, e = waiting.poll(fd, direction, 0)
  if e then return e end
  local waiter = crowd:enter(fd)
  local ready = watch(fd, direction, sec, is_ready, waiter)
  if waiter.closed then return EBADF end
  leave(fd, waiter)
  return ready
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
  local co, _, is_ours = waiting.sleeper(fd, direction, sec), cqueues.running()
  if not (co and is_ours) then return waiting.poll(fd, direction, sec) end
  return waiting.answer(sleep(fd, direction, sec))
end

sockets.before_close(function(sock)
  if crowd:close(sock.sd) then cqueues.cancel(sock.sd) end
end)

return M
