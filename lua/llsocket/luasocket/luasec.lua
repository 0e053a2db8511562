-- luasec.lua -- LuaSec over the face: handshake, receive and send wait as the program does.
--
-- LuaSec itself waits with poll(2).  With a time limit of 0 it answers what it would wait for.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local argument = require "llsocket.luasocket.argument"
local objects = require "llsocket.luasocket.object"
local words = require "llsocket.luasocket.words"
local waiting = require "llsocket.wait"
local const = require "llsocket.core.const"
local error, getmetatable, pairs, pcall, require = error, getmetatable, pairs, pcall, require
local setmetatable, tostring, type = setmetatable, tostring, type
local package, concat = package, table.concat

local DIRECTION = { wantread = "r", wantwrite = "w", timeout = "r" }

-- By LuaSec's table of methods: the class of our objects, which have the same names.
local classes = {}

-- Waits for what LuaSec told; answers whether it is there.  A time that has run out is told in LuaSec's own word.
local function wait(tls, word)
  if tls.patience == 0 then return false, word end
  local ready, _, e = waiting.wait(tls.conn:getfd(), DIRECTION[word], objects.left(tls))
  if ready or e == const.EINTR then return true end
  return false, ready == false and word or words.of(e)
end

local Tls = {}

--- Does the handshake.
---@param tls table
---@return boolean? done
---@return string? err  LuaSec's word
function Tls.dohandshake(tls)
  objects.begin(tls)
  while true do
    local done, word = tls.conn:dohandshake()
    if done or not DIRECTION[word] then return done, word end
    local ready, why = wait(tls, word)
    if not ready then return done, why end
  end
end

-- Reads a line: its part so far comes before the rest.
local function read_line(tls, pattern, prefix)
  while true do
    local msg, word, part = tls.conn:receive(pattern, prefix)
    if msg or not DIRECTION[word] then return msg, word, part end
    local ready, why = wait(tls, word)
    if not ready then return msg, why, part end
    prefix = part
  end
end

-- Reads so many bytes, or with "*a" all, in pieces: LuaSec would copy all that came at each try.  `parts` holds the prefix.
local function gather(tls, wanted, parts)
  local start = #parts
  while true do
    local msg, word, part = tls.conn:receive(wanted)
    msg = msg or part
    if msg and msg ~= "" then parts[#parts + 1] = msg end
    if wanted ~= "*a" then wanted = wanted - #(msg or "") end
    local is_end = word == "closed" and (msg or "") == "" -- with bytes it is a reset: LuaSec answers those of an end alone
    if word == nil or is_end and wanted == "*a" and #parts > start then return concat(parts) end
    if not DIRECTION[word] then return nil, word, concat(parts) end
    local ready, why = wait(tls, word)
    if not ready then return nil, why, concat(parts) end
  end
end

--- Receives as LuaSocket's receive does.
---@param tls table
---@param pattern? string|integer
---@param prefix? string
---@return string? msg
---@return string? err
---@return string? part
function Tls.receive(tls, pattern, prefix)
  objects.begin(tls)
  local wanted = type(pattern) == "number" and pattern or pattern == "*a" and pattern
  if not wanted then return read_line(tls, pattern, prefix) end
  prefix = type(prefix) == "nil" and "" or argument.string(prefix, 3)
  if wanted ~= "*a" then wanted = wanted - #prefix end
  if wanted ~= "*a" and wanted <= 0 then return read_line(tls, pattern, prefix) end
  return gather(tls, wanted, { prefix })
end

--- Sends as LuaSocket's send does.
---@param tls table
---@param data string
---@param i? integer
---@param j? integer
---@return integer? last
---@return string? err
---@return integer? reached
function Tls.send(tls, data, i, j)
  objects.begin(tls)
  local from = i
  while true do
    local last, word, reached = tls.conn:send(data, from, j)
    if last or not DIRECTION[word] then return last, word, reached end
    local ready, why = wait(tls, word)
    if not ready then return last, why, reached end
    from = reached + 1
  end
end

local MODES = { b = "patience", r = "total", t = "total" }

--- Sets a time limit.
---@param tls table
---@param value? number  seconds
---@param mode? "b"|"t"
---@return integer one
function Tls.settimeout(tls, value, mode)
  local seconds = argument.optional_number(value, 2, -1)
  local field = MODES[mode == nil and "b" or argument.string(mode, 3):sub(1, 1)]
  if not field then argument.raise(3, "invalid timeout mode") end
  tls[field] = seconds
  return 1
end

local function forwarded(method)
  return function(tls, ...) return method(tls.conn, ...) end
end

-- Answers the class for connections of LuaSec with those methods.
local function class_of(methods)
  if classes[methods] then return classes[methods] end
  local index = {}
  for name, method in pairs(methods) do
    index[name] = type(method) == "function" and forwarded(method) or method
  end
  for name, method in pairs(Tls) do index[name] = method end
  classes[methods] = { __index = index, __tostring = function(tls) return tostring(tls.conn) end }
  return classes[methods]
end

local M = {}

local patched = setmetatable({}, { __mode = "k" }) -- tables of LuaSec whose wrap is ours already

-- Answers an object around a connection of LuaSec.
local function adopt(conn)
  conn:settimeout(0)
  return setmetatable({ conn = conn, patience = -1, total = -1, start = 0 }, class_of(getmetatable(conn).__index))
end

-- Makes a function that does what LuaSec's wrap does.
local function wrapping(wrap)
  return function(sock, config)
    local is_ours = type(sock) == "table" and sock.direct ~= nil
    local conn, err = wrap(sock, config)
    if not (conn and is_ours) then return conn, err end
    return adopt(conn)
  end
end

--- Has LuaSec's wrap answer objects that wait as the program does, for sockets of the face.
---@param ssl table  LuaSec
function M.patch(ssl)
  if patched[ssl] then return end
  ssl.wrap = wrapping(ssl.wrap)
  patched[ssl] = true
end

local loader -- ours in package.preload

-- Makes a loader that loads LuaSec as require would, through the loader that the program had put there.
local function loading(previous)
  return function()
    package.preload.ssl, package.loaded.ssl = previous, nil
    local done, ssl = pcall(require, "ssl")
    if done then
      M.patch(ssl)
      return ssl
    end
    package.preload.ssl, package.loaded.ssl = loader, nil -- so that the next require may try again
    error(ssl, 0)
  end
end

--- Does so now, or when the program loads LuaSec.
function M.install()
  if type(package.loaded.ssl) == "table" then
    M.patch(package.loaded.ssl)
  elseif not loader or package.preload.ssl ~= loader then
    loader = loading(package.preload.ssl)
    package.preload.ssl = loader
  end
end

return M
