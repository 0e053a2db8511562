-- wait-nginx: in nginx itself, where requests wait for sockets while others are served.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local nginx = require "nginx"
local sys = require "sys"
local T = require("tap").plan(11)
local before = leak.count()

local CONF = [[
master_process off; error_log stderr error;
events { worker_connections 64; }
http {
  ]] .. nginx.HTTP .. [[
  server {
    listen unix:DIR/socket;
    location / { content_by_lua_file DIR/content.lua; }
    location /log { content_by_lua_block { ngx.print "" } log_by_lua_file DIR/log.lua; }
    location /logged { content_by_lua_block { ngx.print(tostring(logged)) } }
  }
}
]]

local CONTENT = [[
local L = require "llsocket"
L.wait.set(require("llsocket.wait.nginx").wait)
local socks = L.socket.pair(L.SOCK_STREAM, true)
local a, b = socks[1], socks[2]
local what = ngx.var.uri
if what == "/quick" then
  ngx.print "quick"
elseif what == "/late" then
  ngx.timer.at(1.5, function() b:send "late" end)
  ngx.print(tostring(a:recvable(5)), (a:recv()))
elseif what == "/timeout" then
  ngx.print(tostring(a:recvable(1.5)))
elseif what == "/close" then
  ngx.timer.at(0.05, function() a:close() L.socket.pair(L.SOCK_STREAM, true) end)
  ngx.print(table.concat({ tostring((a:recvable(5))), select(2, a:recvable(5)) }, " "))
elseif what == "/kill" then
  local far, threads = {}, {}
  for i = 1, 20 do
    threads[i] = ngx.thread.spawn(function()
      local near = L.socket.pair(L.SOCK_STREAM, true)
      far[i] = near[2]
      near[1]:recvable()
    end)
  end
  for i = 1, 20 do assert(ngx.thread.kill(threads[i])) end
  threads = nil
  collectgarbage() collectgarbage()
  local ended = 0
  for i = 1, 20 do
    if far[i]:recvable(1) and select("#", far[i]:recv()) == 0 then ended = ended + 1 end
    far[i]:close()
  end
  ngx.print(ended)
elseif what == "/arguments" then
  local wait = require("llsocket.wait.nginx").wait
  ngx.print(select(3, wait(-1, "r", 1)), " ", select(3, wait(a:fd(), "x", 1)), " ", tostring(wait(a:fd(), "w")))
end
a:close()
b:close()
]]

-- In a phase that cannot yield poll(2) waits.
local LOG = [[
local L = require "llsocket"
L.wait.set(require("llsocket.wait.nginx").wait)
local socks = L.socket.pair(L.SOCK_STREAM, true)
logged = socks[1]:recvable(0.01)
socks[1]:close() socks[2]:close()
]]

local missing = nginx.missing()
if missing then T.skip(10, missing)
else
  local dir = net.tmpdir()
  nginx.write(dir .. "/content.lua", CONTENT)
  nginx.write(dir .. "/log.lua", LOG)
  local server = nginx.start(CONF, dir)
  T.is(nginx.get(server, "/quick"), "quick", "nginx serves")
  local began = sys.clock()
  local late, timeout = nginx.ask(server, "/late"), nginx.ask(server, "/timeout")
  T.is(nginx.get(server, "/quick"), "quick", "while two requests wait a third is served")
  T.ok(sys.clock() - began < 1.4, "at once")
  T.is(nginx.body(late), "truelate", "later data is noticed")
  T.is(nginx.body(timeout), "false", "and what does not")
  T.ok(sys.clock() - began >= 1.5, "after its time")
  T.is(nginx.get(server, "/close"), "nil Bad file descriptor " .. L.EBADF, "a wait ends when the socket is closed")
  T.is(nginx.get(server, "/arguments"), ("%d %d true"):format(L.EBADF, L.EINVAL), "what is impossible is refused")
  T.is(nginx.get(server, "/kill"), "20", "the sockets of light threads that are killed while they wait can be collected")
  nginx.get(server, "/log")
  T.is(nginx.get(server, "/logged"), "false", "where nothing can yield poll(2) waits")
  nginx.stop(server)
  for line in nginx.errors(server):gmatch "[^\n]+" do print("# " .. line) end
  net.cleanup()
end
T.is(leak.count(), before, "no descriptor is left")
T.done()
