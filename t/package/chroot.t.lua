-- package: into a system that has nothing but Debian's essentials each way of installing brings the library, and each way
-- of removing takes it away again.
local install = require "install"
local leak = require "leak"
local net = require "net"
local newcomer = require "newcomer"
local proc = require "proc"
local shell = require "shell"
local T = require("tap").plan(22)
local before = leak.count()

local function codename() return install.read "/etc/os-release":match "VERSION_CODENAME=(%w+)" end

-- A system in a folder; nil and the reason when it cannot be had.
local function bootstrap()
  local why = install.lacks_debian() or install.lacks("debootstrap", "chroot", "luarocks")
  if why then return nil, why end
  if not proc.run("id -u"):find "^0\n" then return nil, "only root may make a system in a folder" end
  local root = net.tmpdir()
  local text, ok = proc.run(shell.format("PATH=$PATH:/usr/sbin debootstrap --variant=minbase %q %q",
    codename() or "stable", root))
  if not ok then return nil, "debootstrap cannot: " .. (text:match "([^\n]*)\n$" or text) end
  return root
end

local function apt(root, command)
  return install.sh(shell.format("env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive chroot %q "
    .. "apt-get -q -y %s", root, command))
end

-- What a system has of llsocket.
local function left(root) return install.files(root, "-path '*llsocket*' -not -path './proc/*' -not -path './var/log/*'") end

local function package(root)
  local dir = install.copy()
  T.ok(install.tells "dpkg-buildpackage -us -uc -b && apt-get install ../lua-llsocket_*.deb"
    and install.tells "apt-get purge lua-llsocket", "doc/install.md tells what follows")
  T.is(left(root), "", "a fresh system has nothing of llsocket")
  T.ok(install.sh(shell.format("cd %q && DEB_BUILD_OPTIONS=nocheck dpkg-buildpackage -us -uc -b "
    .. "&& mv ../lua-llsocket_*.deb %q/it.deb", dir, root)), "dpkg-buildpackage")
  T.ok(apt(root, "install ./it.deb"), "apt-get installs the package, and a LuaJIT that it depends on")
  T.is(install.round_trip_in(root), install.expected "/usr/share/lua/5.1", "which finds it without being told where")
  T.ok(apt(root, "purge lua-llsocket"), "apt-get purges it")
  T.is(left(root), "", "and nothing is left")
  T.ok(install.round_trip_in(root):find "module 'llsocket' not found", "nothing is found either")
end

local function meson(root)
  local dir = install.copy()
  T.ok(install.tells "meson setup build && meson install -C build" and install.tells "ninja -C build uninstall",
    "doc/install.md tells what follows")
  T.ok(install.sh(shell.format("cd %q && meson setup build && DESTDIR=%q meson install -C build", dir, root)),
    "meson install, with DESTDIR and the default prefix")
  T.is(install.round_trip_in(root), install.expected "/usr/local/share/lua/5.1", "is found without being told where")
  T.ok(install.sh(("ninja -C '%s/build' uninstall"):format(dir)), "ninja uninstall")
  T.is(left(root), "", "and nothing is left")
end

local function rock(root)
  local dir = install.copy()
  local command = shell.format("cd %q && HOME=%q luarocks --lua-version 5.1 --tree %q/usr/local ", dir, dir, root)
  T.ok(install.sh(command .. "make"), "luarocks make, into the tree that LuaJIT searches")
  T.is(install.round_trip_in(root), install.expected "/usr/local/share/lua/5.1", "is found without being told where")
  T.ok(install.sh(command .. "remove llsocket") and left(root) == "", "luarocks remove, and nothing is left")
end

-- The page on OpenResty, with nginx as Debian installs it, by root and in a folder that nobody else may read.
local function openresty(root)
  local told = "nginx libnginx-mod-http-lua gcc curl"
  local page = install.read(install.source .. "/doc/openresty.md")
  T.ok(page:find("apt-get install " .. told, 1, true), "doc/openresty.md tells what follows")
  install.write(root .. "/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n") -- nothing is started
  install.sh(shell.format("chmod +x %q/usr/sbin/policy-rc.d", root))
  T.ok(apt(root, "install python3 " .. told), "apt-get installs nginx and its Lua")
  install.sh(shell.format("cp -r %q %q/root/clone && rm -f %q/root/clone/lua/llsocket/shim.so", install.copy(), root, root))
  install.write(root .. "/root/script", newcomer.script "/root")
  local ok, text = install.sh(shell.format("env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot %q sh /root/script", root))
  T.ok(ok and text:find("hello\n", 1, true), "what the page says can be copied into a shell")
  net.await(function() return not install.read(root .. "/root/clone/hello/nginx.pid"):find "%d" end)
  T.is(install.read(root .. "/root/received"), "hello:1|c\n", "and the datagram arrives from the log phase")
  local errors = install.read(root .. "/root/clone/hello/error.log")
  T.ok(not errors:find "%[error%]" and not errors:find "%[emerg%]", "no error is logged")
end

local root, why = bootstrap()
if root then package(root); meson(root); rock(root); openresty(root) else T.skip(21, why) end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
