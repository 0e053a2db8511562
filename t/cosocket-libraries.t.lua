-- cosocket-libraries: libraries that were written for nginx's Lua run as they are, with ngx = cosocket.ngx(), a hundred at
-- once in a loop: clients of Redis, memcached, DNS, WebSocket, and a producer for Kafka that finds no broker.
local L = require "llsocket"
local cosocket = require "llsocket.cosocket"
local loop = require "llsocket.wait.coroutine"
local stream = require "llsocket.stream"
local example = require "example"
local leak = require "leak"
local net = require "net"
local nginx = require "nginx"
local proc = require "proc"
local shell = require "shell"
local T = require("tap").plan(24)
local before = leak.count()

local ngx = cosocket.ngx()
rawset(_G, "ngx", ngx)
cosocket.configure { log_level = 0 }

-- Makes a Debian package's Lua files known; answers the reason where it cannot be had.
local function package_path(name)
  local dir, why = nginx.package(name)
  if dir then package.path = dir .. "/usr/share/lua/5.1/?.lua;" .. package.path end
  return why
end

-- Runs fn(i) a hundred times at once; answers how many answered true, how long it took, and the first error.
local function hundred(fn)
  local right, err = 0, nil
  local from = loop.now()
  for i = 1, 100 do
    loop.spawn(function()
      local done, answer, why = pcall(fn, i)
      if done and answer == true then right = right + 1 else err = err or answer or why end
    end)
  end
  loop.run()
  return right, loop.now() - from, err and tostring(err)
end

-- Each of a hundred waits `sec`; all together must take less than ten would, one after the other.
local function at_once(fn, sec, what)
  local right, took, err = hundred(fn)
  T.is(right .. (err or ""), "100", ("100 at once: %s"):format(what))
  T.ok(took < 10 * sec, ("in the time of one that waits: %.2f s"):format(took))
end

local function in_loop(fn)
  local answers
  loop.spawn(function() answers = { fn() } end)
  loop.run()
  return unpack(answers or {})
end

-- Starts a server; answers the pipe that it writes to and its pid.
local function start(command)
  local pipe = assert(io.popen(("echo $$; exec %s 2>&1"):format(command)))
  return pipe, tonumber(pipe:read "*l")
end

local function stop(pipe, pid)
  proc.kill(pid)
  pipe:read "*a"
  pipe:close()
end

local HOST = net.own_host(1)

-- Redis ------------------------------------------------------------------------------------------------------

