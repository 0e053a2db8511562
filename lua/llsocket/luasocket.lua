-- luasocket.lua -- what LuaSocket 3.1's C core offers, over the sockets of llsocket.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local shim = require "llsocket.shim"
local argument = require "llsocket.luasocket.argument"
local dns = require "llsocket.luasocket.dns"
local except = require "llsocket.luasocket.except"
local selecting = require "llsocket.luasocket.select"
local sleeping = require "llsocket.luasocket.sleeping"
local tcp = require "llsocket.luasocket.tcp"
local udp = require "llsocket.luasocket.udp"
local unix = require "llsocket.luasocket.unix"
local error, getmetatable, ipairs, package, pairs = error, getmetatable, ipairs, package, pairs
local require, select, type = require, select, type

local min = math.min
local MOST = 2^30 -- of what select takes

-- What LuaSocket's own Lua files are given; they add to it.
local core = {
  _VERSION = "LuaSocket 3.0.0", _DATAGRAMSIZE = udp.DATAGRAM, _SETSIZE = 1024, _SOCKETINVALID = -1, dns = dns,
  tcp = tcp.tcp, tcp4 = tcp.tcp4, tcp6 = tcp.tcp6, connect = tcp.connect, udp = udp.udp, udp4 = udp.udp4, udp6 = udp.udp6,
  select = selecting.select, newtry = except.newtry, protect = except.protect,
}

--- Tells the date.
---@return number seconds  since 1970
function core.gettime() return shim.llsocket2_date() end

--- Sleeps; in a coroutine of a loop the others go on.
---@param seconds number  below 0 is 0
function core.sleep(seconds) sleeping.sleep(argument.number(seconds, 1)) end

--- Drops the first of its other arguments.
---@param n integer  how many
---@param ... any
---@return any ...
function core.skip(n, ...)
  n = argument.whole(argument.number(n, 1))
  if n < 0 then return n, ... end
  return select(min(n, MOST) + 1, ...)
end

--- Does nothing, as LuaSocket's does on Linux.
function core.__unload() end

---@class llsocket.luasocket.module
local M = { unix = unix }
for name, value in pairs(core) do M[name] = value end

-- A failed require of LuaJIT leaves a mark in package.loaded: a number, or userdata without a metatable.
local function is_mark(value)
  return type(value) == "number" or type(value) == "userdata" and not getmetatable(value)
end

-- Forgets what could not be loaded before: the next require would say "loop or previous error".
local function forget_failures()
  for name, value in pairs(package.loaded) do
    local root = type(name) == "string" and name:match "^[^.]+"
    if is_mark(value) and (root == "socket" or root == "ssl") then package.loaded[name] = nil end
  end
end

local INSTALLED = { ["socket.core"] = core, ["socket.unix"] = unix }

--- Puts the face in the place of LuaSocket's C core: `require "socket"` and whatever stands on it then run over llsocket.
--- LuaSec's wrap, where the program uses it, waits as the program does.  Call it before anything requires LuaSocket.
function M.install()
  forget_failures()
  for _, name in ipairs { "socket", "socket.core", "socket.unix" } do
    local loaded = package.loaded[name]
    if loaded ~= nil and loaded ~= core and loaded ~= unix then
      error(("llsocket.luasocket.install: the program has loaded '%s' already"):format(name), 2)
    end
  end
  for name, module in pairs(INSTALLED) do package.loaded[name] = module end
  require("llsocket.luasocket.luasec").install()
end

return M
