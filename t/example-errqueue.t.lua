-- errqueue: it reports a closed port, and the longest packet that routers and interfaces allow.
local L = require "llsocket"
local example = require "example"
local leak = require "leak"
local net = require "net"
local netns = require "netns"
local proc = require "proc"
local T = require("tap").plan(13)
local before = leak.count()

-- A port that was free a moment ago.
local function closed_port(family)
  local sock, ai = net.bound(family, L.SOCK_DGRAM)
  sock:close()
  return ai:port()
end

local port = closed_port()
local text, ok = example.run("errqueue", "127.0.0.1 " .. port)
T.ok(ok, "it ends well")
T.is(text, ("asking 127.0.0.1:%d\n65535 bytes: Connection refused, says 127.0.0.1\n"):format(port), "a closed port refuses")
local sock, ai = net.bound(L.AF_INET, L.SOCK_DGRAM)
T.is(example.run("errqueue", ("127.0.0.1 %d 0.05"):format(ai:port())),
  ("asking %s\n65535 bytes: nothing was said against it\n"):format(tostring(ai)), "a port where somebody listens says nothing")
T.is(#sock:recv(65536), 65507, "who got the longest datagram there is")
sock:close()

text, ok = example.run("errqueue", "127.0.0.1 70000")
T.ok(not ok and text:find "^errqueue: ", "a port that cannot be is refused")
text, ok = example.run("errqueue", "")
T.ok(not ok and text:find "^errqueue: usage", "without a host it tells its usage")

-- Three networks in a row: from this process 1500 bytes may go to a router in the next, and from there 1400 or 1300 on
-- to hosts that swallow all.
local ROUTER = {
  "link set lo up",
  "address add 192.0.2.2/24 dev vb", "address add fd00:1::2/64 dev vb nodad", "link set vb up",
  "link add far type veth peer name away", "link set away up", "link set far mtu 1400",
  "address add 198.51.100.1/24 dev far", "address add fd00:2::1/64 dev far nodad", "link set far up",
  "neigh add 198.51.100.9 lladdr 02:00:00:00:00:09 dev far", "neigh add fd00:2::9 lladdr 02:00:00:00:00:09 dev far",
  "route add 203.0.113.0/24 via 198.51.100.9 mtu lock 1300",
}
local HERE = {
  "link set lo up", "address add 192.0.2.1/24 dev va", "address add fd00:1::1/64 dev va nodad", "link set va up",
  "route add default via 192.0.2.2", "route add fd00:2::/64 via fd00:1::2",
}

local function forward(path)
  local file = io.open("/proc/sys/net/" .. path, "w")
  if file then file:write "1"; file:close() end
end

-- The router is a child in a namespace of its own, for as long as the other end of `wire` lives.
local function router(wire)
  assert(netns.enter())
  wire:send "there"
  assert(wire:recv() == "yours")
  netns.batch(ROUTER)
  forward "ipv4/ip_forward"
  forward "ipv6/conf/all/forwarding"
  wire:send "ready"
  assert(wire:recv() == "wired")
  netns.settle()
  wire:send "settled"
  wire:recv()
end

local function network()
  local ours, theirs = net.pair(L.SOCK_SEQPACKET)
  local pid = proc.fork(function()
    ours:close()
    router(theirs)
  end)
  theirs:close()
  if ours:recv() ~= "there" then return nil, "no second network namespace may be made here" end
  netns.ip "link add va type veth peer name vb"
  netns.ip("link set vb netns " .. pid)
  ours:send "yours"
  assert(ours:recv() == "ready", "the router's network was not made")
  netns.batch(HERE)
  ours:send "wired"
  assert(ours:recv() == "settled")
  net.await(function() return netns.try("route get fd00:1::1"):find "^local" end)
  net.await(function() return select(2, netns.try "route get fd00:2::9") end)
  return { pid = pid, wire = ours }
end

-- What is told between the first line and the end.
local function told(args) return (example.run("errqueue", args):gsub("^asking [^\n]*\n", "")) end

local function paths()
  T.is(told("198.51.100.9 33434 0.5"), "65535 bytes: too long, this machine takes 1500\n"
    .. "1500 bytes: too long, 192.0.2.2 takes 1400\n1400 bytes: nothing was said against it\n", "a router tells its MTU")
  T.is(told("203.0.113.9 33434 0.5"), "65535 bytes: too long, this machine takes 1500\n"
    .. "1500 bytes: too long, 192.0.2.2 takes 1300\n1300 bytes: nothing was said against it\n", "another way has another")
  T.is(told("198.51.100.9 33434 0.5"), "65535 bytes: too long, this machine takes 1400\n"
    .. "1400 bytes: nothing was said against it\n", "the kernel remembers it")
  T.is(told "192.0.2.2 33434 5", "65535 bytes: too long, this machine takes 1500\n"
    .. "1500 bytes: Connection refused, says 192.0.2.2\n", "the router's closed port refuses a datagram that is short enough")
  T.is(told("fd00:2::9 33434 0.5"), "65535 bytes: too long, this machine takes 1500\n"
    .. "1500 bytes: too long, fd00:1::2 takes 1400\n1400 bytes: nothing was said against it\n", "so it goes with IPv6")
end

local inside, why = netns.enter()
local far
if inside then far, why = network() end
if far then
  paths()
  far.wire:close()
  T.is(proc.wait(far.pid), 0, "the router ends well")
else T.skip(6, why) end
collectgarbage()
T.is(leak.count(), before, "no descriptor is left")
T.done()
