-- sleeping.lua -- sleep: in a coroutine of a loop the others go on.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local shim = require "llsocket.shim"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local poll = require "llsocket.poll"
local pause = require "llsocket.wait.pause"
local waiting = require "llsocket.wait"
local ceil, max, min = math.ceil, math.max, math.min

local errno, now = ffi.errno, shim.llsocket2_now
local MOST = 2^31 - 1

local M = {}

-- Blocks.  Outside a loop pause.sleep would yield in a coroutine that nobody wakes.
local function nap(sec)
  local n, e = C.llsocket2_poll(nil, 0, min(ceil(sec * 1000), waiting.LONGEST)), errno()
  return n == 0 or nil, nil, e
end

-- Sleeps in whatever way of waiting is set: no descriptor is free of others' events but one of our own.
local function wait(sec)
  local timer = poll.timer(max(sec, 1e-9))
  if not timer then return nap(sec) end
  local ready, _, e = waiting.wait(timer:fd(), "r")
  timer:close()
  return ready, nil, e
end

--- Sleeps.
---@param sec number  below 0 is 0
function M.sleep(sec)
  sec = min(max(sec, 0), MOST)
  local at = now() + sec
  local how = waiting.is_lent() and pause.sleep or waiting.is_set() and wait or nap
  repeat
    local slept, _, e = how(max(at - now(), 0))
  until slept and now() >= at or not slept and e ~= const.EINTR
end

return M
