-- package: the archive of meson dist holds what is committed, builds, and passes its tests.
local install = require "install"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local T = require("tap").plan(8)
local before = leak.count()

-- A clone of the source.  Who runs the tests may not own that, which git would refuse to read.
local function clone(dir)
  local config = install.write(dir .. "/gitconfig", "[safe]\n\tdirectory = *\n")
  return install.sh(shell.format("GIT_CONFIG_GLOBAL=%q git clone -q %q %q/clone", config, install.source, dir))
end

local function run(dir)
  local name = "llsocket-" .. install.version()
  T.ok(install.sh(shell.format("cd %q && meson setup build clone && meson dist -C build --no-tests --formats xztar,gztar", dir)),
    "meson dist, in a clone")
  T.ok(install.sh(shell.format("cd %q/build/meson-dist && sha256sum -c *.sha256sum", dir)), "its checksums are right")
  for _, suffix in ipairs { "xz", "gz" } do
    T.is(proc.run(shell.format("tar tf %q/build/meson-dist/%s.tar.%s | grep -v '/$' | sed 's:^%s/::' | LC_ALL=C sort",
      dir, name, suffix, name)), proc.run(shell.format("cd %q/clone && git ls-files | LC_ALL=C sort", dir)),
      "the archive holds every file that git has, and no other: " .. suffix)
  end
  T.ok(install.sh(shell.format("cd %q && tar xf build/meson-dist/%s.tar.xz && cd %s && meson setup build && ninja -C build",
    dir, name, name)), "unpacked, it builds")
  -- One way of the three: that a test holds in all is the business of the suite that runs this one.
  local ok, text = install.sh(shell.format("cd %q/%s && meson test -C build --suite default --print-errorlogs", dir, name))
  T.ok(ok, "and passes its tests")
  T.ok((tonumber(text:match "\nOk: *(%d+)") or 0) > 100, "all of them")
end

local dir = net.tmpdir()
local why = install.lacks("git", "meson", "ninja", "cc")
if not why and not install.sh(shell.format("test -e %q/.git", install.source)) then why = "the source is no git checkout" end
if not why and not clone(dir) then why = "git cannot clone the source" end
if why then T.skip(7, why) else run(dir) end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
