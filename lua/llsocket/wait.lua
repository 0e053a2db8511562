-- wait.lua -- how the program waits for a descriptor: poll(2), until it says otherwise.
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.libc"
local const = require "llsocket.const"
local layout = require "llsocket.layout"
local check = require "llsocket.check"
local failed = require("llsocket.errno").failed

local errno, band, ceil, min = ffi.errno, bit.band, math.ceil, math.min
local EINVAL, EBADF, POLLNVAL = const.EINVAL, const.EBADF, const.POLLNVAL
local EVENTS = { r = const.POLLIN, w = const.POLLOUT }
local LONGEST = 2^31 - 1 -- milliseconds that can be waited at once, 24 days; then the rest

local cell = layout.pollfd()

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

--- Waits with poll(2), which blocks the whole process.
---@param fd integer
---@param direction "r"|"w"
---@param sec? number  seconds, below 2^31; the default is for ever
---@return boolean? ready  false: the time ran out
---@return string? err
---@return integer? errno  EINTR, EBADF, EINVAL
function M.poll(fd, direction, sec)
  local fd_ok, ms = check.int(fd, 1, "poll"), M.milliseconds(sec, 3, "poll")
  if not (fd_ok and EVENTS[direction] and ms) then return failed(EINVAL) end
  if fd < 0 then return failed(EBADF) end -- poll(2) would pass over it, and wait for nothing
  cell.fd, cell.events, cell.revents = fd, EVENTS[direction], 0
  local n, e, revents = C.llsocket1_poll(cell, 1, ms), errno(), cell.revents
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
  local fd_ok, ms = check.int(fd, 1, "wait") and fd >= 0, M.milliseconds(sec, 3, "wait")
  if not (fd_ok and EVENTS[direction] and ms) or ms == 0 then return nil end
  local co, is_main = coroutine.running()
  if not is_main then return co end -- is_main: LuaJIT made with the ways of Lua 5.2
end

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
---@return integer? errno
function M.wait(fd, direction, sec) return current(fd, direction, sec) end

return M
