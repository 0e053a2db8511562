-- openresty: the modules of examples/openresty in nginx itself, with rsyslog and a statsd at the other end.
local L = require "llsocket"
local collector = require "collector"
local example = require "example"
local leak = require "leak"
local net = require "net"
local netns = require "netns"
local nginx = require "nginx"
local proc = require "proc"
local shell = require "shell"
local sys = require "sys"
local PLAN = 50
local T = require("tap").plan(PLAN)
local before = leak.count()

local function finish()
  net.cleanup()
  T.is(leak.count(), before, "no descriptor is left")
  T.done()
end

local why = nginx.missing() or nginx.missing "rsyslog" or not example.has "python3" and "there is no python3"
if why then
  T.skip(PLAN - 1, why)
  finish()
end

local dir, host, peer_host = net.tmpdir(), net.own_host(1), net.own_host(2)
local logs = dir .. "/logs"
proc.run(shell.format("mkdir %q && chmod 711 %q && chown nobody %q", logs, dir, logs))

-- What only this test asks nginx for.
local MORE = [[
location = /peer {
  content_by_lua_block {
    collectgarbage()
    local sock = require("tcpinfo").connection()
    ngx.print(tostring(sock:getpeername()))
    sock:close()
  }
}
location = /descriptors {
  content_by_lua_block {
    require "llsocket.socket.flags"
    local shim, n = require "llsocket.shim", 0
    for fd = 0, 1023 do n = n + (shim.llsocket2_fcntl(fd, 1, 0) >= 0 and 1 or 0) end
    ngx.print(ngx.worker.pid(), " ", n)
  }
}
location = /connection]]

-- The example as it stands, but for its addresses, and that it finds every answer slow.
local CHANGES = {
  ["logs.lua"] = {
    { '"127.0.0.1", 8125', ('"%s", 8125'):format(host) }, { '"127.0.0.1", 514', ('"%s", 5514'):format(host) },
    { "/dev/log", logs .. "/log" }, { "SLOW = 1 ", "SLOW = 0 " },
  },
  ["nginx.conf"] = {
    { "127.0.0.1", peer_host }, { "listen 8080", ("listen %s:8080; listen unix:DIR/socket"):format(host) },
    { "allow " .. peer_host, "allow unix:" }, { "http {", "http {" .. nginx.HTTP }, { "location = /connection", MORE },
  },
}

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

-- Replaces plain texts, each of which is there.
local function adapt(text, changes)
  for _, change in ipairs(changes) do
    local n
    text, n = text:gsub(change[1]:gsub("%p", "%%%0"), (change[2]:gsub("%%", "%%%%")))
    assert(n > 0, change[1] .. " is not there")
  end
  return text
end

local source = example.dir .. "openresty/"
for name in proc.run("ls " .. shell.quote(source)):gmatch "(%w+%.lua)\n" do
  nginx.write(dir .. "/" .. name, adapt(read(source .. name), CHANGES[name] or {}))
end
local conf = adapt(read(source .. "nginx.conf"), CHANGES["nginx.conf"])

-- A peer of the upstream: a process that answers every request with its name.
local function peer(name, port, backlog)
  local sock = assert(L.socket.new(L.inet.getaddrinfo(peer_host, tostring(port))[1]))
  sock:reuseaddr(true)
  assert(not sock:bind() and not sock:listen(backlog))
  local answer = ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"):format(#name, name)
  local pid = proc.fork(function()
    while true do
      local client = sock:accept()
      if client and client:recv() then client:send(answer) end
      if client then client:close() end
    end
  end)
  sock:close()
  return pid
end

local server, rsyslog, statsd, one, two

local function kill(pid)
  proc.kill(pid, proc.SIGKILL)
  proc.wait(pid)
end

local function get(uri) return nginx.get(server, uri) end

-- Answers of n requests: each text, and how often it came.
local function requests(n)
  local out = {}
  for _ = 1, n do
    local text = get "/"
    out[text] = (out[text] or 0) + 1
  end
  return out
end

local function shows(text) return net.await(function() return get("/status"):find(text, 1, true) and true end) end
local function counted(what) return tonumber(get("/status"):match("%f[%w]" .. what .. " (%-?%d+)")) or 0 end

-- How many requests the collectors know of.
local function known(report)
  local n = 0
  for name, metric in pairs(report or statsd.report()) do
    if name:find "^nginx%.status%.%d+|c$" then n = n + metric.sum end
  end
  return n
end

