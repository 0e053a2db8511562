-- unix.lua -- socket.unix: stream and dgram.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local const = require "llsocket.core.const"
local socket = require "llsocket.socket"
local unix = require "llsocket.unix"
local argument = require "llsocket.luasocket.argument"
local names = require "llsocket.luasocket.names"
local objects = require "llsocket.luasocket.object"
local options = require "llsocket.luasocket.option"
local packet = require "llsocket.luasocket.packet"
local reading = require "llsocket.luasocket.reading"
local serving = require "llsocket.luasocket.serving"
local sleeping = require "llsocket.luasocket.sleeping"
local words = require "llsocket.luasocket.words"
local writing = require "llsocket.luasocket.writing"
local min, setmetatable = math.min, setmetatable

local AF_UNIX, SOCK_STREAM, SOCK_DGRAM = const.AF_UNIX, const.SOCK_STREAM, const.SOCK_DGRAM
local LONGEST_PATH = 107
local done = names.done

-- Answers the address of a path, or nil and the word.
local function address(path, socktype)
  if #path > LONGEST_PATH then return nil, "path too long" end
  local list, _, e = unix.getaddrinfo(path, socktype)
  if not list then return nil, words.of(e) end
  return list[1]
end

-- Does something with the address of a path; where that fails the object is closed.
local function with_address(object, path, socktype, act)
  local ai, word = address(path, socktype)
  if not ai then return word end
  word = act(object, ai)
  if word then objects.close(object) end
  return word
end

local function bind_to(object, ai)
  if not object.sock then return words.of(const.EBADF) end
  local _, e = object.sock:bind(ai)
  return e and words.of(e) or nil
end

-- Connects, and tries again while the backlog is full: then nothing is under way that could be waited for.
local function connect_to(object, ai)
  local delay = 0.001
  while true do
    local word, full = names.connect_to(object, ai)
    local left = objects.left(object)
    if not full or left == 0 then return word end
    sleeping.sleep(left and min(left, delay) or delay)
    delay = min(delay * 2, 0.05)
  end
end

--- Tells the path.
local function getsockname(object)
  local ai, word = names.name_of(object, "getsockname")
  if not ai then return nil, word end
  return (ai:addr():match "^%Z*")
end

-- Makes the methods bind, connect and getsockname of a kind.
local function named(socktype, is_bindable, is_connectable, is_any, connected)
  local function bind(object, path)
    is_bindable(object)
    return done(with_address(object, argument.text(path, 2), socktype, bind_to))
  end
  local function connect(object, path)
    is_connectable(object)
    path = argument.text(path, 2)
    objects.begin(object)
    local word = with_address(object, path, socktype, connect_to)
    if not word then setmetatable(object, connected) end
    return done(word)
  end
  local function name(object)
    is_any(object)
    return getsockname(object)
  end
  return { bind = bind, setsockname = bind, connect = connect, setpeername = connect, getsockname = name }
end

local streams = objects.classes("unixstream", { "master", "client", "server" })
local is_stream, is_master = objects.checks "unixstream{any}", objects.checks "unixstream{master}"
local common = objects.common "unixstream"
common.gettimeout = nil -- LuaSocket's has none

objects.give(streams, common)
objects.give(streams, reading.methods("unixstream{client}", "unixstream{any}"))
objects.give(streams, writing.methods "unixstream{client}")
objects.give(streams, serving.methods("unixstream", streams))
objects.give(streams, named(SOCK_STREAM, is_master, is_master, is_stream, streams.client))
objects.give(streams, options.methods(is_stream, nil, options.UNIX_WRITE))

local dgrams = objects.classes("unixdgram", { "connected", "unconnected" })
local is_dgram, is_unconnected = objects.checks "unixdgram{any}", objects.checks "unixdgram{unconnected}"
local is_connected = objects.checks "unixdgram{connected}"

local Dgram = {}

--- Sends to a path.
---@param object table
---@param data string
---@param path string
---@return integer? n  bytes
---@return string? err
function Dgram.sendto(object, data, path)
  is_unconnected(object)
  data, path = argument.string(data, 2), argument.text(path, 3)
  local ai, word = address(path, SOCK_DGRAM)
  if not ai then return nil, word end
  objects.begin(object)
  return packet.send(object, data, ai)
end

--- Receives a message, and tells the path of its sender, which is empty where it has none.
---@param object table
---@param size? integer  most bytes, 8192 by default
---@return string? msg
---@return string? path_or_err
function Dgram.receivefrom(object, size)
  is_unconnected(object)
  local n = packet.size(size)
  if not n then return nil, "out of memory" end
  objects.begin(object)
  local msg, ai = packet.receive(object, n)
  if not msg then return nil, ai end
  return msg, ai and ai:addr():match "^%Z*" or ""
end

objects.give(dgrams, objects.common "unixdgram")
objects.give(dgrams, named(SOCK_DGRAM, is_unconnected, is_dgram, is_dgram, dgrams.connected))
objects.give(dgrams, options.methods(is_dgram, nil, options.DGRAM_WRITE))
objects.give(dgrams, packet.methods(is_dgram, is_connected))
objects.give(dgrams, Dgram)

-- Answers an object with a socket, or nil and the word.
local function create(class, socktype)
  local sock, _, e = socket.new(unix.getaddrinfo("", socktype)[1], true)
  if not sock then return nil, words.of(e) end
  return objects.new(class, sock, AF_UNIX)
end

local M = {}

--- Makes an object for streams.
---@return table? master
---@return string? err
function M.stream() return create(streams.master, SOCK_STREAM) end

--- Makes an object for datagrams.
---@return table? unconnected
---@return string? err
function M.dgram() return create(dgrams.unconnected, SOCK_DGRAM) end

M.tcp, M.udp = M.stream, M.dgram -- older names

-- In LuaSocket before 3 the module was the function that is `stream` now.
M.__call = M.stream

return setmetatable(M, M)
