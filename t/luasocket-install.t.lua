-- luasocket-install: nothing is replaced without install(), which comes first or says so; LuaSec is told whenever it comes.
local leak = require "leak"
local proc = require "proc"
local before = leak.count()
local T = require("tap").plan(16)

-- What a program prints; LuaSocket and LuaSec need not be installed for most.
local function said(source) return (proc.lua(source):gsub("%s+$", "")) end

-- A LuaSec of the program's own, which fails as often as FAILURES says.
local OWN = [[
local failures = FAILURES
package.preload.ssl = function(name)
  failures = failures - 1
  if failures >= 0 then error("no LuaSec yet", 0) end
  return { wrap = function() return nil, name end }
end
require("llsocket.luasocket").install()
require("llsocket.luasocket").install()
for _ = 1, 3 do
  local done, ssl = pcall(require, "ssl")
  print(done, done and select(2, ssl.wrap(1)) or ssl, done and debug.getinfo(ssl.wrap, "S").source:match "luasec")
end]]

local has_socket, has_ssl = pcall(require, "socket.core"), pcall(require, "ssl")

T.is(said [[
local before = {}
for name in pairs(package.loaded) do before[name] = true end
local face = require "llsocket.luasocket"
local new = {}
for name in pairs(package.loaded) do if not before[name] and name:find "^s" then new[#new + 1] = name end end
print(#new, rawget(_G, "socket"), package.preload.ssl, require("llsocket").luasocket)]],
  "0\tnil\tnil\tnil", "to load the face replaces nothing, makes no global, and is no field of llsocket")
T.is(said [[
local face = require "llsocket.luasocket"
face.install()
face.install()
local core, unix = require "socket.core", require "socket.unix"
print(core.tcp == face.tcp, unix == face.unix, core.install, core.unix, tostring(core.tcp()):match "^[^:]+")]],
  "true\ttrue\tnil\tnil\ttcp{master}", "install() puts it under LuaSocket's names, also twice")
T.is(said [[
package.loaded["socket.core"] = {}
print(pcall(require("llsocket.luasocket").install))]],
  "false\tllsocket.luasocket.install: the program has loaded 'socket.core' already", "it refuses to come too late")
T.is(said [[
package.loaded.socket = {}
local ok, err = pcall(function() require("llsocket.luasocket").install() end)
print(ok, err:match ":2: (.*)$", package.loaded["socket.core"])]],
  "false\tllsocket.luasocket.install: the program has loaded 'socket' already\tnil", "and then replaces nothing")

T.is(said [[
local names = { "socket", "socket.core", "socket.http", "socketry", "ssl" }
for _, name in ipairs(names) do
  package.preload[name] = function() error "not yet" end
  pcall(require, name)
  package.preload[name] = function() return {} end
end
require("llsocket.luasocket").install()
for _, name in ipairs(names) do io.write(tostring(pcall(require, name)), " ") end]],
  "true true true false true", "what could not be loaded before can be loaded then")
T.is(said(OWN:gsub("FAILURES", 0)), ("true\tssl\tluasec\n"):rep(3):sub(1, -2), "a loader of LuaSec that the program has is used")
T.is(said(OWN:gsub("FAILURES", 2)), "false\tno LuaSec yet\tfalse\nfalse\tno LuaSec yet\tfalse\ntrue\tssl\tluasec",
  "where it fails the next require tells its words again, or has it")
T.is(said [[
package.path, package.cpath = package.path, "/nowhere/?.so;" .. package.cpath:match "[^;]*"
require("llsocket.luasocket").install()
local a, b = select(2, pcall(require, "ssl")), select(2, pcall(require, "ssl"))
print(type(a) == "table" or a == b, tostring(b):find "loop or previous")]],
  "true\tnil", "a LuaSec that is not there is told alike twice")

if has_socket then
  T.is(said [[
require("llsocket.luasocket").install()
local socket = require "socket"
local server = assert(socket.bind("127.0.0.1", 0))
local host, port = server:getsockname()
local client = assert(socket.connect(host, port))
print(tostring(server):match "^[^:]+", tostring(client):match "^[^:]+", require("socket.core") == socket)]],
    "tcp{server}\ttcp{client}\ttrue", "LuaSocket's own file stands on it")
  T.is(said [[
require("llsocket.luasocket").install()
require "socket.http"; require "socket.ftp"; require "socket.smtp"; require "socket.url"; require "ltn12"; require "mime"
print(require("socket").http ~= nil, require("llsocket.luasocket").http, require("llsocket.luasocket").bind)]],
    "true\tnil\tnil", "so do the others, and what they add to it stays theirs")
  T.is(said [[
require("llsocket.luasocket").install()
local a = {}
for name in pairs(require("llsocket.luasocket")) do a[#a + 1] = name end
require "socket"
local b = {}
for name in pairs(require("llsocket.luasocket")) do b[#b + 1] = name end
print(#a == #b)]], "true", "the module itself keeps its names")
else
  T.skip(3, "lua-socket is not installed")
end

if has_ssl then
  T.is(said [[
require("llsocket.luasocket").install()
local ssl = require "ssl"
print(type(ssl.wrap), package.preload.ssl, require "ssl" == ssl, debug.getinfo(ssl.wrap, "S").source:match "luasocket/luasec" )]],
    "function\tnil\ttrue\tluasocket/luasec", "LuaSec that is loaded later is told")
  T.is(said [[
local ssl = require "ssl"
local wrap = ssl.wrap
package.loaded.socket, package.loaded["socket.core"] = nil, nil
require("llsocket.luasocket").install()
print(ssl.wrap ~= wrap)]], "true", "LuaSec that was loaded before, too")
  T.is(said [[
local ssl = require "ssl"
package.loaded.socket, package.loaded["socket.core"] = nil, nil
local face = require "llsocket.luasocket"
face.install()
local wrap = ssl.wrap
face.install()
print(ssl.wrap == wrap)]], "true", "but once only")
else
  T.skip(3, "LuaSec is missing")
end
T.is(said [[
require("llsocket.luasocket").install()
print((select(2, pcall(require, "ssl"))) ~= nil)]], "true", "without LuaSec nothing is amiss")
T.is(leak.count(), before, "no descriptor is left")
T.done()
