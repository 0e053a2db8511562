-- wait.lua -- how the program waits for a descriptor: poll(2), until it says otherwise.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local check = require "llsocket.core.check"
local failed = require("llsocket.errno").failed
local next, pairs, setmetatable, type, running = next, pairs, setmetatable, type, coroutine.running

local errno, band, ceil, min = ffi.errno, bit.band, math.ceil, math.min
local EINVAL, EBADF, POLLNVAL = const.EINVAL, const.EBADF, const.POLLNVAL
local EVENTS = { r = const.POLLIN, w = const.POLLOUT }
local LONGEST = 2^31 - 1 -- milliseconds that can be waited at once, 24 days; then the rest

local cell -- made for the first wait

local M = { LONGEST = LONGEST }

--- Turns seconds into what poll(2) and epoll_wait(2) take: rounded up, so that no wait ends early.
---@param sec? number  nil is for ever
---@param position integer  of the argument, for messages
---@param method string
---@return integer? milliseconds  -1 for ever, at most 2^31-1; nil for what is no time
function M.milliseconds(sec, position, method)
  if type(sec) == "nil" then return -1 end
  check.number(sec, position, method)
  if sec >= 0 and sec < 2^31 then return min(ceil(sec * 1000), LONGEST) end
end

-- Raises for wrong types; answers the milliseconds, or nil for what is no descriptor, direction or time.
local function check_arguments(fd, direction, sec, method)
  local fd_ok = check.fd(fd, 1, method)
  check.string(direction, 2, method)
  local ms = M.milliseconds(sec, 3, method)
  return fd_ok and EVENTS[direction] and ms or nil
end

--- Waits with poll(2), which blocks the whole process.
---@param fd integer
---@param direction "r"|"w"
---@param sec? number  seconds, below 2^31; the default is for ever
---@return boolean? ready  false: the time ran out
---@return string? err
---@return integer? errno  EINTR, EBADF, EINVAL
function M.poll(fd, direction, sec)
  local ms = check_arguments(fd, direction, sec, "poll")
  if not ms then return failed(EINVAL) end
  if fd < 0 then return failed(EBADF) end -- poll(2) would pass over it, and wait for nothing
  cell = cell or layout.pollfd()
  cell.fd, cell.events, cell.revents = fd, EVENTS[direction], 0
  local n, e, revents = C.llsocket2_poll(cell, 1, ms), errno(), cell.revents
  if n < 0 then return failed(e) end
  if band(revents, POLLNVAL) ~= 0 then return failed(EBADF) end
  if n == 0 and sec and sec * 1000 > LONGEST then return M.poll(fd, direction, sec - LONGEST / 1000) end
  return n > 0
end

--- Tells which coroutine a way of waiting may put to sleep.
---@param fd integer
---@param direction "r"|"w"
---@param sec? number  seconds
---@return thread? co  nil where M.poll has the answer: outside a coroutine, for no time at all, for what it refuses
function M.sleeper(fd, direction, sec)
  local ms = check_arguments(fd, direction, sec, "wait")
  if not ms or ms == 0 or fd < 0 then return nil end
  local co, is_main = running()
  if not is_main then return co end -- is_main: LuaJIT made with the ways of Lua 5.2
end

--- What a way of waiting answers.
---@param answer boolean|integer  true when ready, false when the time ran out, or the errno
---@return boolean? ready
---@return string? err
---@return integer? errno
function M.answer(answer)
  if type(answer) == "number" then return failed(answer) end
  return answer
end

local crowd = { __index = {} }
local WEAK = { __mode = "k" }

--- Notes who waits for a descriptor.
---@param fd integer
---@return table waiter  `closed` once the descriptor was; whoever waits keeps it
function crowd.__index:enter(fd)
  local waiter = { closed = false }
  self[fd] = self[fd] or setmetatable({}, WEAK)
  self[fd][waiter] = true
  return waiter
end

--- Forgets one that waits no more.
---@param fd integer
---@param waiter table
function crowd.__index:leave(fd, waiter)
  local waiters = self[fd]
  if waiters then waiters[waiter] = nil end
  if waiters and not next(waiters) then self[fd] = nil end
end

--- Tells all that their descriptor is closed, and forgets them.
---@param fd integer
---@return boolean any  somebody may have waited
function crowd.__index:close(fd)
  local waiters = self[fd]
  if not waiters then return false end
  for waiter in pairs(waiters) do waiter.closed = true end
  self[fd] = nil
  return true
end

--- Makes the list of those who wait, by descriptor.  They are kept themselves, and weakly: a count would stay too high for
--- ever when a coroutine is dropped that waits.
---@return table crowd
function M.crowd() return setmetatable({}, crowd) end

local current = M.poll

--- Sets what recvable and sendable wait with, for the whole program.
---@param fn? fun(fd: integer, direction: "r"|"w", sec?: number): boolean?, string?, integer?  true when ready, false
---when the time ran out, or nil, err, errno; the default is poll(2)
---@return function previous
function M.set(fn)
  if fn ~= nil and type(fn) ~= "function" then check.bad(1, "set", "function", fn) end
  local previous = current
  current = fn or M.poll
  return previous
end

--- Tells whether the program has set a way of its own.
---@return boolean set
function M.is_set() return current ~= M.poll end

--- Waits in the way that was set.
---@param fd integer
---@param direction "r"|"w"
---@param sec? number  seconds
---@return boolean? ready
---@return string? err
---@return integer? errno  EBADF, also when the socket is closed meanwhile; EINVAL; others as the way that was set has them
function M.wait(fd, direction, sec)
  check_arguments(fd, direction, sec, "wait")
  return current(fd, direction, sec)
end

return M
