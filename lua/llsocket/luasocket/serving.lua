-- serving.lua -- the methods listen, accept and shutdown, which streams of the internet and of unix sockets share.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local const = require "llsocket.core.const"
local argument = require "llsocket.luasocket.argument"
local names = require "llsocket.luasocket.names"
local objects = require "llsocket.luasocket.object"
local words = require "llsocket.luasocket.words"
local setmetatable, max, min = setmetatable, math.max, math.min

local EBADF, EINTR = const.EBADF, const.EINTR
local HOW = { receive = const.SHUT_RD, send = const.SHUT_WR, both = const.SHUT_RDWR }
local MOST = 2^31 - 1

local M = {}

-- Accepts, waiting where nothing is there; answers the socket, or nil and the word.
local function accept(object)
  if not object.sock then return nil, "closed" end
  local sock, _, again, e = object.sock:accept(true)
  if sock then return sock end
  if not again then return nil, words.of(e) end
  local word = e ~= EINTR and objects.wait(object, "r")
  if word then return nil, word end
  return accept(object)
end

-- The kernel takes a negative backlog for the largest.
local function listen(object, backlog)
  if not object.sock then return words.of(EBADF) end
  local _, e = object.sock:listen(backlog < 0 and MOST or max(min(backlog, MOST), 0))
  if e then return words.of(e) end
end

--- Makes the methods of a kind of streams.
---@param kind string
---@param classes table<string, table>  master, client, server
---@return table<string, function> methods  listen, accept, shutdown
function M.methods(kind, classes)
  local is_master, is_server = objects.checks(kind .. "{master}"), objects.checks(kind .. "{server}")
  local is_client = objects.checks(kind .. "{client}")
  local methods = {}

  --- Listens: the object becomes a server.
  function methods.listen(object, backlog)
    is_master(object)
    local word = listen(object, argument.whole(argument.optional_number(backlog, 2, 32)))
    if not word then setmetatable(object, classes.server) end
    return names.done(word)
  end

  --- Waits for a connection and answers its object.
  function methods.accept(object)
    is_server(object)
    objects.begin(object)
    local sock, word = accept(object)
    if not sock then return nil, word end
    return objects.new(classes.client, sock, object.family)
  end

  --- Shuts a connection down: "both" (the default), "send" or "receive".
  function methods.shutdown(object, how)
    is_client(object)
    local flag = argument.choice(how, 2, "both", HOW)
    if object.sock then object.sock:shutdown(flag) end
    return 1
  end

  return methods
end

return M
