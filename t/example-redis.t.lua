-- redis: a pipeline of 20,000 commands against a real server, over TCP and a unix path.
local stream = require "llsocket.stream"
local example = require "example"
local leak = require "leak"
local net = require "net"
local shell = require "shell"
local T = require("tap").plan(4)
local before = leak.count()

if example.has "redis-server" then
  local host, port = net.own_host(1), net.free_port()
  local dir = net.tmpdir()
  local path = dir .. "/redis.sock"
  local pipe = assert(io.popen(shell.format("exec redis-server --port %d --bind %q --unixsocket %q --dir %q --save '' 2>&1", port,
    host, path, dir)))
  net.await(function() return stream.connect(path, nil, 1) end):close()
  local out, ok = example.run("redis", host .. " " .. port)
  T.is(out, "20000 replies\n", "over TCP every reply comes, in its order")
  T.ok(ok, "and it ends well")
  T.is(example.run("redis", shell.quote(path)), "20000 replies\n", "over a unix path, too")
  local s = assert(stream.connect(path, nil, 5))
  s:write "SHUTDOWN NOSAVE\r\n"
  s:all()
  s:close()
  pipe:read "*a"
  pipe:close()
  net.cleanup()
else T.skip(3, "redis-server is missing") end
T.is(leak.count(), before, "no descriptor is left")
T.done()
