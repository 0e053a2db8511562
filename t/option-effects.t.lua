-- option: what the newer options do, and what the kernel refuses.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local values = require "values"
local show, text = values.show, require("llsocket.errno").text
local before = leak.count()
local T = require("tap").plan(42)

local function failed(e) return show(nil, text(e), e) end

-- Interfaces go by name.
local udp, name = net.bound(L.AF_INET, L.SOCK_DGRAM, true)
T.is(show(udp:bindtodevice("no-such-dev0")), failed(L.ENODEV), "bindtodevice: an interface that there is not is ENODEV")
T.is(show(udp:bindtodevice(("x"):rep(16))), failed(L.ENODEV), "bindtodevice: a name of 16 bytes is ENODEV, and not cut")
T.is(show(udp:bindtodevice "lo\0x"), failed(L.EINVAL), "bindtodevice: a NUL is EINVAL")
T.is(show(udp:bindtodevice()), '""', "bindtodevice: none is \"\"")

-- Numbers that the kernel refuses.
T.is(show(udp:ttl(0)), failed(L.EINVAL), "ttl(0) is EINVAL")
T.is(show(udp:ttl(256)), failed(L.EINVAL), "ttl(256) is EINVAL")
T.is(show(udp:ttl(-1)), failed(L.EINVAL), "ttl(-1), the kernel's default, is EINVAL")
T.is(udp:ttl(), 64, "and the time to live is as it was")
T.is(show(udp:tos(256)), failed(L.EINVAL), "tos(256) is EINVAL and not cut to a byte")
T.is(show(udp:mtudiscover(200)), failed(L.EINVAL), "an unknown mtudiscover is EINVAL")
T.is(show(udp:priority(-1)), failed(L.EINVAL), "priority(-1) is EINVAL")
local highest, _, denied = udp:priority(2^32 - 1)
if denied == L.EPERM then T.skip(1, "a high priority needs a privilege") else
  T.is(show(highest, udp:priority(), udp:priority(2^32), udp:priority()), show(2^32 - 1, 2^32 - 1, nil, 2^32 - 1),
    "priority takes any class of a queue, 32 bits without sign")
  udp:priority(0)
end
T.is(show(udp:busypoll(-1)), failed(L.EINVAL), "busypoll(-1) is EINVAL")
T.is(show(udp:mark(2^32)), failed(L.EINVAL), "a mark of 33 bits is EINVAL")
T.is(show(udp:mark(-2^31 - 1)), failed(L.EINVAL), "a mark below 32 bits is EINVAL")

