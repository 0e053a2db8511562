-- writing.lua -- the method send of connected streams.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local const = require "llsocket.core.const"
local argument = require "llsocket.luasocket.argument"
local objects = require "llsocket.luasocket.object"
local words = require "llsocket.luasocket.words"
local getmetatable, type = getmetatable, type
local min = math.min

local begin, wait, EINTR = objects.begin, objects.wait, const.EINTR

local M = {}

-- Sends the bytes from `at` up to `stop` once; answers as a socket's send does.
local function transmit(sock, data, at, stop)
  if at == 0 and stop == #data then return sock:send(data) end
  return sock:sendfrom(data, stop - at, at)
end

-- Sends all bytes from `at` up to `stop`; answers how far it came, and the word where that is not all.
local function send_all(object, data, at, stop)
  if at >= stop then return at end
  local sock = object.sock
  if not sock then return at, "closed" end
  local n, err, again, e = transmit(sock, data, at, stop)
  if not (n or again) then return at, (err or e) and words.of(e) or "closed" end
  at = at + (n or 0)
  if at >= stop then return at end
  local word = e ~= EINTR and wait(object, "w")
  if word then return at, word end
  return send_all(object, data, at, stop)
end

-- Answers the bounds of what is to be sent: the bytes before it, and the last one.
local function bounds(size, i, j)
  local first = argument.long(argument.optional_number(i, 3, 1))
  local last = argument.long(argument.optional_number(j, 4, -1))
  if first < 0 then first = size + first + 1 end
  if last < 0 then last = size + last + 1 end
  return first < 1 and 0 or first - 1, min(last, size)
end

--- Makes the methods that write of a kind of stream.
---@param client string  the full name of its connected class
---@return table<string, function> methods  send
function M.methods(client)
  local is_client = objects.checks(client)
  local methods = {}

  --- Sends the bytes from i to j of a string; answers the last one that was sent.
  function methods.send(object, data, i, j)
    local class = getmetatable(object)
    if not class or not class[client] then is_client(object) end
    data = argument.string(data, 2)
    local at, stop = 0, #data
    if type(i) ~= "nil" or type(j) ~= "nil" then at, stop = bounds(stop, i, j) end
    begin(object)
    local reached, word = send_all(object, data, at, stop)
    object.sent = object.sent + (reached - at)
    if word then return nil, word, reached end
    return reached, nil, nil
  end

  return methods
end

return M