local function pause(sec)
  local a, b = net.pair()
  a:recvable(sec)
  a:close(); b:close()
end

-- Waits until all the collectors know the same, and for more than the second that a batch may take nothing has changed.
local function settled()
  local n
  repeat
    n = net.await(function()
      local now = known()
      return collector.count(rsyslog, "access") == now and collector.count(rsyslog, "slow") == now and now
    end)
    pause(1.3)
  until known() == n
  return n
end

local function errors()
  local out = {}
  for line in nginx.errors(server):gmatch "[^\n]+" do
    if not line:find "%[warn%]" then out[#out + 1] = line end
  end
  return table.concat(out, "\n")
end

local function test_health()
  local first, second = peer_host .. ":8081 ", peer_host .. ":8082 "
  T.ok(shows(first .. "up") and shows(second .. "up"), "both peers are up")
  local answers = requests(20)
  T.ok(answers.one == 10 and answers.two == 10, "they are asked by turns")
  kill(two)
  T.ok(shows(second .. "Connection refused"), "a peer that ended is down")
  T.is(requests(20).one, 20, "and gets no more requests")
  two = peer("two", 8082, 1)
  T.ok(shows(second .. "up"), "when it is there again it is up")
  T.ok(requests(20).two, "and is asked again")
  proc.kill(two, L.SIGSTOP) -- its queue of connections fills
  T.ok(shows(second .. "no answer"), "one that does not answer in time is down")
  T.is(requests(20).one, 20, "and no client waits for it")
  proc.kill(two, L.SIGCONT)
  T.ok(shows(second .. "up"), "until it answers")
end

local function faulty_lines(messages)
  for _, message in ipairs(messages) do
    local size = 0
    for _, line in ipairs(message.lines) do
      size = size + #line + 1
      if not line:find "^unix: GET /%w* HTTP/1.0 %d+ %d+ %d+%.%d+$" then return line end
    end
    if size > 1400 then return "a message of " .. size end
  end
end

local function test_message(id, input)
  local messages = collector.messages(rsyslog, id)
  local last = messages[#messages]
  T.is(("%s %s %s %s"):format(last.input, last.pri, last.app, last.data), input .. " local0.info nginx -",
    id .. ": its head is right")
  T.is(last.host, (read("/proc/sys/kernel/hostname"):gsub("%s", "")), id .. ": it names the host")
  T.ok(nginx.is_alive(last.procid) and tonumber(last.procid) ~= server.pid, id .. ": and the worker")
  local year, month, day, hour, min, sec = last.timestamp:match "^(%d+)%-(%d+)%-(%d+)T(%d+):(%d+):(%d+)%.%d%d%dZ$"
  T.ok(year and math.abs(os.time { year = year, month = month, day = day, hour = hour, min = min, sec = sec }
    - os.time(os.date "!*t")) < 60, id .. ": and the time, " .. last.timestamp)
  T.is(faulty_lines(messages), nil, id .. ": every line is whole, no message is larger than 1,400 bytes")
end

local function test_logs()
  local before_all, report = settled(), statsd.report()
  requests(400)
  T.is(settled(), before_all + 400, "of 400 requests statsd, syslog over UDP and syslog over a unix socket know each")
  local after = statsd.report()
  T.is(after["nginx.request_time|ms"].n, known(after), "each has its time, too")
  local datagrams = after.datagrams.n - report.datagrams.n
  T.ok(datagrams >= 10 and datagrams <= 60, ("%d datagrams carried 800 values"):format(datagrams))
  T.ok(after.datagrams.sum <= 1400 and after.datagrams.sum > 1300, "and none had more than 1,400 bytes: " .. after.datagrams.sum)
  test_message("access", "imudp")
  test_message("slow", "imuxsock")
  T.ok(not get("/status"):find "dropped", "nothing was dropped")
end

local function largest(id)
  local n = 0
  for _, message in ipairs(collector.messages(rsyslog, id)) do n = math.max(n, #table.concat(message.lines, "\n")) end
  return n
end

-- What clients may send.  rsyslog writes a line break as #012, and so may they.
local function test_clients()
  local n, forged = settled(), "/#012unix: GET /forged HTTP/1.0 200 1 0.000"
  get(forged)
  get("/" .. ("a"):rep(3000))
  T.is(settled(), n + 2, "a client that writes rsyslog's form of a line break cannot forge a line")
  T.ok(largest "access" > 1000 and largest "access" <= 1400, "and the longest request does not make a datagram too long")
end

-- Asks over TCP, on a connection that stays open.
local function dial()
  local sock = assert(L.socket.new(L.inet.getaddrinfo(host, "8080")[1]))
  assert(not sock:connect())
  sock:rcvtimeo(20)
  return sock
end

local function ask(sock, uri)
  sock:send(("GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"):format(uri))
  local text = ""
  repeat text = text .. (sock:recv() or "\r\n0\r\n\r\n") until text:find "\r\n0\r\n\r\n"
  return text:match "\r\n\r\n%x+\r\n(.-)\r\n"
end

-- How many of the connections are found to be themselves.
local function right(socks)
  local n = 0
  for _, sock in ipairs(socks) do
    if ask(sock, "/peer") == tostring(sock:getsockname()) then n = n + 1 end
  end
  return n
end

-- By worker, how many descriptors it has.
local function descriptors()
  local out, seen = {}, 0
  while seen < 2 do
    local pid, n = get("/descriptors"):match "(%d+) (%d+)"
    seen, out[pid] = seen + (out[pid] and 0 or 1), n
  end
  return out
end

local function same(a, b)
  for pid, n in pairs(a) do
    if b[pid] ~= n then return false end
  end
  return true
end

local function test_tcpinfo()
  T.is(get "/connection", "no TCP connection\n", "a request over a unix socket has no TCP_INFO")
  local had, socks = descriptors(), {}
  for i = 1, 40 do socks[i] = dial() end
  T.is(right(socks), 40, "each of forty connections is found, among forty")
  T.is(right(socks), 40, "and found again, and none was closed")
  for i = 1, 40, 2 do
    socks[i]:close()
    socks[i] = dial()
  end
  T.is(right(socks), 40, "new ones in the place of old ones, too")
  local text = ask(socks[1], "/connection")
  local rtt, variance = text:match "^rtt (%d+) us, variance (%d+) us, retransmits 0\n$"
  T.ok(rtt and tonumber(rtt) > 0 and tonumber(variance) > 0,
    "TCP_INFO tells the round trip time and retransmits: " .. text:sub(1, -2))
  for _, sock in ipairs(socks) do sock:close() end
  T.ok(net.await(function() return same(had, descriptors()) end), "the workers have the descriptors that they had before")
  settled()
  local slow
  for _, message in ipairs(collector.messages(rsyslog, "slow")) do
    for _, line in ipairs(message.lines) do
      slow = slow or line:match "^127%.%S+ GET /connection HTTP/1.1 200 %d+ %S+ rtt=%d+us retransmits=0$"
    end
  end
  T.ok(slow, "the slow log has them: " .. tostring(slow))
end

-- Where every request tells whose it is found to be, among link-local addresses.
local LINK_LOCAL = [[
events { }
http {
  HTTP
  lua_package_path "${prefix}?.lua;;";
  server {
    listen [::]:8080; listen unix:DIR/socket;
    location = / { return 200 "hello"; }
    location = /peer {
      content_by_lua_block {
        local sock = require("tcpinfo").connection()
        ngx.print(sock and tostring(sock:getpeername()) or "none")
      }
    }
  }
}
]]

-- Two interfaces with the same link-local address.
local function twins()
  netns.batch { "link set lo up", "link add va type veth peer name vb", "link set va up", "link set vb up",
    "addr add fe80::1/64 dev lo nodad", "addr add fe80::1/64 dev va nodad" }
  net.await(function() return select(2, netns.ip("-6 route show table local"):gsub("local fe80::1 ", "")) == 2 end)
end

local function dial_twin(ifname, port)
  local address = "fe80::1%" .. ifname
  local sock = assert(L.socket.new(L.inet.getaddrinfo(address, port or "0")[1]))
  assert(not sock:bind() and not sock:connect(L.inet.getaddrinfo(address, "8080")[1]))
  sock:rcvtimeo(20)
  return sock
end

local function twice(sock) return ask(sock, "/peer") == tostring(sock:getsockname()) and right { sock } == 1 end

-- What is found out in the namespace, a line each.
local function answers_of_twins()
  local one_twin = dial_twin "lo"
  local found = twice(one_twin)
  local other_twin = dial_twin("va", tostring(one_twin:getsockname():port()))
  local both = ask(one_twin, "/peer") .. " " .. ask(other_twin, "/peer")
  one_twin:close()
  local left
  net.await(function()
    left = twice(other_twin)
    return left
  end)
  other_twin:close()
  return ("%s\n%s\n%s\n"):format(found, both, left)
end

local function in_namespace(own_dir)
  local SKIP = 77
  return proc.wait(proc.fork(function()
    if not netns.enter() then return SKIP end
    twins()
    local own = nginx.start(LINK_LOCAL:gsub("HTTP", nginx.HTTP), own_dir)
    local ok, text = pcall(answers_of_twins)
    nginx.stop(own)
    nginx.write(own_dir .. "/answers", text)
    return ok
  end)) ~= SKIP
end

local function test_link_local()
  local own_dir = net.tmpdir()
  nginx.write(own_dir .. "/tcpinfo.lua", read(source .. "tcpinfo.lua"))
  if not in_namespace(own_dir) then return T.skip(3, "no namespace with link-local addresses may be made here") end
  local lines = {}
  for line in nginx.read(own_dir .. "/answers"):gmatch "[^\n]+" do lines[#lines + 1] = line end
  T.is(lines[1], "true", "a connection from a link-local address is found, and found again")
  T.is(lines[2], "none none", "two connections that differ only in the interface are not confused")
  T.is(lines[3], "true", "and the one that is left is found")
end

-- Waits until every request is either at the collector or counted as dropped.
local function accounted(id)
  for _ = 1, 8 do
    local dropped = counted(id .. " dropped")
    pause(1.3)
    if known() == collector.count(rsyslog, id) + dropped then return true end
  end
end

local function test_drops()
  proc.kill(rsyslog.pid, L.SIGSTOP)
  local began = sys.clock()
  local answers = requests(2000)
  T.is(answers.one + answers.two, 2000,
    ("while rsyslog stands still 2,000 requests are answered, in %.1f s"):format(sys.clock() - began))
  local dropped = counted "slow dropped"
  T.ok(dropped > 0, "what its socket did not take is dropped: " .. dropped)
  proc.kill(rsyslog.pid, L.SIGCONT)
  T.ok(accounted "slow", "when it continues, the sent messages arrive and the rest was counted")
end

local function test_restart()
  rsyslog = collector.stop(rsyslog)
  os.remove(logs .. "/messages")
  local slow, access = counted "slow dropped", counted "access dropped"
  net.await(function() return requests(1) and counted "slow dropped" > slow + 5 end)
  T.ok(true, "when rsyslog is gone lines for its unix socket are dropped and counted")
  net.await(function() return requests(1) and counted "access dropped" > access + 5 end)
  T.ok(true, "and so are those for UDP, as soon as the network reports it")
  rsyslog = collector.rsyslog(logs, host, 5514)
  requests(5)
  local function comes(id) return net.await(function() return requests(1) and collector.count(rsyslog, id) > 0 end) end
  T.ok(comes "slow", "a new rsyslog is found at the path")
  T.ok(comes "access", "and at the port")
end

-- With a fresh rsyslog: of all that this nginx does nothing is lost.
local function test_end(signal, name)
  pause(1.3)
  local function counts() return { known(), collector.count(rsyslog, "access"), collector.count(rsyslog, "slow") } end
  local had = counts()
  requests(7)
  T.is(nginx.stop(server, signal), "", "nginx ends at " .. name)
  local function all_came()
    local now = counts()
    return now[1] - had[1] == 7 and now[2] - had[2] == 7 and now[3] - had[3] == 7
  end
  T.ok(net.await(all_came), "and what its workers had not sent is not lost")
  T.is(errors(), "", "nothing stands in its error log but the peers' state")
end

local function main()
  rsyslog, statsd = collector.rsyslog(logs, host, 5514), collector.statsd(dir, host, 8125)
  one, two = peer("one", 8081), peer("two", 8082)
  server = nginx.start(conf, dir)
  test_health()
  test_logs()
  test_clients()
  test_tcpinfo()
  test_link_local()
  test_drops()
  test_restart()
  test_end(proc.SIGTERM, "SIGTERM")
  server = nginx.start(conf, dir)
  shows "up"
  test_end(3, "SIGQUIT")
  server = nil
end

-- An error must not leave a process behind: Lua would wait for its end.
local ok, message = xpcall(main, debug.traceback)
if not ok then print("# " .. message:gsub("\n", "\n# ")) end
if server then
  print("# " .. nginx.errors(server):gsub("\n", "\n# "))
  nginx.stop(server)
end
for _, process in ipairs { rsyslog or false, statsd or false } do
  if process then collector.stop(process) end
end
for _, pid in ipairs { one or 0, two or 0 } do
  if pid > 0 then kill(pid) end
end
finish()
