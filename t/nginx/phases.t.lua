-- nginx-phases: every phase of nginx's Lua sends a datagram, also those that have no sockets of nginx.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local nginx = require "nginx"
local proc = require "proc"
local shell = require "shell"

-- Whether nginx has sockets of its own there.
local PHASES = {
  { "init", "refused" }, { "init_worker", "refused" }, { "ssl_client_hello", "allowed" }, { "ssl_cert", "allowed" },
  { "ssl_session_fetch", "allowed" }, { "ssl_session_store", "refused" }, { "server_rewrite", "allowed" },
  { "set", "refused" }, { "rewrite", "allowed" }, { "access", "allowed" }, { "content", "allowed" },
  { "balancer", "refused" }, { "header_filter", "refused" }, { "body_filter", "refused" }, { "log", "refused" },
  { "timer", "allowed" }, { "exit_worker", "refused" },
}
local T = require("tap").plan(#PHASES * 2 + 7)
local before = leak.count()

local CONF = [[
worker_processes 1; error_log stderr notice;
events { worker_connections 64; }
http {
  ]] .. nginx.HTTP .. [[
  lua_package_path "DIR/?.lua;;";
  init_by_lua_block { require "tell" () }
  init_worker_by_lua_block { require "tell" () ngx.timer.at(0, function() require "tell" () end) }
  exit_worker_by_lua_block { require "tell" () }
  ssl_session_fetch_by_lua_block {
    require "tell" ()
    local session = require("tell").sessions[require("ngx.ssl.session").get_session_id()]
    if session then require("ngx.ssl.session").set_serialized_session(session) end
  }
  ssl_session_store_by_lua_block {
    require "tell" ()
    local session = require "ngx.ssl.session"
    require("tell").sessions[session.get_session_id()] = session.get_serialized_session()
  }
  upstream other {
    server 0.0.0.1;
    balancer_by_lua_block { require "tell" () require("ngx.balancer").set_current_peer "unix:DIR/plain" }
  }
  server { listen unix:DIR/plain; location / { return 200 "served"; } }
  server { listen unix:DIR/socket; location / { return 200; } }
  server {
    listen unix:DIR/tls ssl;
    ssl_certificate cert.pem; ssl_certificate_key key.pem; ssl_protocols TLSv1.2; ssl_session_tickets off;
    ssl_session_cache shared:sessions:1m;
    ssl_client_hello_by_lua_block { require "tell" () }
    ssl_certificate_by_lua_block { require "tell" () }
    server_rewrite_by_lua_block { require "tell" () }
    location /all {
      set_by_lua_block $nothing { require "tell" () return "" }
      rewrite_by_lua_block { require "tell" () }
      access_by_lua_block { require "tell" () }
      header_filter_by_lua_block { require "tell" () }
      body_filter_by_lua_block { if ngx.arg[2] then require "tell" () end }
      log_by_lua_block { require "tell" () }
      proxy_pass http://other/;
    }
    location /content { content_by_lua_block { require "tell" () ngx.print "told" } }
  }
}
]]

-- One socket a process and a place, made when it is first used there.
local TELL = [[
local L = require "llsocket"
local places = {
  udp = assert(L.inet.getaddrinfo("127.0.0.1", "PORT", L.SOCK_DGRAM))[1],
  unix = assert(L.unix.getaddrinfo("DIR/collector", L.SOCK_DGRAM))[1],
}
local socks, pid = {}, nil

local function open()
  for name, ai in pairs(places) do
    if socks[name] then socks[name]:close() end
    socks[name] = assert(L.socket.new(ai, true))
    assert(not socks[name]:connect())
  end
  pid = ngx.worker.pid()
end

local function tell()
  if pid ~= ngx.worker.pid() then open() end
  local has_sockets, why = pcall(ngx.socket.udp)
  if not has_sockets then ngx.log(ngx.NOTICE, "refused: ", ngx.get_phase(), ": ", why) end
  for name, sock in pairs(socks) do
    assert(0 < sock:send(("%s %s %s"):format(name, ngx.get_phase(), has_sockets and "allowed" or "refused")))
  end
end

return setmetatable({ sessions = {} }, { __call = tell })
]]

local folder
local function openssl() return nginx.command(folder, "usr/bin/openssl") end

-- What came: counts by text.
local function collect(sock, told)
  for msg in function() return (sock:recv()) end do told[msg] = (told[msg] or 0) + 1 end
end

local function exists(path)
  local file = io.open(path)
  if file then file:close() end
  return file ~= nil
end

-- A unix socket holds about ten datagrams, so they are collected while the request is under way.
local function request(dir, uri, session, listen)
  local command = shell.format("( printf 'GET %s HTTP/1.0\\r\\n\\r\\n' | %s s_client -unix %q/tls -tls1_2 -servername localhost"
    .. " -quiet %s >%q/answer 2>&1; mv %q/answer %q/over ) >/dev/null 2>&1 &", uri, openssl(), dir, session, dir, dir, dir)
  os.remove(dir .. "/over")
  proc.run(command)
  while not exists(dir .. "/over") do listen(0.02) end
  local file = assert(io.open(dir .. "/over"))
  local text = file:read "*a"
  file:close()
  return text
end

local function certificate(dir)
  return proc.run(shell.format("%s req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days 2 -config /dev/null"
    .. " -keyout %q/key.pem -out %q/cert.pem", openssl(), dir, dir))
end

local function exercise()
  local dir, told = net.tmpdir(), {}
  local udp, ai = net.bound(L.AF_INET, L.SOCK_DGRAM, true)
  local unix = assert(L.socket.new(L.unix.getaddrinfo(dir .. "/collector", L.SOCK_DGRAM)[1], true))
  assert(not unix:bind())
  local out, made = certificate(dir)
  if not T.ok(made, "there is a certificate") then print("# " .. out:gsub("\n", "\n# ")) end
  nginx.write(dir .. "/tell.lua", (TELL:gsub("PORT", ai:port()):gsub("DIR", dir)))
  local server = nginx.start(CONF, dir)
  local function listen(sec)
    unix:recvable(sec)
    collect(udp, told)
    collect(unix, told)
  end
  local first = request(dir, "/all", "-sess_out " .. shell.quote(dir .. "/session"), listen)
  T.ok(first:find("served", 1, true), "a request goes through every phase but one")
  local second = request(dir, "/content", "-sess_in " .. shell.quote(dir .. "/session"), listen)
  T.ok(second:find("told", 1, true), "and another through that one")
  nginx.stop(server, 3) -- SIGQUIT: orderly
  listen(0)
  for _, phase in ipairs(PHASES) do
    for _, place in ipairs { "udp", "unix" } do
      local want = ("%s %s %s"):format(place, phase[1], phase[2])
      local others = phase[2] == "refused" and "where nginx has no sockets" or "where nginx has sockets, too"
      T.ok((told[want] or 0) > 0, ("%s sends over %s, %s"):format(phase[1], place, others))
      told[want] = nil
    end
  end
  local more = next(told)
  T.is(more, nil, "and nothing else arrives")
  local errors = nginx.errors(server)
  T.ok(errors:find "refused: log: API disabled in the context of log_by_lua", "what nginx says of its own sockets")
  local bad = errors:match "[^\n]*%[error%][^\n]*" or errors:match "[^\n]*%[crit%][^\n]*" or errors:match "[^\n]*%[alert%][^\n]*"
  T.is(bad, nil, "no error is logged")
  udp:close(); unix:close()
end

local why
folder, why = nginx.package "openssl"
local missing = nginx.missing() or why
if missing then T.skip(#PHASES * 2 + 6, missing) else nginx.guard(exercise) end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
