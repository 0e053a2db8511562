-- object.lua -- the objects of the face: their classes, the socket they hold, their time limits.
--
-- An object is a table, which its method connect, listen or setpeername moves from one class to another.  It has the fields of
-- a stream, so that stream/inbox.lua keeps what arrived: sock, direct, block, size, first, last.  Beside them:
--   family          AF_*; AF_UNSPEC until the first address decides
--   patience, total the two limits in seconds, below 0: none
--   start           when the call began
--   received, sent, birthday  what getstats tells
--   number          where setfd gave a descriptor that is no socket
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local socket = require "llsocket.socket"
local argument = require "llsocket.luasocket.argument"
local words = require "llsocket.luasocket.words"
local getmetatable, ipairs, pairs, setmetatable, type = getmetatable, ipairs, pairs, setmetatable, type
local max, min = math.max, math.min

local now = shim.llsocket2_now
local EBADF, EINTR, LONGEST = const.EBADF, const.EINTR, 2^31

local M = {}

--- Makes classes of one kind, which share their methods.  An object's metatable is its class; methods find out by it whether
--- they may be called, because `class[group]` is true where the class belongs to the group.
---@param kind string  "tcp"
---@param names string[]  "master", ...
---@return table<string, table> classes  by name
function M.classes(kind, names)
  local classes = {}
  for _, name in ipairs(names) do
    local full = ("%s{%s}"):format(kind, name)
    classes[name] = {
      __index = { class = full }, full = full, [full] = true, [kind .. "{any}"] = true,
      __tostring = function(object) return ("%s: %p"):format(full, object) end,
    }
  end
  return classes
end

--- Gives methods to all classes of a kind.
---@param classes table<string, table>
---@param methods table<string, function>
function M.give(classes, methods)
  for _, class in pairs(classes) do
    for name, method in pairs(methods) do class.__index[name] = method end
  end
end

--- Makes the check of a method's self.
---@param group string  a class's full name, or "tcp{any}"
---@return fun(object: any)  raises unless the object is of the group
function M.checks(group)
  local text = group .. " expected"
  return function(object)
    local class = getmetatable(object)
    if not class or not class[group] then argument.raise(1, text) end
  end
end

--- Makes an object.
---@param class table
---@param sock? llsocket.socket
---@param family integer
---@return table object
function M.new(class, sock, family)
  return setmetatable({
    sock = sock, direct = true, first = 0, last = 0, size = 0, family = family, patience = -1, total = -1, start = 0,
    received = 0, sent = 0, birthday = now(),
  }, class)
end

--- Notes that a call begins.
---@param object table
function M.begin(object)
  if object.patience >= 0 or object.total >= 0 then object.start = now() end
end

--- Tells how long the call may still wait.
---@param object table
---@return number? seconds  nil: for ever
function M.left(object)
  local patience, total = object.patience, object.total
  if patience < 0 and total < 0 then return nil end
  local spent = now() - object.start
  local left
  if patience < 0 then
    left = total - spent
  elseif total < 0 then
    left = patience - spent
  else
    left = min(patience, max(total - spent, 0))
  end
  return left < LONGEST and max(left, 0) or nil -- NaN is for ever, too
end

-- Waits once; answers whether the socket is ready, and the errno.
local function once_ready(sock, direction, sec)
  local ready, _, e
  if direction == "r" then ready, _, e = sock:recvable(sec) else ready, _, e = sock:sendable(sec) end
  return ready, e
end

--- Waits until the object's socket can be read or written.  It calls itself where others would have a loop, and so do the other
--- functions here that mostly try once or twice: at a loop that runs once, LuaJIT gives up the trace of the caller.
---@param object table
---@param direction "r"|"w"
---@return string? word  "timeout", "closed", ...; nil when it is ready
function M.wait(object, direction)
  if object.patience == 0 then return "timeout" end
  local sock = object.sock
  if not sock then return "closed" end
  local ready, e = once_ready(sock, direction, M.left(object))
  if ready then return nil end
  if ready == false then return "timeout" end
  if e == EBADF then return "closed" end
  if e ~= EINTR then return words.of(e) end
  return M.wait(object, direction)
end

--- Closes the object's socket, where it has one.
---@param object table
function M.close(object)
  local sock = object.sock
  object.sock, object.number = nil, nil
  if sock then sock:close() end
end

-- The methods that all kinds have.

--- Closes the object; a second close does nothing.
---@return integer one
local function close(object)
  M.close(object)
  return 1
end

--- Tells the descriptor.
---@return integer fd  -1: there is none
local function getfd(object)
  local sock = object.sock
  return sock and sock.sd or object.number or -1
end

--- Gives the object another descriptor; the one that it had stays open, and is the caller's.
local function setfd(object, fd)
  local number = argument.whole(argument.number(fd, 2))
  if object.sock then object.sock:unwrap() end
  object.sock, object.number = nil, nil
  if number < 0 then return end
  object.sock = number < LONGEST and socket.wrap(number, true) or nil
  if not object.sock then object.number = number end
end

local MODES = { b = "patience", r = "total", t = "total" }

--- Sets a time limit: mode "b" of each wait, "t" of the whole call.
---@return integer one
local function settimeout(object, value, mode)
  local seconds = argument.optional_number(value, 2, -1)
  local field = MODES[type(mode) == "nil" and "b" or argument.string(mode, 3):sub(1, 1)]
  if not field then argument.raise(3, "invalid timeout mode") end
  object[field] = seconds
  return 1
end

--- Tells both time limits.
---@return number patience
---@return number total
local function gettimeout(object) return object.patience, object.total end

-- Puts a check of self before a method.
local function checked(is_one, method)
  return function(object, a, b)
    is_one(object)
    return method(object, a, b)
  end
end

--- Makes the methods that all kinds have.
---@param kind string
---@return table<string, function> methods  close, getfd, setfd, settimeout, gettimeout
function M.common(kind)
  local methods, is_one = {}, M.checks(kind .. "{any}")
  local all = { close = close, getfd = getfd, setfd = setfd, settimeout = settimeout, gettimeout = gettimeout }
  for name, method in pairs(all) do methods[name] = checked(is_one, method) end
  return methods
end

return M
