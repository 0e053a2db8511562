-- package: dpkg-buildpackage makes a package of debian/ that lintian has nothing to say about, for Debian's own LuaJIT.
local install = require "install"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local T = require("tap").plan(15)
local before = leak.count()

local version = install.version()
local DEBIANS_LUAJIT = "/usr/bin/luajit"

local function triplet() return (proc.run("dpkg-architecture -qDEB_HOST_MULTIARCH"):match "^[^\n]*") end

-- Whether a path of Debian's LuaJIT names a folder when nobody has set any.
local function searches(path, folder)
  local text = proc.run(("env -u LUA_PATH -u LUA_CPATH %s -e 'io.write(package.%s)'"):format(DEBIANS_LUAJIT, path))
  return (";" .. text .. ";"):find(";" .. folder .. "/?.", 1, true)
end

-- The links of the pages in a folder that lead to no file below it.
local function broken(folder)
  local _, text = install.sh(shell.format([[cd %q && grep -o --include='*.md' -r '](\([^)#: ]*\)' . | sort -u |
    while IFS=: read -r page link; do
      target=$(dirname "$page")/${link#??}
      [ -e "$target" ] || [ "$link" = '](' ] || echo "$page: $target"
    done]], folder))
  return text
end

local function run()
  local dir = install.copy()
  -- The tests run by themselves, and need not run here as well.
  T.ok(install.sh(shell.format("cd %q && DEB_BUILD_OPTIONS=nocheck %sdpkg-buildpackage -us -uc", dir, install.offline())),
    "dpkg-buildpackage makes a source package and a binary one, without a network")
  local ok, text = install.sh(shell.format("cd %q/.. && ls lua-llsocket_%s_*.changes", dir, version))
  T.ok(ok, "of the release that meson.build names")
  T.is(proc.run(shell.format("cd %q/.. && lintian --allow-root --pedantic -I -E %s", dir, text)), "",
    "lintian has nothing to say")
  T.ok(install.sh(shell.format("cd %q/.. && dpkg-source -x lua-llsocket_%s.dsc again", dir, version)),
    "dpkg-source unpacks its source")
  T.is(install.files(dir .. "/../again/lua"), install.files(install.source .. "/lua", "-name '*.lua'"), "which is whole")

  local tree = net.tmpdir()
  T.ok(install.sh(shell.format("cd %q/.. && dpkg -x lua-llsocket_%s_*.deb %q", dir, version, tree)), "dpkg unpacks its package")
  local share, lib = "/usr/share/lua/5.1", "/usr/lib/" .. triplet() .. "/lua/5.1"
  T.is(install.files(tree .. share, "-not -name modules.bundle"), install.files(install.source .. "/lua", "-name '*.lua'"),
    "every Lua file is in it")
  T.is(install.files(tree .. share, "-name modules.bundle"), "./llsocket/modules.bundle\n", "and one with the text of all")
  T.is(install.files(tree .. lib), "./llsocket/shim.so\n", "and one shim")
  T.is(install.files(tree, "-not -path './usr/share/*' -not -path '*/shim.so'"), "",
    "nothing lies outside of these and its documents")
  T.is(broken(tree .. "/usr/share/doc/lua-llsocket"), "", "every link of its pages leads to one of its files")
  T.ok(searches("path", share), "Debian's LuaJIT looks for Lua files where they are")
  T.ok(searches("cpath", lib), "and for the shim where it is")
  T.is(install.round_trip(("'LUA_PATH=%s%s/?.lua' 'LUA_CPATH=%s%s/?.so'"):format(tree, share, tree, lib), DEBIANS_LUAJIT),
    install.expected(tree .. share, tree .. lib), "unpacked into a private tree, it works")
end

local why = install.lacks_debian() or install.lacks("lintian", DEBIANS_LUAJIT)
if why then T.skip(14, why) else run() end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