local function redis(path, port)
  local library = require "nginx.redis"
  local function client()
    local red = library:new()
    red:set_timeouts(2000, 2000, 2000)
    assert(red:connect(HOST, port, { pool = "redis", pool_size = 100 }))
    return red
  end
  T.is(in_loop(function()
    local red = client()
    local set, got = red:set("dog", "an animal"), red:get "dog"
    local none = red:get "nothing" == ngx.null
    red:init_pipeline()
    red:incr "n" red:incr "n" red:hset("h", "k", "v") red:lrange("none", 0, -1)
    local all = red:commit_pipeline()
    return ("%s %s %s %s %s %s %s"):format(set, got, tostring(none), all[1], all[2], all[3], #all[4])
  end), "OK an animal true 1 2 1 0", "Redis: set, get, null, a pipeline")
  T.is(in_loop(function()
    local red = client()
    assert(red:set_keepalive(1000, 100))
    red = client()
    return red:get_reused_times(), red:get "dog", red:set_keepalive(1000, 100)
  end), 1, "a connection comes from the pool")
  T.is(select(2, in_loop(function()
    local red = library:new()
    assert(red:connect("unix:" .. path))
    return red:eval("return redis.error_reply('no')", 0)
  end)), "ERR no", "over a unix path, an error of the server")
  T.is((select(2, in_loop(function()
    local red = client()
    red:set_timeout(50)
    return red:blpop("nothing", 5)
  end))), "timeout", "a time limit")
  at_once(function(i)
    local red = client()
    local waited = red:blpop("none" .. i, 0.5) == ngx.null
    assert(red:set("key" .. i, i))
    local got = red:get("key" .. i)
    assert(red:set_keepalive(1000, 100))
    return waited and got == tostring(i)
  end, 0.5, "blpop, set, get")
  at_once(function(i)
    local red = client()
    return red:get_reused_times() > 0 and red:blpop("none" .. i, 0.5) == ngx.null and red:close() == 1
  end, 0.5, "each with a connection from the pool")
end

local function with_redis()
  local dir, port = net.tmpdir(), net.free_port()
  local path = dir .. "/redis"
  local command = "redis-server --port %d --bind %q --unixsocket %q --dir %q --save ''"
  local pipe, pid = start(shell.format(command, port, HOST, path, dir))
  net.await(function() return stream.connect(path, nil, 1) end):close()
  redis(path, port)
  stop(pipe, pid)
end

-- memcached --------------------------------------------------------------------------------------------------

local function memcached(path)
  local library = require "nginx.memcached"
  local function client()
    local memc = assert(library:new())
    memc:set_timeout(2000)
    assert(memc:connect("unix:" .. path))
    return memc
  end
  T.is(in_loop(function()
    local memc = client()
    local set, got, flags = memc:set("a key", "a\nvalue", 0, 5), memc:get "a key"
    local none, _, err = memc:get "nothing"
    local all = memc:get { "a key", "nothing" }
    return ("%s %s %s %s %s %s"):format(set, got, flags, tostring(none), tostring(err), all["a key"][1])
  end), "1 a\nvalue 5 nil nil a\nvalue", "memcached: set, get, several at once")
  local right, _, err = hundred(function(i)
    local memc = client()
    assert(memc:set("key" .. i, ("x"):rep(i * 100)))
    local same = memc:get("key" .. i) == ("x"):rep(i * 100)
    assert(memc:incr("none", 1) == nil and memc:delete("key" .. i))
    return same and memc:set_keepalive(1000, 100) == 1
  end)
  T.is(right .. (err or ""), "100", "100 at once: set, get, delete")
end

local function with_memcached(dir)
  local path = net.tmpdir() .. "/memcached"
  local user = proc.run("id -un"):match "%S+"
  local pipe, pid = start(shell.format("%s -s %q -u %q -c 300", "env " .. nginx.command(dir, "usr/bin/memcached"), path, user))
  net.await(function() return stream.connect(path, nil, 1) end):close()
  memcached(path)
  stop(pipe, pid)
end

-- DNS --------------------------------------------------------------------------------------------------------

local function dns(port)
  local library = require "nginx.dns.resolver"
  local function resolver(to, ms, times)
    return assert(library:new { nameservers = { { "127.0.0.1", to } }, timeout = ms, retrans = times, no_random = true })
  end
  T.is(in_loop(function()
    local answers = assert(resolver(port, 2000, 3):query("www.here.test", { qtype = library.TYPE_A }))
    return answers[1].address
  end), "192.0.2.7", "DNS: an address, over UDP")
  T.is(in_loop(function()
    return resolver(port, 2000, 3):query("other.invalid", { qtype = library.TYPE_A }).errcode
  end), 3, "a name that does not exist")
  T.is(in_loop(function()
    return assert(resolver(port, 2000, 3):tcp_query("www.here.test", { qtype = library.TYPE_A }))[1].address
  end), "192.0.2.7", "over TCP")
  local right, _, err = hundred(function(i)
    local answers = assert(resolver(port, 2000, 3):query("n" .. i .. ".here.test", { qtype = library.TYPE_A }))
    return answers[1].address == "192.0.2.7"
  end)
  T.is(right .. (err or ""), "100", "100 at once")
  local silent, ai = net.bound(L.AF_INET, L.SOCK_DGRAM)
  at_once(function()
    local answers, why = resolver(ai:port(), 400, 1):query("www.here.test", { qtype = library.TYPE_A })
    return answers == nil and why:find "timeout" ~= nil
  end, 0.4, "a server that is silent")
  silent:close()
end

local DNSMASQ = "env PATH=\"$PATH:/usr/sbin\" dnsmasq --no-daemon --conf-file=/dev/null --port=%d --no-resolv --no-hosts "
  .. "--bind-interfaces --listen-address=127.0.0.1 --address=/here.test/192.0.2.7 --address=/invalid/ --pid-file= --user=%q"

local function with_dnsmasq()
  local port = net.free_port()
  local pipe, pid = start(shell.format(DNSMASQ, port, proc.run("id -un"):match "%S+"))
  net.await(function() return stream.connect("127.0.0.1", port, 1) end):close()
  dns(port)
  stop(pipe, pid)
end

-- WebSocket --------------------------------------------------------------------------------------------------

local CONF = [[
master_process off; error_log stderr crit;
events { worker_connections 900; }
http {
  ]] .. nginx.HTTP .. [[
  lua_package_path "PACKAGE/usr/share/lua/5.1/?.lua;;";
  server {
    listen unix:DIR/socket; listen 127.0.0.1:PORT;
    location / { content_by_lua_block { ngx.print "here" } }
    location /echo {
      lua_socket_log_errors off;
      content_by_lua_block {
        local server = assert(require("nginx.websocket.server"):new { timeout = 5000, max_payload_len = 70000 })
        while true do
          local data, kind = server:recv_frame()
          if not data or kind == "close" then return end
          if data == "wait" then ngx.sleep(0.4) end
          if kind == "ping" then server:send_pong(data) else server["send_" .. kind](server, data) end
        end
      }
    }
  }
}
]]

local function websocket(port)
  local library = require "nginx.websocket.client"
  local function client()
    local ws = assert(library:new { timeout = 5000, max_payload_len = 70000 })
    assert(ws:connect(("ws://127.0.0.1:%d/echo"):format(port)))
    return ws
  end
  T.is(in_loop(function()
    local ws = client()
    assert(ws:send_text "hello")
    local text, kind = ws:recv_frame()
    assert(ws:send_binary(("\0\1"):rep(30000)))
    local bytes, other = ws:recv_frame()
    assert(ws:send_ping "x")
    local _, third = ws:recv_frame()
    return ("%s %s %d %s %s %s"):format(text, kind, #bytes, other, third, tostring(ws:send_close()))
  end), "hello text 60000 binary pong 6", "WebSocket: text, 60,000 bytes, ping, close")
  at_once(function()
    local ws = client()
    assert(ws:send_text "wait")
    return ws:recv_frame() == "wait" and ws:close() == 1
  end, 0.4, "each waits for its answer")
end

local function with_websocket(package_dir)
  local dir, port = net.tmpdir(), net.free_port()
  local conf = CONF:gsub("PACKAGE", (package_dir:gsub("%%", "%%%%"))):gsub("PORT", port)
  local server = nginx.start(conf, dir)
  websocket(port)
  nginx.stop(server)
end

-- Kafka ------------------------------------------------------------------------------------------------------

local function kafka()
  local producer = require "nginx.kafka.producer"
  local list, told = { { host = "127.0.0.1", port = net.free_port() } }, {}
  local options = { max_retry = 1, retry_backoff = 10, request_timeout = 200, socket_timeout = 200 }
  local function send() return producer:new(list, options):send("topic", "key", "message") end
  T.is(in_loop(function()
    local sent, err = send()
    local async = producer:new(list, {
      producer_type = "async", flush_time = 20, max_retry = 1, retry_backoff = 10, socket_timeout = 200,
      error_handle = function(topic, _, _, count) told[#told + 1] = ("%s %d"):format(topic, count) end,
    })
    told[1] = tostring(async:send("topic", "key", "message"))
    ngx.sleep(0.3)
    cosocket.exit() -- its timers begin again for ever
    return tostring(sent) .. " " .. tostring(err)
  end), "nil not found topic", "Kafka: a producer gives up without a broker")
  T.is(table.concat(told, ", "), "true, topic 2", "one that sends later tells what it could not send")
  local right, _, err = hundred(function() return send() == nil end)
  T.is(right .. (err or ""), "100", "100 at once")
end

---------------------------------------------------------------------------------------------------------------

local function section(count, reason, run, ...)
  if reason then return T.skip(count, reason) end
  nginx.guard(run, ...)
end

local has_no = nginx.missing()
local function lacks(name) return has_no or package_path(name) end

local memcached_dir, why = nil, has_no
if not why then memcached_dir, why = nginx.package "memcached" end
local function has_dnsmasq() return select(2, proc.run "PATH=\"$PATH:/usr/sbin\" dnsmasq --version") end

section(8, lacks "lua-nginx-redis" or not example.has "redis-server" and "redis-server is missing" or nil, with_redis)
section(2, lacks "lua-nginx-memcached" or why, function() with_memcached(memcached_dir) end)
section(6, lacks "lua-nginx-dns" or not has_dnsmasq() and "dnsmasq is missing" or nil, with_dnsmasq)
section(3, lacks "lua-nginx-websocket", function() with_websocket((nginx.package "lua-nginx-websocket")) end)
section(3, lacks "lua-nginx-kafka", kafka)

cosocket.sweep()
T.ok(true, "all libraries were tried")
net.cleanup()
loop.spawn(function() loop.sleep(1.1) cosocket.sweep() end) -- the limit of what is idle
loop.run()
collectgarbage()
collectgarbage()
T.is(leak.count(), before, "no descriptor is left")
T.done()
