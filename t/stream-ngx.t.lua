-- stream-ngx: streams in the Lua of nginx: serve in light threads, a deadline, lines, a close during a wait.
local leak = require "leak"
local net = require "net"
local nginx = require "nginx"
local T = require("tap").plan(6)
local before = leak.count()

local CONF = [[
master_process off; error_log stderr error;
events { worker_connections 300; }
http {
  ]] .. nginx.HTTP .. [[
  server {
    listen unix:DIR/socket;
    location / { return 200 "quick"; }
    location /run { content_by_lua_file DIR/content.lua; }
  }
}
]]

local CONTENT = [[
local L, stream = require "llsocket", require "llsocket.stream"
L.wait.set(require("llsocket.wait.nginx").wait)
local lst = assert(stream.listen("127.0.0.1", 0))
local ai, served, most, now, errors = lst:getsockname(), 0, 0, 0, 0
local what, CLIENTS = ngx.var.arg_what, 12

local function client()
  local s = assert(stream.connect(ai, 5))
  s:deadline(5)
  s:write("hel", "lo\n")
  local line = s:line()
  local ended = select("#", s:line()) == 0
  s:close()
  return line == "HELLO" and ended
end

local function handler(s)
  served, now = served + 1, now + 1
  most = math.max(most, now)
  local number, line = served, s:line()
  ngx.sleep(0.01)
  s:write(line:upper(), "\n")
  now = now - 1
  if number == CLIENTS then lst:close() end
  if number == 5 then error "on purpose" end
end

if what == "serve" then
  local server = ngx.thread.spawn(stream.serve, lst, handler,
    { max = 3, spawn = ngx.thread.spawn, onerror = function() errors = errors + 1 end })
  local threads, right = {}, 0
  for i = 1, CLIENTS do threads[i] = ngx.thread.spawn(client) end
  for i = 1, CLIENTS do
    local _, ok = ngx.thread.wait(threads[i])
    if ok then right = right + 1 end
  end
  local _, err = ngx.thread.wait(server)
  ngx.print(right, " right, at most ", most, ", ", errors, " error, ", tostring(err))
elseif what == "spawn" then
  local _, err = pcall(stream.serve, lst, handler)
  ngx.print(tostring(err):find "spawn = function" and "told" or tostring(err))
elseif what == "drip" then
  local socks = L.socket.pair(L.SOCK_STREAM, true)
  local s = assert(stream.wrap(socks[1]))
  local over = false
  local dripping = ngx.thread.spawn(function()
    while not over do
      socks[2]:send "."
      ngx.sleep(0.01)
    end
  end)
  s:deadline(0.3)
  local start = ngx.now()
  local code = select(3, s:line())
  over = true
  ngx.thread.wait(dripping)
  ngx.update_time()
  local took = ngx.now() - start
  ngx.print(code == L.ETIMEDOUT and took >= 0.29 and took < 2 and "in time" or took)
elseif what == "close" then
  local socks = L.socket.pair(L.SOCK_STREAM, true)
  local s = assert(stream.wrap(socks[1]))
  local reader = ngx.thread.spawn(function() return select(3, s:line()) end)
  ngx.sleep(0.01)
  s:close()
  local _, code = ngx.thread.wait(reader)
  ngx.print(code == L.EBADF and "woken" or tostring(code))
end
lst:close()
]]

local why = nginx.missing()
if why then
  T.skip(5, why)
else
  nginx.guard(function()
    local dir = net.tmpdir()
    nginx.write(dir .. "/content.lua", CONTENT)
    local server = nginx.start(CONF, dir)
    T.is(nginx.get(server, "/run?what=serve"), "12 right, at most 3, 1 error, nil", "serve bounds its clients in light threads")
    T.is(nginx.get(server, "/run?what=spawn"), "told", "without spawn it raises")
    T.is(nginx.get(server, "/run?what=drip"), "in time", "a byte now and then does not extend a deadline")
    T.is(nginx.get(server, "/run?what=close"), "woken", "a stream that is closed wakes its reader")
    nginx.stop(server)
    T.ok(not nginx.errors(server):find("[error]", 1, true), "and nginx logs no error")
  end)
  net.cleanup()
end
T.is(leak.count(), before, "no descriptor is left")
T.done()
