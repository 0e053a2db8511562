-- One line of cc builds the shim, and LUA_PATH alone finds it beside the Lua files.
local example = require "example"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local T = require("tap").plan(5)
local before = leak.count()

local source, dir = os.getenv "LLSOCKET_SOURCE", net.tmpdir()
local CODE = [[local L = require "llsocket"; local p = L.socket.pair(L.SOCK_STREAM); io.write((p[1]:send "works"))]]

local function readme()
  local file = assert(io.open(source .. "/README.md"))
  local text = file:read "*a"
  file:close()
  return text
end

local function run()
  local command = readme():match "`(cc [^`]*csrc/%*%.c[^`]*)`"
  T.ok(command, "README has the line: " .. tostring(command))
  proc.run(shell.format("cp -r %q/csrc %q/lua %q; rm -f %q/lua/llsocket/shim.so", source, source, dir, dir))
  local text, ok = proc.run(shell.format("cd %q && %s", dir, command))
  T.ok(ok and text == "", "it builds without a word" .. text)
  T.is(proc.run(shell.format("cd / && LUA_PATH=%q'/lua/?.lua' LUA_CPATH= %q -e %q", dir, proc.luajit, CODE)), "5", "and works")
  proc.run(shell.format("cd %q && cc -shared -fPIC -Icsrc csrc/*.c -o lua/llsocket/shim.so", dir))
  T.is(proc.run(shell.format("cd / && LUA_PATH=%q'/lua/?.lua' LUA_CPATH= %q -e %q", dir, proc.luajit, CODE)), "5",
    "without optimization, too")
end

if jit.opt and not jit.status() or os.getenv "LLSOCKET_STRESS" then T.skip(4, "a build is the same in every mode")
elseif not example.has "cc" then T.skip(4, "this machine has no cc")
else run() end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
