-- packet.lua -- what the objects of datagrams share: receiving a message, sending one.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local const = require "llsocket.core.const"
local argument = require "llsocket.luasocket.argument"
local objects = require "llsocket.luasocket.object"
local words = require "llsocket.luasocket.words"
local max, min = math.max, math.min

local EINTR = const.EINTR
local DATAGRAM, MOST = 8192, 2^26 -- bytes: taken by default, and at most

local M = { DATAGRAM = DATAGRAM }

-- LuaSocket says "refused" where the other side did not accept a datagram.
local function word_of(e) return e == const.EPIPE and "refused" or words.of(e) end

local function wait(object, direction)
  local word = objects.wait(object, direction)
  return word == "closed" and "refused" or word
end

--- Answers how many bytes a receive takes; nil where no memory is that large.
---@param size any
---@return number? n
function M.size(size)
  local n = argument.whole(argument.optional_number(size, 2, DATAGRAM))
  if n < 0 then return nil end
  return min(n, MOST)
end

--- Receives a message; the caller has begun.  A closed object gets an empty one, as LuaSocket's does.
---@param object table
---@param n number  most bytes; with 0 a message is dropped
---@return string? msg
---@return string|llsocket.addrinfo|nil other  the word, or the sender
function M.receive(object, n)
  local sock = object.sock
  if not sock then return "" end
  local msg, ai, _, again, e = sock:recvfrom(max(n, 1))
  if msg then return n == 0 and "" or msg, ai end
  if not again then return not e and "" or nil, e and word_of(e) or nil end
  local word = e ~= EINTR and wait(object, "r")
  if word then return nil, word end
  return M.receive(object, n)
end

--- Receives a message from the peer, without asking who it is.
---@param object table
---@param n number
---@return string? msg
---@return string? word
function M.receive_only(object, n)
  local sock = object.sock
  if not sock then return "" end
  local msg, _, again, e = sock:recv(max(n, 1))
  if msg then return n == 0 and "" or msg end
  if not again then return not e and "" or nil, e and word_of(e) or nil end
  local word = e ~= EINTR and wait(object, "r")
  if word then return nil, word end
  return M.receive_only(object, n)
end

-- Sends once; answers the bytes, whether to try again, and the errno.
local function transmit(sock, msg, ai)
  local n, _, again, e
  if ai then n, _, again, e = sock:sendto(msg, ai) else n, _, again, e = sock:send(msg) end
  return n, again, e
end

--- Sends a message.
---@param object table
---@param msg string
---@param ai? llsocket.addrinfo  nil: to the peer
---@return integer? n  bytes
---@return string? word
function M.send(object, msg, ai)
  local sock = object.sock
  if not sock then return nil, "refused" end
  local n, again, e = transmit(sock, msg, ai)
  if n and not e then return n end
  if not again then return nil, e and word_of(e) or "refused" end
  local word = e ~= EINTR and wait(object, "w")
  if word then return nil, word end
  return M.send(object, msg, ai)
end

--- Makes the methods that are the same for all kinds of datagrams.
---@param is_any function  raises for another object
---@param is_connected function  raises for an object without a peer
---@return table<string, function> methods
function M.methods(is_any, is_connected)
  local methods = {}

  --- Sends to the peer.
  function methods.send(object, data)
    is_connected(object)
    data = argument.string(data, 2)
    objects.begin(object)
    return M.send(object, data)
  end

  --- Receives a message.
  function methods.receive(object, size)
    is_any(object)
    local n = M.size(size)
    if not n then return nil, "out of memory" end
    objects.begin(object)
    local msg, word = M.receive_only(object, n)
    if msg then return msg end
    return nil, word
  end

  --- Answers false: no datagram is held.
  function methods.dirty(object)
    is_any(object)
    return false
  end

  return methods
end

return M
