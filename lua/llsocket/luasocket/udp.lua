-- udp.lua -- udp, udp4, udp6 and their objects: connected and unconnected.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local const = require "llsocket.core.const"
local addrinfo = require "llsocket.addrinfo"
local argument = require "llsocket.luasocket.argument"
local names = require "llsocket.luasocket.names"
local objects = require "llsocket.luasocket.object"
local options = require "llsocket.luasocket.option"
local packet = require "llsocket.luasocket.packet"
local setmetatable = setmetatable

local AF_UNSPEC, AF_INET, AF_INET6, SOCK_DGRAM = const.AF_UNSPEC, const.AF_INET, const.AF_INET6, const.SOCK_DGRAM
local done = names.done

local classes = objects.classes("udp", { "connected", "unconnected" })
local is_any, is_connected = objects.checks "udp{any}", objects.checks "udp{connected}"
local is_unconnected = objects.checks "udp{unconnected}"

local Udp = {}

-- Gives the object the socket for an address, at its first sendto; answers the word.
local function ready_for(object, ai)
  if object.family ~= AF_UNSPEC or object.sock then return nil end
  local word = names.create(object, ai:family(), SOCK_DGRAM)
  if not word then object.family = ai:family() end
  return word
end

--- Sends to a numeric address.
---@param object table
---@param data string
---@param host string
---@param port string|integer
---@return integer? n  bytes
---@return string? err
function Udp.sendto(object, data, host, port)
  is_unconnected(object)
  data = argument.string(data, 2)
  host, port = names.arguments(host, port, 3)
  local list, err = names.numeric(host, port, SOCK_DGRAM, object.family, const.AI_NUMERICSERV or 0)
  if not list then return nil, err end
  local word = ready_for(object, list[1])
  if word then return nil, word end
  objects.begin(object)
  return packet.send(object, data, list[1])
end

--- Receives a message, and tells who sent it.
---@param object table
---@param size? integer  most bytes, 8192 by default
---@return string? msg
---@return string? host_or_err
---@return integer? port
function Udp.receivefrom(object, size)
  is_unconnected(object)
  local n = packet.size(size)
  if not n then return nil, "out of memory" end
  if not object.sock then return nil, "refused" end
  objects.begin(object)
  local msg, ai = packet.receive(object, n)
  if not msg then return nil, ai end
  return msg, ai:addr(), ai:port()
end

-- An address without a family takes the peer away.
local NOBODY = ("\0"):rep(28)

--- Connects to an address, or from it where that is "*".
---@param object table
---@param host string
---@param port? string|integer
---@return integer? one
---@return string? err
function Udp.setpeername(object, host, port)
  is_any(object)
  host = argument.text(host, 2)
  if host == "*" then
    if object.sock then object.sock:connect(addrinfo.new(NOBODY, SOCK_DGRAM)) end
    setmetatable(object, classes.unconnected)
    return 1
  end
  local word = names.connect(object, host, argument.text(port, 3), SOCK_DGRAM)
  if word then return nil, word end
  setmetatable(object, classes.connected)
  return 1
end

--- Binds to an address.
---@param object table
---@param host string
---@param port string|integer
---@return integer? one
---@return string? err
function Udp.setsockname(object, host, port)
  is_unconnected(object)
  host, port = names.arguments(host, port, 2)
  return done(names.bind(object, host, port, SOCK_DGRAM, object.family))
end

objects.give(classes, objects.common "udp")
objects.give(classes, names.methods(is_any, is_connected))
objects.give(classes, options.methods(is_any, options.UDP_READ, options.UDP_WRITE))
objects.give(classes, packet.methods(is_any, is_connected))
objects.give(classes, Udp)

local function create(family)
  local object = objects.new(classes.unconnected, nil, family)
  local word = names.create(object, family, SOCK_DGRAM)
  if word then return nil, word end
  return object
end

local M = { DATAGRAM = packet.DATAGRAM }

--- Makes an object whose family the first address decides.
---@return table unconnected
function M.udp() return objects.new(classes.unconnected, nil, AF_UNSPEC) end

--- Makes an object for IPv4.
---@return table? unconnected
---@return string? err
function M.udp4() return create(AF_INET) end

--- Makes an object for IPv6.
---@return table? unconnected
---@return string? err
function M.udp6() return create(AF_INET6) end

return M
