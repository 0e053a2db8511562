-- tcp.lua -- tcp, tcp4, tcp6, connect and their objects: master, client, server.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local const = require "llsocket.core.const"
local argument = require "llsocket.luasocket.argument"
local names = require "llsocket.luasocket.names"
local objects = require "llsocket.luasocket.object"
local options = require "llsocket.luasocket.option"
local reading = require "llsocket.luasocket.reading"
local serving = require "llsocket.luasocket.serving"
local writing = require "llsocket.luasocket.writing"
local setmetatable, type = setmetatable, type

local AF_UNSPEC, AF_INET, AF_INET6, SOCK_STREAM = const.AF_UNSPEC, const.AF_INET, const.AF_INET6, const.SOCK_STREAM
local done = names.done

local classes = objects.classes("tcp", { "master", "client", "server" })
local is_any, is_master = objects.checks "tcp{any}", objects.checks "tcp{master}"

objects.give(classes, objects.common "tcp")
objects.give(classes, reading.methods("tcp{client}", "tcp{any}"))
objects.give(classes, writing.methods "tcp{client}")
objects.give(classes, names.methods(is_any, is_any))
objects.give(classes, serving.methods("tcp", classes))
objects.give(classes, options.methods(is_any, options.TCP_READ, options.TCP_WRITE))

--- Connects by name.  The object becomes a client also where that fails: without a time limit it may be under way.
local function connect(object, host, port)
  is_any(object)
  host, port = names.arguments(host, port, 2)
  local word = names.connect(object, host, port, SOCK_STREAM)
  setmetatable(object, classes.client)
  return done(word)
end

--- Binds by name.
local function bind(object, host, port)
  is_master(object)
  host, port = names.arguments(host, port, 2)
  return done(names.bind(object, host, port, SOCK_STREAM, object.family))
end

objects.give(classes, { connect = connect, setpeername = connect, bind = bind, setsockname = bind })

-- Answers an object with a socket of a family.
local function create(family)
  local object = objects.new(classes.master, nil, family)
  local word = names.create(object, family, SOCK_STREAM)
  if word then return nil, word end
  return object
end

local FAMILIES = { unspec = AF_UNSPEC, inet = AF_INET, inet6 = AF_INET6 }

local M = {}

--- Makes an object whose family the first address decides.
---@return table master
function M.tcp() return objects.new(classes.master, nil, AF_UNSPEC) end

--- Makes an object for IPv4.
---@return table? master
---@return string? err
function M.tcp4() return create(AF_INET) end

--- Makes an object for IPv6.
---@return table? master
---@return string? err
function M.tcp6() return create(AF_INET6) end

--- Connects by name, perhaps from an address.
---@param host string
---@param port string|integer
---@param local_host? string
---@param local_port? string|integer
---@param family? "unspec"|"inet"|"inet6"  of the local address
---@return table? client
---@return string? err
function M.connect(host, port, local_host, local_port, family)
  host, port = names.arguments(host, port, 1)
  local from = type(local_host) ~= "nil" and argument.text(local_host, 3)
  local from_port = type(local_port) == "nil" and "0" or argument.text(local_port, 4)
  local chosen = argument.choice(family, 5, "unspec", FAMILIES)
  local object = objects.new(classes.client, nil, AF_UNSPEC)
  local word = from and names.bind(object, from, from_port, SOCK_STREAM, chosen)
  word = word or names.connect(object, host, port, SOCK_STREAM)
  if not word then return object end
  objects.close(object)
  return nil, word
end

return M
