-- nginx-nocache: with lua_code_cache off each request has a Lua of its own, which loads the library and leaves nothing.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local nginx = require "nginx"
local proc = require "proc"
local T = require("tap").plan(11)
local before = leak.count()

local WARM, REQUESTS = 500, 9500 -- ten thousand, of which the first only bring nginx to its size

local CONF = [[
master_process off; error_log stderr error;
events { worker_connections 64; }
http {
  ]] .. nginx.HTTP .. [[
  lua_code_cache off;
  lua_shared_dict counts 1m;
  server {
    listen unix:DIR/socket; keepalive_requests 1000000;
    location /log { return 200 "logged"; log_by_lua_file DIR/log.lua; }
    location /count { content_by_lua_block { ngx.print(ngx.shared.counts:get "sent" or 0) } }
    location / { return 200 "up"; }
  }
}
]]

-- The socket is never closed: it goes with its Lua.
local LOG = [[
local L = require "llsocket"
assert(seen == nil)
seen = true
local sock = assert(L.socket.new(L.inet.getaddrinfo("127.0.0.1", "PORT", L.SOCK_DGRAM)[1], true))
assert(not sock:connect())
if sock:send "logged" == 6 then ngx.shared.counts:incr("sent", 1, 0) end
]]

-- Two, so that two processors have work.
local servers, sink = {}, nil

local function catch() sink.arrived = sink.arrived + (sink.sock:recv() and 1 or 0) end

local function dial(server)
  local sock = assert(L.socket.new(L.unix.getaddrinfo(server.dir .. "/socket")[1]))
  assert(not sock:connect())
  sock:rcvtimeo(20)
  server.sock = sock
end

local function ask(server, uri) assert(server.sock:send(("GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"):format(uri))) end

local function answer(server, want)
  local text = ""
  repeat text = text .. assert(server.sock:recv()) until text:find("\r\n\r\n" .. want .. "$")
  catch()
end

-- n requests, over the one connection to each; and one without Lua, which is answered when the last Lua has gone.
local function requests(n)
  for _ = 1, n / #servers do
    for _, server in ipairs(servers) do ask(server, "/log") end
    for _, server in ipairs(servers) do answer(server, "logged") end
  end
  for _, server in ipairs(servers) do ask(server, "/") answer(server, "up") end
end

local function descriptors(server) return select(2, proc.run(("ls /proc/%d/fd"):format(server.pid)):gsub("%d+", "")) end

-- KiB: what is in use, and all that is mapped.
local function memory(server)
  local text = proc.run(("cat /proc/%d/status"):format(server.pid))
  return { resident = tonumber(text:match "VmRSS:%s*(%d+)"), virtual = tonumber(text:match "VmSize:%s*(%d+)") }
end

local function measure()
  for _, server in ipairs(servers) do server.fds, server.memory = descriptors(server), memory(server) end
end

local function compare(server)
  local old, new = server.memory, memory(server)
  print(("# resident %d KiB, then %d; virtual %d, then %d"):format(old.resident, new.resident, old.virtual, new.virtual))
  T.ok(new.resident - old.resident < 2048, "and no memory: less than 2 MiB, where a Lua takes several hundred KiB")
  T.ok(new.virtual - old.virtual < 4096, "nor addresses")
  nginx.stop(server)
  local errors = nginx.errors(server):gsub("[^\n]*%[alert%][^\n]*lua_code_cache is off[^\n]*\n?", "")
  T.is(errors, "", "no error is logged")
  server.sock:close()
end

local function start(port)
  local dir = net.tmpdir()
  nginx.write(dir .. "/log.lua", (LOG:gsub("PORT", port)))
  servers[#servers + 1] = nginx.start(CONF, dir)
  dial(servers[#servers])
end

local function exercise()
  local sock, ai = net.bound(L.AF_INET, L.SOCK_DGRAM, true)
  sink = { sock = sock, arrived = 0 }
  start(ai:port())
  start(ai:port())
  requests(WARM)
  measure()
  requests(REQUESTS)
  net.await(function()
    catch()
    return sink.arrived == WARM + REQUESTS
  end)
  T.is(sink.arrived, WARM + REQUESTS, "each datagram arrives")
  for _, server in ipairs(servers) do T.is(descriptors(server), server.fds, "thousands of requests leave no descriptor") end
  local counted = nginx.get(servers[1], "/count") + nginx.get(servers[2], "/count")
  T.is(counted, WARM + REQUESTS, "as nginx counted")
  for _, server in ipairs(servers) do compare(server) end
  sock:close()
end

local missing = nginx.missing()
if missing then T.skip(10, missing) else nginx.guard(exercise) end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
