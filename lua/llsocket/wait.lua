-- wait.lua -- how the program waits for a descriptor: with poll(2), unless it sets another way.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local shim = require "llsocket.shim"
local check = require "llsocket.core.check"
local failed = require("llsocket.core.failure").failed
local pcall, setmetatable, type = pcall, setmetatable, type
local running = coroutine.running

local errno, band, ceil, max, min = ffi.errno, bit.band, math.ceil, math.max, math.min
local now = shim.llsocket2_now
local EINVAL, EBADF, POLLNVAL = const.EINVAL, const.EBADF, const.POLLNVAL
local EVENTS = { r = const.POLLIN, w = const.POLLOUT }
local LONGEST = 2^31 - 1 -- the longest wait of one call in milliseconds, 24 days; a longer wait takes several calls

local cell -- made by the first wait

---@class llsocket.wait.module
local M = { LONGEST = LONGEST }

--- Turns seconds into the milliseconds of poll(2) and epoll_wait(2), rounded up so that no wait ends early.
---@param sec? number  nil waits for ever
---@param position integer  of the argument, for messages
---@param method string
---@return integer? milliseconds  -1 for ever, at most 2^31-1; nil where sec is negative, NaN, or 2^31 and more
function M.milliseconds(sec, position, method)
  if type(sec) == "nil" then return -1 end
  check.number(sec, position, method)
  if sec >= 0 and sec < 2^31 then return (min(ceil(sec * 1000), LONGEST)) end
end

--- Tells whether a coroutine may sleep for this time, so that nothing about it is left to check.
---@param sec any  seconds
---@return boolean is_plain  true for nil, and for a number above 0 and below 2^31
function M.is_plain(sec)
  if type(sec) == "nil" then return true end
  return type(sec) == "number" and sec > 0 and sec < 2^31
end

--- Tells how long a wait may still last.
---@param at? number  until when, in the seconds of llsocket2_now
---@return number? sec  0 where that time has come; nil without a limit
function M.left(at) return at and max(at - now(), 0) end

-- Raises for wrong types; answers the milliseconds, or nil for an impossible descriptor, direction or time.
local function check_arguments(fd, direction, sec, method)
  local fd_ok = check.fd(fd, 1, method)
  check.string(direction, 2, method)
  local ms = M.milliseconds(sec, 3, method)
  return fd_ok and EVENTS[direction] and ms or nil
end

-- The method that tells a foreign object's descriptor, or nil.
local function teller(x) return x.fd or x.getfd end

--- Answers the number of whatever tells one; raises for others.
---@param x any
---@param method string
---@return integer fd  -1 where it tells none now
function M.number_of(x, method)
  local ok, tell = pcall(teller, x)
  if not ok or x == nil or type(tell) ~= "function" then
    check.bad(1, method, "number, socket or object with a method fd or getfd", x)
  end
  local fd = tell(x)
  return type(fd) == "number" and fd or -1
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
  if fd < 0 then return failed(EBADF) end -- poll(2) would skip a negative number and wait for nothing
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
---@return thread? co  nil where the caller must use M.poll: outside a coroutine, for a time of 0, for arguments it refuses
function M.sleeper(fd, direction, sec)
  local ms = check_arguments(fd, direction, sec, "wait")
  if not ms or ms == 0 or fd < 0 then return nil end
  local co, is_main = running()
  if not is_main then return co end -- running() answers is_main only where LuaJIT is built with Lua 5.2 compatibility
end

--- Turns an answer into the results of a way of waiting.
---@param answer boolean|integer  true when ready, false when the time ran out, or the errno
---@return boolean? ready
---@return string? err
---@return integer? errno
function M.answer(answer)
  if type(answer) == "number" then return failed(answer) end
  return answer
end

local current = M.poll

-- By way of waiting: its shortcuts.  short_r, short_w: those of the way that is set.
local shortcuts, NONE = {}, {}
local short_r, short_w

local function use(fn)
  local own = shortcuts[fn] or NONE
  current, short_r, short_w = fn, own.r, own.w
end

--- Gives a way of waiting two shortcuts for sockets, which recvable and sendable take: the stack of the wait is half as deep,
--- and where a thousand coroutines wait none is in the cache when its turn comes.
---@param fn function  the way
---@param r fun(sock: llsocket.socket, sec?: number): boolean?, string?, integer?  waits to read; `sec` is nil or a time above 0
---@param w fun(sock: llsocket.socket, sec?: number): boolean?, string?, integer?  waits to write
function M.shorten(fn, r, w) shortcuts[fn] = { r = r, w = w } end

--- Tells the shortcut to read of the way that is set.
---@return function? fn
function M.quick_r() return short_r end

--- Tells the shortcut to write of the way that is set.
---@return function? fn
function M.quick_w() return short_w end

--- Sets the function that recvable and sendable wait with, for the whole program.
---@param fn? fun(fd: integer, direction: "r"|"w", sec?: number, object?: any): boolean?, string?, integer?  true when
---ready, false when the time ran out, or nil, err, errno; `object` is the socket that waits; the default is poll(2)
---@return function previous
function M.set(fn)
  if fn ~= nil and type(fn) ~= "function" then check.bad(1, "set", "function", fn) end
  local previous = current
  use(fn or M.poll)
  return previous
end

local lent -- the way of a loop that runs now

--- Sets the way of a loop for as long as it runs, unless the program has set one.
---@param fn function
function M.lend(fn)
  if current ~= M.poll then return end
  lent = fn -- first: an error that comes in between is followed by give_back, which looks at it
  use(fn)
end

--- Tells whether the way of waiting is the one that a running loop has lent.
---@return boolean is_lent
function M.is_lent() return lent ~= nil and current == lent end

--- Ends lend; what the program has set meanwhile stays.
function M.give_back()
  if current == lent then use(M.poll) end
  lent = nil
end

--- Tells whether the way of waiting is another than poll(2): the program has set one, or a loop that runs has lent its own.
---@return boolean set
function M.is_set() return current ~= M.poll end

local foreign = setmetatable({}, { __mode = "k" }) -- the functions that wait in the loop of another library

--- Notes a function that waits in the loop of another library.
---@param fn function
function M.note_foreign(fn) foreign[fn] = true end

--- Tells whether the program waits in the loop of another library.
---@return boolean is_foreign
function M.is_foreign() return foreign[current] == true end

--- Waits with the function that was set.
---@param fd integer
---@param direction "r"|"w"
---@param sec? number  seconds
---@param object? any  what the descriptor belongs to, for the function that was set
---@return boolean? ready
---@return string? err
---@return integer? errno  EBADF, also when the socket is closed during the wait; EINVAL; others of the function that was set
function M.wait(fd, direction, sec, object)
  check_arguments(fd, direction, sec, "wait")
  return current(fd, direction, sec, object)
end

return M
