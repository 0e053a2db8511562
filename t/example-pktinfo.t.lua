-- pktinfo: the answer comes from the address that the client asked; connected clients get it.
local L = require "llsocket"
local example = require "example"
local leak = require "leak"
local net = require "net"
local netns = require "netns"
local T = require("tap").plan(18)
local before = leak.count()

local function address(host, port) return assert(L.inet.getaddrinfo(host, tostring(port), L.SOCK_DGRAM))[1] end

local function port_of(line) return line:match "^listening on .*:(%d+)$" end

-- Asks from an address of its own; answers what comes back, and from where.
local function ask(host, port, msg, client)
  local sock = assert(L.socket.new(address(client, 0)))
  assert(not sock:bind())
  sock:sendto(msg, address(host, port))
  local back, from
  if sock:recvable(5) then back, from = sock:recvfrom(65536) end
  sock:close()
  return back, tostring(from)
end

-- A connected socket hears only the address that it asked.
local function ask_connected(host, port, msg)
  local sock = assert(L.socket.new(address(host, port)))
  assert(not sock:connect())
  sock:send(msg)
  local back = sock:recvable(5) and sock:recv() or nil
  sock:close()
  return back
end

-- Each host's answer as one test: the same bytes, from the host and the port.
local function check(hosts, port, client)
  for _, host in ipairs(hosts) do
    local back, from = ask(host, port, "hello " .. host, client)
    T.is(("%s from %s"):format(back, from), ("hello %s from %s"):format(host, tostring(address(host, port))),
      "asked at " .. host .. " it answers from there")
  end
end

local child, line = example.start("pktinfo", "0")
local port = port_of(line)
T.ok(port, "it says where it listens: " .. line)
check({ "127.0.0.1", "127.0.0.2", "127.77.88.99" }, port, "127.0.0.1")
T.is(ask_connected("127.0.0.3", port, "connected"), "connected", "a client that connected to 127.0.0.3 hears it")
T.is(ask("127.0.0.2", port, "", "127.0.0.1"), "", "an empty datagram comes back")
local bytes = ("0123456789abcdef"):rep(4096):sub(1, 65507)
T.ok(ask("127.0.0.2", port, bytes, "127.0.0.1") == bytes, "the longest datagram comes back whole")
local log = {}
for i = 1, 6 do log[i] = child.pipe:read "*l" end -- before it is stopped: it tells after it has answered
T.ok(log[3]:find "^127%.0%.0%.1:%d+ asked at 127%.77%.88%.99 on lo: 18 bytes sent back$",
  "it prints the client, the asked address, and the interface")
T.is(example.stop(child), "", "once for each datagram")

-- Without pktinfo the kernel chooses: that is what the example is for.
local plain, plain_line = example.start("udpecho", "0 0.0.0.0")
local _, from = ask("127.0.0.2", port_of(plain_line), "who are you", "127.0.0.1")
T.ok(from:find "^127%.0%.0%.1:", "an echo without pktinfo answers as another: " .. from)
example.stop(plain)

local text, ok = example.run("pktinfo", "70000")
T.ok(not ok and text:find "^pktinfo: ", "a port that cannot be is refused")
text, ok = example.run("pktinfo", "0 192.0.2.77")
T.ok(not ok and text:find "^pktinfo: 192%.0%.2%.77:0: %u", "an address of another machine is refused with the reason")

-- IPv6, with several addresses, in a network of its own; the socket takes IPv4 too.
local function ipv6()
  netns.ip "link set lo up"
  for _, host in ipairs { "fd00::1", "fd00::2" } do
    netns.ip("address add " .. host .. "/128 dev lo nodad")
    net.await(function() return netns.try("route get " .. host):find "^local" end) -- a moment later than the address
  end
  child, line = example.start("pktinfo", "0 ::")
  check({ "::1", "fd00::1", "fd00::2" }, port_of(line), "::1")
  T.is(ask_connected("fd00::2", port_of(line), "sechs"), "sechs", "a client that connected to fd00::2 hears it")
  check({ "127.0.0.2" }, port_of(line), "127.0.0.1")
  example.stop(child)
end

local inside, why = netns.enter()
if not inside then
  T.skip(5, why)
elseif not L.socket.new(address("::1", 0)) then
  T.skip(5, "this kernel has no IPv6")
else
  ipv6()
end
T.is(leak.count(), before, "no descriptor is left")
T.done()
