-- nginx-openresty: a newcomer copies what stands in doc/openresty.md, and it works; a dead collector looks as it says.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local newcomer = require "newcomer"
local nginx = require "nginx"
local proc = require "proc"
local shell = require "shell"
local source = os.getenv "LLSOCKET_SOURCE"
local T = require("tap").plan(14)
local before = leak.count()

-- What a program called nginx does: Debian's, unpacked.  Its configuration loads modules that are installed, if any.
local NGINX = [[#!/bin/sh
prefix=%q
modules=$prefix/usr/lib/nginx/modules
export LD_LIBRARY_PATH="$(echo "$prefix"/usr/lib/*-linux-*)" LUA_PATH="$prefix/usr/share/lua/5.1/?.lua;;"
exec "$prefix/usr/sbin/nginx" "$@" \
  -g "load_module \"$modules/ndk_http_module.so\"; load_module \"$modules/ngx_http_lua_module.so\";"
]]

local function follow()
  local dir = net.tmpdir()
  proc.run(shell.format("cd %q && mkdir clone bin && cp -r %q/csrc %q/lua clone && rm -f clone/lua/llsocket/shim.so",
    dir, source, source))
  nginx.write(dir .. "/bin/nginx", shell.format(NGINX, nginx.prefix))
  nginx.write(dir .. "/script", "export PATH=" .. dir .. "/bin:$PATH\n" .. newcomer.script(dir))
  local nobody = proc.run("id -u"):match "^0\n" and "setpriv --reuid=nobody --regid=nogroup --clear-groups" or ""
  if not select(2, proc.run(shell.format("%s test -r %q", nobody, nginx.prefix))) then nobody = "" end
  proc.run(shell.format("chmod +x %q/bin/nginx; [ -z %q ] || chown -R nobody %q", dir, nobody, dir))
  local out, ok = proc.run(shell.format("%s sh %q/script", nobody, dir))
  if not T.ok(ok, "what the page says can be copied into a shell") then
    print("# " .. (out .. nginx.read(dir .. "/clone/hello/error.log")):gsub("\n", "\n# "))
  end
  T.ok(out:find("hello\n", 1, true), "nginx serves")
  net.await(function() return nginx.read(dir .. "/received") ~= "" end)
  T.is(nginx.read(dir .. "/received"), "hello:1|c\n", "and the datagram arrives from the log phase")
  net.await(function() return not nginx.read(dir .. "/clone/hello/nginx.pid"):find "%d" end)
  T.ok(not nginx.read(dir .. "/clone/hello/error.log"):find "%[error%]", "no error is logged")
end

local function udp()
  local ai = net.addr(L.AF_INET, L.SOCK_DGRAM, net.free_port()) -- nobody else gets it while it is dead
  local collector = assert(L.socket.new(ai))
  assert(not collector:bind())
  local sock = assert(L.socket.new(ai, true))
  assert(not sock:connect())
  collector:close()
  T.is(sock:send "x", 1, "UDP: the first datagram to a dead collector is sent")
  T.is(select(4, sock:send "x"), L.ECONNREFUSED, "the second reports what became of it")
  T.is(sock:send "x", 1, "the third is sent")
  local back = assert(L.socket.new(ai, true))
  sock:error()
  assert(not back:bind())
  sock:send "back"
  net.await(function() return back:recvable(0) end)
  T.is((back:recv()), "back", "when it is back, datagrams arrive")
  sock:close(); back:close()
end

local function unix()
  local ai = assert(L.unix.getaddrinfo(net.tmpdir() .. "/collector", L.SOCK_DGRAM))[1]
  local collector = assert(L.socket.new(ai, true))
  assert(not collector:bind())
  local sock = assert(L.socket.new(ai, true))
  assert(not sock:connect())
  local held = 0
  while sock:send "x" == 1 do held = held + 1 end
  print("# it holds " .. held)
  local _, _, again, why = sock:send "x"
  T.ok(again and why == L.EAGAIN, "unix: one that is stuck is no error")
  collector:close()
  local first = select(4, sock:send "x")
  local second = select(4, sock:send "x")
  T.ok(first == L.ECONNREFUSED and second == L.ENOTCONN, "one that is gone is: ECONNREFUSED, then ENOTCONN")
  os.remove(ai:addr())
  T.is(select(3, sock:connect()), L.ENOENT, "without its file there is no connecting")
  collector = assert(L.socket.new(ai, true))
  assert(not collector:bind())
  T.is(select(4, sock:send "x"), L.ENOTCONN, "when it is back, a new connection is needed")
  T.is(sock:connect() or sock:send "x", 1, "and suffices")
  sock:close(); collector:close()
end

udp()
unix()
local missing = nginx.missing()
if missing then T.skip(4, missing) else nginx.guard(follow) end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
