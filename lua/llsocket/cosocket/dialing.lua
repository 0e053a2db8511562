-- dialing.lua -- makes the connection of a cosocket.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local address = require "llsocket.cosocket.address"
local settings = require "llsocket.cosocket.settings"
local socket = require "llsocket.socket"
local dial = require("llsocket.stream.dial").dial
local streams = require "llsocket.stream.object"
local waiting = require "llsocket.wait"

local now = shim.llsocket2_now
local AF_UNIX, EINTR, ETIMEDOUT, SOCK_STREAM = const.AF_UNIX, const.EINTR, const.ETIMEDOUT, const.SOCK_STREAM

-- Waits for a connection that is under way; answers its errno.
local function await(sock, at)
  local ready, e
  repeat
    local _
    ready, _, e = sock:sendable(waiting.left(at))
  until e ~= EINTR
  if ready == false then return ETIMEDOUT end
  return e or sock:error()
end

-- Connects to an address from one of our own; answers what dial answers.
local function dial_from(own, ai, at)
  local sock, err, e = socket.new(ai, true)
  if not sock then return nil, err, e end
  local again
  err, e = sock:bind(own)
  if not e then err, again, e = sock:connect() end
  if again then e = await(sock, at) end
  if not e or e == 0 then return sock end
  sock:close()
  return nil, err, e
end

local M = {}

--- Connects.
---@param host string
---@param port integer
---@param own? llsocket.addrinfo  to connect from
---@param at number  until when
---@return llsocket.stream? s
---@return string? err  nginx's word
function M.connect(host, port, own, at)
  local list, why = address.find(host, port, SOCK_STREAM, at)
  if not list then return nil, why end
  local sock, e, _
  if own and list[1]:family() ~= AF_UNIX then sock, _, e = dial_from(own, list[1], at) else sock, _, e = dial(list, at) end
  if not sock then return nil, settings.word(e, now() >= at) end
  if sock:family() ~= AF_UNIX then sock:tcpnodelay(true) end
  return streams.wrap(sock)
end

return M
