-- meson install: require "llsocket" works after an installation, with and without LUA_CPATH, and in meson devenv.
local example = require "example"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local T = require("tap").plan(15)
local before = leak.count()

local source = os.getenv "LLSOCKET_SOURCE"
local dir = net.tmpdir()
local CODE = [[local L = require "llsocket"; local p = L.socket.pair(L.SOCK_STREAM); io.write((p[1]:send "works"))]]

-- Runs Lua with nothing but what the environment names.
local function try(environment)
  return (proc.run(shell.format("cd / && env -u LUA_PATH -u LUA_CPATH %s %q -e %q", environment, proc.luajit, CODE)))
end

local function meson(command)
  local text, ok = proc.run(shell.format("cd %q && env -u DESTDIR %s", dir, command))
  if not ok then print("# " .. text:gsub("\n", "\n# ")) end
  return ok
end

local function exists(path)
  local file = io.open(dir .. path)
  if file then file:close() end
  return file ~= nil
end

local function run()
  T.ok(try "":find "module 'llsocket' not found", "without an install there is nothing to find")
  T.ok(meson(shell.format("meson setup one %q --prefix %q/usr", source, dir)), "a build folder with a prefix of its own")
  T.ok(meson "meson install -C one", "meson install")
  local share, lib = dir .. "/usr/share/lua/5.1/", dir .. "/usr/lib/lua/5.1/"
  T.is(try(("'LUA_PATH=%s?.lua' 'LUA_CPATH=%s?.so'"):format(share, lib)), "5", "LUA_PATH and LUA_CPATH by hand")
  T.is(try(("'LUA_PATH=%s?.lua' LUA_CPATH="):format(share)), "5", "LUA_PATH alone: the shim is found beside")
  T.is(proc.run(shell.format("cd %q && find . -name '*.lua' | sort", share)),
    proc.run(shell.format("cd %q/lua && find . -name '*.lua' | sort", source)), "every Lua file is installed, and no other")
  T.ok(exists "/usr/share/lua/5.1/llsocket/modules.bundle", "and one with the text of all")

  T.ok(meson "meson configure one -Dprefix=/opt/x -Dluadir=/opt/x/l -Dcluadir=/opt/x/c", "luadir and cluadir")
  T.ok(meson "DESTDIR=\"$PWD/stage\" meson install -C one", "DESTDIR")
  T.ok(exists "/stage/opt/x/l/llsocket/socket.lua" and exists "/stage/opt/x/c/llsocket/shim.so", "all is where it was asked for")
  T.is(try(("'LUA_PATH=%s/stage/opt/x/l/?.lua' 'LUA_CPATH=%s/stage/opt/x/c/?.so'"):format(dir, dir)), "5", "and work")
  T.ok(meson "ninja -C one uninstall", "ninja uninstall")
  T.is(proc.run(shell.format("test ! -e %q/stage || find %q/stage -type f", dir, dir)), "", "takes away what was installed last")
  local said = proc.run(shell.format("cd %q && env -u LUA_PATH -u LUA_CPATH meson devenv -C one %q -e %q 2>/dev/null",
    dir, proc.luajit, CODE))
  T.is(said:match "[^\n]*$", "5", "meson devenv") -- in a cross build it has a word to say about emulators first
end

if jit.opt and not jit.status() or os.getenv "LLSOCKET_STRESS" then T.skip(14, "an install is the same in every mode")
elseif not (example.has "meson" and example.has "cc" and example.has "ninja") then T.skip(13, "no meson, ninja or cc here")
else run() end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
