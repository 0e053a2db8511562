-- nginx.lua -- waits in the Lua of nginx, which cannot watch a foreign descriptor: this module looks with poll(2) and sleeps
-- between the looks, longer each time.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ngx = require "ngx"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local failed = require("llsocket.core.failure").failed
local sockets = require "llsocket.socket.object"
local waiting = require "llsocket.wait"
local crowds = require "llsocket.wait.crowd"

local now = shim.llsocket2_now
local max, min = math.max, math.min
local SHORTEST, LONGEST = 0.001, 0.05

-- The phases in which ngx.sleep is allowed; "timer" is ngx.timer.
local YIELDS = {
  rewrite = true, server_rewrite = true, access = true, content = true, timer = true, preread = true,
  ssl_cert = true, ssl_client_hello = true, ssl_session_fetch = true,
}

local crowd = crowds.new()

-- Looks and sleeps in turn; answers as wait does.
local function watch(fd, direction, sec, waiter)
  local stop, pause = sec and now() + sec, SHORTEST
  while true do
    if waiter.closed then return failed(const.EBADF) end
    local ready, err, e = waiting.poll(fd, direction, 0)
    if ready ~= false then return ready, err, e end
    local left = stop and stop - now() or LONGEST
    if left <= 0 then return false end
    ngx.sleep(max(min(pause, left), SHORTEST))
    pause = min(pause * 2, LONGEST)
  end
end

local M = {}

--- Waits in the calling light thread, while nginx serves others, in a phase that can yield; elsewhere with poll(2), which
--- blocks the worker.  Notices that the descriptor is ready within 1 ms at first, later within 50 ms.
---@param fd integer
---@param direction "r"|"w"
---@param sec? number  seconds, below 2^31; the default is for ever
---@return boolean? ready  false: the time ran out
---@return string? err
---@return integer? errno  EBADF, also when the socket is closed during the wait; EINVAL
function M.wait(fd, direction, sec)
  if not (waiting.sleeper(fd, direction, sec) and YIELDS[ngx.get_phase()]) then return waiting.poll(fd, direction, sec) end
  local waiter = crowd:enter(fd)
  local ready, err, e = watch(fd, direction, sec, waiter)
  crowd:leave(fd, waiter)
  return ready, err, e
end

sockets.before_close(function(sock) crowd:close(sock.sd) end)

waiting.note_foreign(M.wait)

return M
