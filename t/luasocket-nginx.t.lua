-- luasocket-nginx: LuaSocket's own http inside nginx, over the face: a hundred requests wait at once for a server that answers
-- nobody before all have asked; sleep, select and time limits wait as nginx does.
local T = require "tap"
if not pcall(require, "socket.http") then
  T.plan(1).skip(1, "lua-socket is not installed")
  return T.done()
end
package.path = os.getenv "LLSOCKET_SOURCE" .. "/t/luasocket/?.lua;" .. package.path
local loop = require "llsocket.wait.coroutine"
local stream = require "llsocket.stream"
local leak = require "leak"
local net = require "net"
local nginx = require "nginx"
local proc = require "proc"
local servers = require "servers"
T.plan(5)
local before = leak.count()

local CONF = [[
master_process off; error_log stderr error;
events { worker_connections 400; }
http {
  ]] .. nginx.HTTP .. [[
  init_by_lua_block {
    local L = require "llsocket"
    L.wait.set(require("llsocket.wait.nginx").wait)
    require("llsocket.luasocket").install()
    http = require "socket.http"
    face = require "llsocket.luasocket"
  }
  server {
    listen unix:DIR/socket;
    location / { content_by_lua_block { ngx.print "here" } }
    location /one { content_by_lua_block { ngx.print(#http.request "http://127.0.0.1:PORT/one") } }
    location /hundred { content_by_lua_block { ngx.print(#http.request "http://127.0.0.1:PORT/hundred") } }
    location /limit {
      content_by_lua_block {
        local server = face.tcp4()
        server:bind("127.0.0.1", 0)
        server:listen()
        server:settimeout(0.05)
        local _, why = server:accept()
        local _, _, late = face.select({ server }, nil, 0.05)
        face.sleep(0.05)
        server:close()
        ngx.print(why, " ", late)
      }
    }
  }
}
]]

local function get(path, uri)
  local s = assert(stream.connect(path, nil, 20))
  s:deadline(60)
  s:write("GET ", uri, " HTTP/1.0\r\n\r\n")
  local body = (s:all() or ""):match "\r\n\r\n(.*)$"
  s:close()
  return body
end

local why = nginx.missing()
if why then
  T.skip(4, why)
else
  local listeners, ports = servers.listen()
  local pid = proc.fork(function() servers.run(listeners) end)
  for _, listener in pairs(listeners) do listener:close() end
  nginx.guard(function()
    local dir = net.tmpdir()
    local server = nginx.start((CONF:gsub("PORT", ports.http)), dir)
    T.is(get(dir .. "/socket", "/one"), "30006", "a page comes")
    T.is(get(dir .. "/socket", "/limit"), "timeout timeout", "limits run out")
    local right = 0
    for _ = 1, 100 do
      loop.spawn(function()
        if get(dir .. "/socket", "/hundred") == "30010" then right = right + 1 end
      end)
    end
    loop.run()
    T.is(right, 100, "a hundred wait at once")
    nginx.stop(server)
    local errors = nginx.errors(server)
    if not T.ok(errors == "", "and nginx has nothing to tell") then print("# " .. errors:gsub("\n", "\n# ")) end
  end)
  proc.kill(pid, proc.SIGKILL)
  proc.wait(pid)
  net.cleanup()
end
T.is(leak.count(), before, "no descriptor is left")
T.done()
