-- timer.lua -- the time, sleep, and timers.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local shim = require "llsocket.shim"
local check = require "llsocket.core.check"
local const = require "llsocket.core.const"
local log = require "llsocket.cosocket.log"
local nested = require "llsocket.cosocket.nested"
local settings = require "llsocket.cosocket.settings"
local wakers = require "llsocket.poll.waker"
local waiting = require "llsocket.wait"
local ipairs, jit, pairs, require, select, tonumber, type = ipairs, jit, pairs, require, select, tonumber, type
local unpack, xpcall = unpack, xpcall
local floor, max, traceback = math.floor, math.max, debug.traceback

local now, date = shim.llsocket2_now, shim.llsocket2_date
local SHORTEST = 0.001 -- a wait of 0 seconds would let nobody else run

local M = {}

--- Tells the time in seconds since 1970, with milliseconds.  It is the time now, not that of the loop's last turn.
---@return number
function M.now() return floor(date() * 1000) / 1000 end

--- Tells the time in whole seconds since 1970.
---@return integer
function M.time() return (floor(date())) end

--- Does nothing: the time is never old.
function M.update_time() end

-- Waits for a bell or a time; answers an errno where the wait was cancelled.
local function doze(bell, sec)
  local at = now() + max(sec, SHORTEST)
  while true do
    local ready, _, e = waiting.wait(bell.sd, "r", waiting.left(at))
    if ready ~= nil then return nil end
    if e ~= const.EINTR then return e end
  end
end

--- Lets the calling coroutine sleep, in whatever way of waiting is set; without one the whole process sleeps.
---@param sec number  seconds, below 2^31; 0 lets others run
---@return nil none  nothing once it has slept
---@return string? err  "aborted": the coroutine was cancelled
function M.sleep(sec)
  if type(sec) == "nil" then check.raise "attempt to pass 0 arguments, but accepted 1" end
  sec = type(sec) == "string" and tonumber(sec) or sec
  check.number(sec, 1, "sleep")
  if not (sec >= 0 and sec < 2^31) then check.raise(("invalid sleep duration \"%d\""):format(sec)) end
  local bell = wakers.new() -- nobody rings it
  if not bell then return nil, "no memory" end
  local e = doze(bell, sec)
  wakers.close(bell)
  if e then return nil, "aborted" end
end

M.sleep = nested.outer(M.sleep)

-- Timers ----------------------------------------------------------------------------------------------------

local bells = {} -- of the timers that are not due yet
local is_exiting = false

-- Runs a function in a coroutine of its own.
local function spawn(fn)
  local start = settings.values.spawn or require("llsocket.wait.coroutine").spawn
  start(fn)
end

local function call(fn, arguments)
  local done, why = xpcall(function() fn(is_exiting, unpack(arguments, 1, arguments.n)) end, traceback)
  if not done then log.error(why) end
end

local function checked(delay, fn, method)
  check.number(delay, 1, method)
  if not (delay >= 0 and delay < 2^31) then check.raise "invalid delay" end
  if type(fn) ~= "function" then settings.refuse(2, method, "Lua function expected") end
end

-- Calls fn after the delay, or at once where the process exits; each time, where `again`.
local function run(bell, delay, again, fn, arguments)
  bells[bell] = true
  local e
  repeat
    if not is_exiting then e = doze(bell, delay) end
    if not e and again and not is_exiting then spawn(function() call(fn, arguments) end) end
  until e or is_exiting or not again
  bells[bell] = nil
  wakers.close(bell)
  if not e then call(fn, arguments) end
end

local function begin(delay, again, fn, ...)
  if is_exiting then return nil, "process exiting" end
  local bell, arguments = wakers.new(), { n = select("#", ...), ... }
  if not bell then return nil, "no memory" end
  spawn(function() run(bell, delay, again, fn, arguments) end)
  return 1
end

M.methods = {}

--- Calls a function once, in a coroutine of its own.
---@param delay number  seconds
---@param fn function  gets whether the process exits, and the arguments
---@param ... any
---@return integer? done  1
---@return string? err  "process exiting"
function M.methods.at(delay, fn, ...)
  checked(delay, fn, "at")
  return begin(delay, false, fn, ...)
end

--- Calls a function again and again, each time in a coroutine of its own.
---@param delay number  seconds, above 0
---@param fn function  gets whether the process exits, and the arguments
---@param ... any
---@return integer? done  1
---@return string? err  "process exiting"
function M.methods.every(delay, fn, ...)
  checked(delay, fn, "every")
  if delay == 0 then check.raise "delay cannot be zero" end
  return begin(delay, true, fn, ...)
end

for _, fn in ipairs { begin, M.methods.at, M.methods.every } do jit.off(fn) end -- see no_more in settings.lua

--- Tells whether the process exits.
---@return boolean
function M.exiting() return is_exiting end

--- Ends the timers as nginx does when a worker exits: their functions are called at once, with true, and there are no new ones.
function M.exit()
  is_exiting = true
  for bell in pairs(bells) do wakers.wake(bell) end
end

--- In nginx: waits in its light threads, unless the program has set a way.
function M.wait_in_nginx()
  if not waiting.is_set() then waiting.set(require("llsocket.wait.nginx").wait) end
end

return M
