-- package: LuaRocks makes, packs, installs and removes the library, without a network.
local install = require "install"
local leak = require "leak"
local net = require "net"
local shell = require "shell"
local T = require("tap").plan(25)
local before = leak.count()

local version = install.version()
local rockspec = ("llsocket-%s-1.rockspec"):format(version)
local luarocks = install.offline() .. "luarocks --lua-version 5.1"
local TOLD = { "make", "pack llsocket", "install llsocket-" .. version .. "-1.linux-x86_64.rock", "remove llsocket" }

-- LuaRocks writes beside the sources, so they are a copy; HOME is private as well, for its cache.
local function rocks(dir, tree, command)
  return install.sh(shell.format("cd %q && HOME=%q %s --tree %q %s", dir, dir, luarocks, tree, command))
end

local function found_in(tree, name)
  local share, lib = tree .. "/share/lua/5.1", tree .. "/lib/lua/5.1"
  T.is(install.round_trip(("'LUA_PATH=%s/?.lua' 'LUA_CPATH=%s/?.so'"):format(share, lib)), install.expected(share, lib), name)
end

-- With the loader the modules are found by LuaRocks' own list of them, and the shim beside.
local function found_by_loader(tree)
  if install.round_trip "LUA_INIT='require \"luarocks.loader\"'":find "luarocks.loader' not found" then
    return T.skip(1, "luarocks.loader is not where this LuaJIT looks")
  end
  local config = install.write(net.tmpdir() .. "/config.lua", ('rocks_trees = { { name = "one", root = "%s" } }\n'):format(tree))
  local text = install.round_trip(shell.format("LUAROCKS_CONFIG=%q LUA_CPATH=/none/?.so LUA_INIT='require \"luarocks.loader\"'",
    config))
  T.is(text:match "^[^\n]*\n", install.release() .. " there and back\n", "luarocks.loader finds it, too")
end

local function removed(dir, tree)
  T.ok(rocks(dir, tree, "remove llsocket"), "luarocks remove")
  T.is(install.files(tree, "-not -name 'manifest*'"), "", "leaves no file")
end

local function run()
  for _, command in ipairs(TOLD) do
    T.ok(install.tells("luarocks --lua-version 5.1 " .. command), "doc/install.md tells: " .. command)
  end
  local dir, one, two, three = install.copy(), net.tmpdir(), net.tmpdir(), net.tmpdir()
  T.ok(rocks(dir, one, "lint " .. rockspec), "the rockspec is well-formed")
  T.ok(rocks(dir, one, "make " .. rockspec), "luarocks make")
  T.is(install.files(one .. "/share/lua/5.1"), install.files(install.source .. "/lua", "-name '*.lua'"),
    "every Lua file is installed, and no other")
  T.is(install.files(one .. "/lib/lua/5.1"), "./llsocket/shim.so\n", "and one shim")
  found_in(one, "what it made works")
  found_by_loader(one)

  T.ok(rocks(dir, one, "pack llsocket"), "luarocks pack")
  local ok, rock = install.sh(shell.format("ls %q/llsocket-%s-1.*.rock", dir, version))
  T.ok(ok and not rock:find "\n.", "makes one rock")
  removed(dir, one)
  T.ok(rocks("/", two, shell.format("install %q", rock:match "^[^\n]*")), "luarocks install, of the packed rock")
  found_in(two, "which works")
  removed("/", two)

  local archive = ("llsocket-%s.tar.gz"):format(version)
  T.ok(install.sh(shell.format("cd %q && tar czf ../%s -C .. llsocket-%s && mv ../%s . && zip -q 'llsocket-%s-1.src.rock' %q %s",
    dir, archive, version, archive, version, rockspec, archive)), "a source rock is the rockspec and the release, zipped")
  T.ok(rocks("/", three, shell.format("install %q/llsocket-%s-1.src.rock", dir, version)), "luarocks install, of the source rock")
  found_in(three, "which works")
  removed("/", three)
  local headers = "/usr/include/luajit-2.1"
  if select(2, install.sh("ls " .. headers)):find "luajit.h" then
    local made = rocks(dir, net.tmpdir(), ("make %s LUA_INCDIR=%s"):format(rockspec, headers))
    T.ok(made and install.tells("make LUA_INCDIR=" .. headers), "LuaJIT's own lua.h will do")
  else
    T.skip(1, "LuaJIT's headers are not in " .. headers)
  end
end

local why = install.lacks("luarocks", "cc", "zip")
if why then T.skip(24, why) else run() end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
