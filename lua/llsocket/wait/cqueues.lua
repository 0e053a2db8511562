-- cqueues.lua -- waits in the coroutines of a cqueues controller.
local cqueues = require "cqueues"
local const = require "llsocket.const"
local handle = require "llsocket.handle"
local waiting = require "llsocket.wait"

local max, monotime = math.max, cqueues.monotime
local EBADF = const.EBADF

-- By descriptor, how many coroutines wait, and how often it was closed meanwhile.
local waits, closes = {}, {}

-- cqueues keeps a descriptor in its kernel queue after a wait, and its loop ends in an error when that is gone by the
-- next.  A socket may be collected, which nobody is told of: so it is forgotten after each wait.
local function leave(fd)
  waits[fd] = waits[fd] - 1
  if waits[fd] > 0 then return end
  waits[fd], closes[fd] = nil, nil
  cqueues.cancel(fd)
end

-- cqueues also wakes who waits for the other direction of a descriptor, and has nothing to tell then.  A time that is
-- nil would be to it an object that is never ready.
local function poll(wanted, stop, is_closed)
  local ready
  repeat
    local left = stop and max(stop - monotime(), 0)
    if left then ready = cqueues.poll(wanted, left) else ready = cqueues.poll(wanted) end
    if ready == wanted then return true end
  until is_closed() or left == 0
  return false
end

-- What is ready is not shown to cqueues, only gives way: epoll refuses a regular file, which is always ready.
local function watch(fd, direction, sec, is_ready, is_closed)
  if not is_ready then return poll({ pollfd = fd, events = direction }, sec and monotime() + sec, is_closed) end
  cqueues.sleep(0)
  return true
end

-- Answers true, false or the errno.  A descriptor that is not open would end cqueues' loop, hence the look before.
local function sleep(fd, direction, sec)
  local is_ready, _, e = waiting.poll(fd, direction, 0)
  if e then return e end
  local before = closes[fd]
  local function is_closed() return closes[fd] ~= before end
  waits[fd] = (waits[fd] or 0) + 1
  local ready = watch(fd, direction, sec, is_ready, is_closed)
  if is_closed() then ready = EBADF end
  leave(fd)
  return ready
end

local M = {}

--- Waits in the coroutine of cqueues that calls, while its controller lets others run; elsewhere with poll(2).
---@param fd integer
---@param direction "r"|"w"
---@param sec? number  seconds, below 2^31; the default is for ever
---@return boolean? ready  false: the time ran out
---@return string? err
---@return integer? errno  EBADF, also when the socket is closed meanwhile; EINVAL
function M.wait(fd, direction, sec)
  local co, _, is_ours = waiting.sleeper(fd, direction, sec), cqueues.running()
  if not (co and is_ours) then return waiting.poll(fd, direction, sec) end
  return waiting.answer(sleep(fd, direction, sec))
end

handle.before_close(function(sock)
  local fd = sock.sd
  if not waits[fd] then return nil end
  closes[fd] = (closes[fd] or 0) + 1
  cqueues.cancel(fd)
end)

return M
