-- cosocket.lua -- what lua-nginx-module documents as ngx.socket, over the sockets of this library: for libraries that were
-- written for it, in every loop, without one, and in nginx's phases that have no cosockets.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local tcp = require "llsocket.cosocket.tcp"
local udp = require "llsocket.cosocket.udp"
local nested = require "llsocket.cosocket.nested"
local ngx = require "llsocket.cosocket.ngx"
local pool = require "llsocket.cosocket.pool"
local settings = require "llsocket.cosocket.settings"
local timer = require "llsocket.cosocket.timer"

---@class llsocket.cosocket.module
local M = {
  tcp = tcp.new, stream = tcp.new, udp = udp.new, configure = settings.configure, sweep = pool.sweep, drain = pool.drain,
  watch = pool.watch, exit = timer.exit, coroutine = nested.coroutine,
}

--- Makes a cosocket and connects it.
---@param host string  as sock:connect
---@param port? integer|string|table
---@param options? table
---@param extra? any  raises
---@return llsocket.cosocket.tcp? sock
---@return string? err
function M.connect(host, port, options, extra)
  local sock = tcp.new()
  local done, err = sock:connect(host, port, options, extra)
  if done then return sock end
  return nil, err
end

local socket = { tcp = tcp.new, stream = tcp.new, udp = udp.new, connect = M.connect }

--- Answers the table that libraries for nginx know as `ngx`, always the same one.  Nothing is set: the program may make it a
--- global.
---@return table ngx
function M.ngx() return ngx.table(socket) end

return M
