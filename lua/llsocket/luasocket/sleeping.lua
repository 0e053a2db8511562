-- sleeping.lua -- sleep: in a coroutine of a loop the others go on.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local poll = require "llsocket.poll"
local pause = require "llsocket.wait.pause"
local waiting = require "llsocket.wait"
local max, min = math.max, math.min

local now = shim.llsocket2_now
local MOST = 2^31 - 1

local M = {}

-- Sleeps in whatever way of waiting is set: no descriptor is free of others' events but one of our own.
local function wait(sec)
  local timer = poll.timer(max(sec, 1e-9))
  if not timer then return pause.sleep(sec) end
  local ready, _, e = waiting.wait(timer:fd(), "r")
  timer:close()
  return ready, nil, e
end

-- Whether the coroutines of llsocket's own loop are to sleep there.
local function has_loop() return pause.runs and pause.runs() end

--- Sleeps.
---@param sec number  below 0 is 0
function M.sleep(sec)
  sec = min(max(sec, 0), MOST)
  local at = now() + sec
  local how = waiting.is_set() and not has_loop() and wait or pause.sleep
  repeat
    local slept, _, e = how(max(at - now(), 0))
  until slept or e ~= const.EINTR
end

return M
