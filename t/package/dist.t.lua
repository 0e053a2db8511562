-- package: the archive of meson dist holds what is committed, builds, and passes its tests.
local install = require "install"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local T = require("tap").plan(8)
local before = leak.count()

-- Whoever runs the tests may not own the source, which git would refuse to read.
local GIT = "GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*' git "

local function run(dir)
  local name = "llsocket-" .. install.version()
  T.ok(install.sh(("cd '%s' && meson setup build clone && meson dist -C build --no-tests --formats xztar,gztar"):format(dir)),
    "meson dist, in a clone")
  T.ok(install.sh(("cd '%s/build/meson-dist' && sha256sum -c *.sha256sum"):format(dir)), "its checksums are right")
  for _, suffix in ipairs { "xz", "gz" } do
    T.is(proc.run(("tar tf '%s/build/meson-dist/%s.tar.%s' | grep -v '/$' | sed 's:^%s/::' | LC_ALL=C sort")
      :format(dir, name, suffix, name)), proc.run(("cd '%s/clone' && git ls-files | LC_ALL=C sort"):format(dir)),
      "the archive holds every file that git has, and no other: " .. suffix)
  end
  T.ok(install.sh(("cd '%s' && tar xf build/meson-dist/%s.tar.xz && cd %s && meson setup build && ninja -C build")
    :format(dir, name, name)), "unpacked, it builds")
  -- One way of the three: that a test holds in all is the business of the suite that runs this one.
  local ok, text = install.sh(("cd '%s/%s' && meson test -C build --suite default"):format(dir, name))
  T.ok(ok, "and passes its tests")
  T.ok((tonumber(text:match "\nOk: *(%d+)") or 0) > 100, "all of them")
end

local dir = net.tmpdir()
local why = install.lacks("git", "meson", "ninja", "cc")
if not why and not install.sh(("test -e '%s/.git'"):format(install.source)) then why = "the source is no git checkout" end
if not why and not install.sh(GIT .. ("clone -q '%s' '%s/clone'"):format(install.source, dir)) then why = "git refuses" end
if why then T.skip(7, why) else run(dir) end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
