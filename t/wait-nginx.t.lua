-- wait-nginx: in nginx itself, where requests wait for sockets while others are served.
local L = require "llsocket"
local example = require "example"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local sys = require "sys"
local T = require("tap").plan(10)
local before = leak.count()

local CONF = [[
daemon off; master_process off; pid DIR/pid; error_log stderr error; MODULES
events { worker_connections 64; }
http {
  access_log off; client_body_temp_path DIR/t1; proxy_temp_path DIR/t2; fastcgi_temp_path DIR/t3;
  uwsgi_temp_path DIR/t4; scgi_temp_path DIR/t5;
  lua_package_path "LUAPATH"; lua_package_cpath "LUACPATH";
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
  ngx.timer.at(0.1, function() b:send "late" end)
  ngx.print(tostring(a:recvable(5)), (a:recv()))
elseif what == "/timeout" then
  ngx.print(tostring(a:recvable(0.2)))
elseif what == "/close" then
  ngx.timer.at(0.05, function() a:close() L.socket.pair(L.SOCK_STREAM, true) end)
  ngx.print(table.concat({ tostring((a:recvable(5))), select(2, a:recvable(5)) }, " "))
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

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

-- Where Debian and OpenResty put nginx's modules; LLSOCKET_NGINX names another prefix.
local prefix = os.getenv "LLSOCKET_NGINX" or ""
local function exists(path)
  local file = io.open(path)
  if file then file:close() end
  return file ~= nil
end

local function find()
  local path = example.has "openresty" and "openresty" or prefix .. "/usr/sbin/nginx"
  if path == "openresty" then return path, "" end
  local modules = prefix .. "/usr/lib/nginx/modules/"
  if not (exists(path) and exists(modules .. "ngx_http_lua_module.so")) then return nil end
  return path, ("load_module %sndk_http_module.so; load_module %sngx_http_lua_module.so;"):format(modules, modules)
end

local function start(program, modules, dir)
  local core = prefix .. "/usr/share/lua/5.1/?.lua;"
  local words = { DIR = dir, MODULES = modules, LUAPATH = core .. package.path, LUACPATH = package.cpath }
  write(dir .. "/conf", (CONF:gsub("%u+", words)))
  write(dir .. "/content.lua", CONTENT)
  write(dir .. "/log.lua", LOG)
  local pipe = assert(io.popen(("echo $$; exec '%s' -p '%s' -c '%s/conf' 2>'%s/errors'"):format(program, dir, dir, dir)))
  return { pid = tonumber(pipe:read "*l"), pipe = pipe }
end

local function get(dir, uri)
  local sock = assert(L.socket.new(L.unix.getaddrinfo(dir .. "/socket")[1]))
  if sock:connect() then return sock:close() end
  sock:rcvtimeo(10)
  sock:send(("GET %s HTTP/1.0\r\n\r\n"):format(uri))
  return sock
end

local function body(sock)
  local parts = {}
  for part in function() return sock:recv() end do parts[#parts + 1] = part end
  sock:close()
  return (table.concat(parts):gsub("^.-\r\n\r\n", ""))
end

local program, modules = find()
if program then
  local dir = net.tmpdir()
  proc.run(("chmod 755 '%s'"):format(dir))
  local child = start(program, modules, dir)
  local first = net.await(function() return get(dir, "/quick") end)
  T.is(body(first), "quick", "nginx serves")
  local late, timeout = get(dir, "/late"), get(dir, "/timeout")
  local began = sys.clock()
  T.is(body(get(dir, "/quick")), "quick", "while two requests wait a third is served")
  T.ok(sys.clock() - began < 0.1, "at once")
  T.is(body(late), "truelate", "what comes later is noticed")
  T.is(body(timeout), "false", "and what does not")
  T.ok(sys.clock() - began >= 0.2, "after its time")
  T.is(body(get(dir, "/close")), "nil Bad file descriptor " .. L.EBADF, "who waits is told when the socket is closed")
  T.is(body(get(dir, "/arguments")), ("%d %d true"):format(L.EBADF, L.EINVAL), "what is impossible is refused")
  body(get(dir, "/log"))
  T.is(body(get(dir, "/logged")), "false", "where nothing can yield poll(2) waits")
  example.stop(child)
  local errors = proc.run(("cat '%s/errors'"):format(dir))
  for line in errors:gmatch "[^\n]+" do print("# " .. line) end
  net.cleanup()
else T.skip(9, "this machine has no nginx with Lua") end
T.is(leak.count(), before, "no descriptor is left")
T.done()
