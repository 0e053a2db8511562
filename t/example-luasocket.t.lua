-- luasocket: a hundred pages come at once, from a server that answers nobody before all have asked.
local T = require "tap"
if not pcall(require, "socket.http") then
  T.plan(1).skip(1, "lua-socket is not installed")
  return T.done()
end
package.path = os.getenv "LLSOCKET_SOURCE" .. "/t/luasocket/?.lua;" .. package.path
local example = require "example"
local leak = require "leak"
local proc = require "proc"
local servers = require "servers"
T.plan(4)
local before = leak.count()

local listeners, ports = servers.listen()
local pid = proc.fork(function() servers.run(listeners) end)
for _, listener in pairs(listeners) do listener:close() end
local url = ("http://127.0.0.1:%d/hundred"):format(ports.http)
local out, ok = example.run("luasocket", url:rep(100, " "))
local _, pages = out:gsub(url .. ": 200, 30010 bytes\n", "")
T.is(pages, 100, "each page comes")
T.ok(ok, "and it ends well")
out = example.run("luasocket", "http://127.0.0.1:1/")
T.is(out, "http://127.0.0.1:1/: connection refused\n", "what does not come has its error")
proc.kill(pid, proc.SIGKILL)
proc.wait(pid)
T.is(leak.count(), before, "no descriptor is left")
T.done()
