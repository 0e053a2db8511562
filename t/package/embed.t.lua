-- package: a C program that embeds LuaJIT carries the whole library in itself: the shim linked in, the Lua files as bytecode.
local install = require "install"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local T = require("tap").plan(8)
local before = leak.count()

-- Runs the Lua file that it is given.
local HOST = [[
#include <stdio.h>
#include <lua.h>
#include <lualib.h>
#include <lauxlib.h>

int main(int argc, char **argv) {
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    int failed = argc < 2 || luaL_dofile(L, argv[1]);
    if (failed) fprintf(stderr, "%s\n", lua_tostring(L, -1));
    lua_close(L);
    return failed;
}
]]

local HEADERS = "-I/usr/include/luajit-2.1"

-- What is made by its first use, in an old load and in a new one, without any loader.
local FIRST_USE = [[
local L = require "llsocket"
local p = L.socket.pair(L.SOCK_STREAM)
for name in pairs(package.loaded) do if name:find "^llsocket" then package.loaded[name] = nil end end
local M = require "llsocket"
package.loaders = {}
local q = M.socket.pair(M.SOCK_STREAM)
io.write(p[1]:sendmsg(L.msghdr.new { data = "old" }), (p[2]:recv()), q[1]:sendmsg(M.msghdr.new { data = "new" }), (q[2]:recv()))
io.write(" ", type(p[1].recvbatch), type(q[1].recvinto), type(M.poll.new "poll"), " ", tostring(L.poll ~= M.poll))
]]

local ROUND_TRIP = [[
local L = require "llsocket"
local p = L.socket.pair(L.SOCK_STREAM)
io.write((p[1]:send "works"), " ", (p[2]:recv()), " ", (L.poll.new():wait(0)))]]

-- The program in a folder without a Lua file or a shim, with paths that lead nowhere.
local function alone(program, source)
  local dir = net.tmpdir()
  local code = install.write(dir .. "/code.lua", source or ROUND_TRIP)
  return (proc.run(shell.format("cd %q && LUA_PATH=%q'/?.lua' LUA_CPATH=%q'/?.so' %q %q", dir, dir, dir, program, code)))
end

local function run(dir)
  local told = install.told "Embedding"
  T.is(#told, 2, "doc/install.md tells two ways")
  T.ok(install.sh(shell.format("cd %q && %s", dir, told[1])), "a program links the shim in")
  T.ok(alone(dir .. "/program"):find "module 'llsocket' not found", "its Lua files have to be found")
  T.is(proc.run(shell.format("cd / && LUA_PATH=%q'/lua/?.lua' LUA_CPATH= %q/program %q", dir, dir,
    install.write(dir .. "/code.lua", ROUND_TRIP))), "5 works 0", "where they are, no shim is looked for")
  T.ok(install.sh(shell.format("cd %q && set -e\n%s", dir, told[2])), "a program links them in, too")
  T.is(alone(dir .. "/program"), "5 works 0", "which needs no other file")
  T.is(alone(dir .. "/program", FIRST_USE), "3old3new functionfunctiontable true", "nor any loader once it is loaded, twice over")
end

local dir = net.tmpdir()
install.write(dir .. "/program.c", HOST)
assert(install.sh(shell.format("cp -r %q/csrc %q/lua %q && rm -f %q/lua/llsocket/shim.so",
  install.source, install.source, dir, dir)))
local why = install.lacks "cc"
if not why and not select(2, proc.run(shell.format("cd %q && cc program.c %s -lluajit-5.1 -o program", dir, HEADERS))) then
  why = "there are no files to embed LuaJIT with (libluajit-5.1-dev)"
end
if why then T.skip(7, why) else run(dir) end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
