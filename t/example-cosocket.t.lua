-- cosocket: a library of nginx's runs outside nginx, against a real server.
local stream = require "llsocket.stream"
local example = require "example"
local leak = require "leak"
local net = require "net"
local nginx = require "nginx"
local proc = require "proc"
local shell = require "shell"
local T = require("tap").plan(3)
local before = leak.count()

local why = nginx.missing()
local library = not why and nginx.package "lua-nginx-redis"
if not example.has "redis-server" then why = "redis-server is missing" end
if why or not library then
  T.skip(2, why or "lua-nginx-redis cannot be had")
else
  local host, port = net.own_host(1), net.free_port()
  local dir = net.tmpdir()
  local command = "echo $$; exec redis-server --port %d --bind %q --dir %q --save '' 2>&1"
  local pipe = assert(io.popen(shell.format(command, port, host, dir)))
  local pid = tonumber(pipe:read "*l")
  net.await(function() return stream.connect(host, port, 1) end):close()
  local path = shell.format("LUA_PATH=%q\"/usr/share/lua/5.1/?.lua;$LUA_PATH\"", library)
  local out, ok = proc.run(shell.format("%s %q %q/examples/cosocket.lua %q %d nginx.redis", path,
    os.getenv "LLSOCKET_LUAJIT", os.getenv "LLSOCKET_SOURCE", host, port))
  T.is(out, "100 visits, over 10 connections\n", "a hundred coroutines share ten connections")
  T.ok(ok, "and it ends well")
  proc.kill(pid)
  pipe:read "*a"
  pipe:close()
  net.cleanup()
end
T.is(leak.count(), before, "no descriptor is left")
T.done()