-- A time to live, a type of service, a mark and their kin reach who receives.
udp:recvttl(true); udp:recvtos(true)
local function integers(sock)
  local mh = assert(L.msghdr.new())
  assert(sock:recvmsg(mh))
  local out = {}
  for _, cmsg in ipairs(mh:control()) do out[#out + 1] = cmsg:integer() end
  return table.concat(out, " ")
end
local from = net.bound(L.AF_INET, L.SOCK_DGRAM)
from:sendto("x", name)
T.is(integers(udp), "64 0", "a datagram comes with the default TTL and TOS")
from:ttl(7); from:tos(16)
from:sendto("x", name)
T.is(integers(udp), "7 16", "and with those that its sender set")
udp:recvttl(false)
from:sendto("x", name)
T.is(integers(udp), "16", "recvttl(false) ends it")
from:close(); udp:close()
if not net.has(net.places[2]) then T.skip(2, "no IPv6 here") else
  local udp6, name6 = net.bound(L.AF_INET6, L.SOCK_DGRAM, true)
  local from6 = net.bound(L.AF_INET6, L.SOCK_DGRAM)
  udp6:recvttl(true); udp6:recvtos(true)
  from6:sendto("x", name6)
  T.is(integers(udp6), "64 0", "a datagram over IPv6 comes with the default hop limit and traffic class")
  from6:hoplimit(9); from6:tclass(24)
  from6:sendto("x", name6)
  T.is(integers(udp6), "9 24", "and with those that its sender set")
  from6:close(); udp6:close()
end

-- An address that the machine does not have.
local function bind(family, host, option)
  local sock = assert(L.socket.new(assert(L.inet.getaddrinfo(host, "0", L.SOCK_DGRAM))[1]))
  T.is(sock:family(), family, host .. " has its family")
  if option then assert(sock[option](sock, true)) end
  local _, e = sock:bind()
  local bound = sock:getsockname():addr()
  sock:close()
  return show(e, bound)
end
T.is(bind(L.AF_INET, "203.0.113.7"), show(L.EADDRNOTAVAIL, "0.0.0.0"), "a foreign IPv4 address cannot be bound")
T.is(bind(L.AF_INET, "203.0.113.7", "freebind"), show(nil, "203.0.113.7"), "with freebind it can")
if not net.has(net.places[2]) then T.skip(4, "no IPv6 here") else
  T.is(bind(L.AF_INET6, "2001:db8::7"), show(L.EADDRNOTAVAIL, "::"), "a foreign IPv6 address cannot be bound")
  T.is(bind(L.AF_INET6, "2001:db8::7", "freebind"), show(nil, "2001:db8::7"), "with freebind it can")
end

-- IPv6 with and without IPv4.
local function bound6(only, port)
  local sock = assert(L.socket.new(assert(L.inet.getaddrinfo("::", tostring(port or 0), L.SOCK_DGRAM))[1]))
  sock:v6only(only)
  assert(not sock:bind())
  return sock, sock:getsockname():port()
end
local function bind4(port)
  local sock = assert(L.socket.new(assert(L.inet.getaddrinfo("0.0.0.0", tostring(port), L.SOCK_DGRAM))[1]))
  local _, e = sock:bind()
  sock:close()
  return e
end
if not net.has(net.places[2]) then T.skip(3, "no IPv6 here") else
  local both, port = bound6(false)
  T.is(bind4(port), L.EADDRINUSE, "v6only(false): the port is IPv4's too")
  T.is(show(both:v6only(true)), failed(L.EINVAL), "v6only of a bound socket is EINVAL")
  both:close()
  T.ok(net.await(function() -- the port may be some other program's
    local only, port6 = bound6(true)
    local e = bind4(port6)
    only:close()
    return e == nil
  end), "v6only(true): IPv4 has the port for itself")
end

-- TCP.
local listener, ai = net.listener(L.AF_INET, true)
T.is(show(listener:tcpcongestion "no-such-algorithm"), failed(L.ENOENT), "an unknown tcpcongestion is ENOENT")
T.is(show(listener:tcpcongestion "re\0no"), failed(L.EINVAL), "tcpcongestion with a NUL is EINVAL")
T.is(show(listener:tcpcongestion(("x"):rep(300))), failed(L.ENOENT), "a long one is ENOENT")
T.is(listener:tcpdeferaccept(5) and listener:tcpdeferaccept() >= 5, true, "tcpdeferaccept reads at least the seconds set")
local client = assert(L.socket.new(ai))
assert(not client:connect())
T.is(select(4, listener:accept()), L.EAGAIN, "with it, a connection without data is not accepted")
client:send "now"
local server = net.await(function() return (listener:accept()) end)
T.is(server:recv(), "now", "one with data is")
T.is(show(client:tcpusertimeout(1500)) .. " " .. client:tcpusertimeout(), "1500 1500", "tcpusertimeout is in milliseconds")
T.is(client:tcpmaxseg() > 500, true, "tcpmaxseg of a connection is the size in use")
client:close(); server:close()

local function sysctl()
  local out = proc.run "cat /proc/sys/net/ipv4/tcp_fastopen"
  return (tonumber(out) or 0) % 2 == 1
end
if not sysctl() then T.skip(2, "TCP fast open is off here") else
  client = assert(L.socket.new(ai, true))
  assert(client:tcpfastopenconnect(true))
  client:connect()
  T.is(client:sendable(5), true, "with tcpfastopenconnect a connect ends")
  client:send "fast"
  server = net.await(function() return (listener:accept()) end)
  T.is(server:recv(4, L.MSG_WAITALL), "fast", "and the data arrives")
  client:close(); server:close()
end
listener:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
