-- option-dualstack: an option that is one method for IPv4 and IPv6 is set for both on an IPv6 socket, which may carry both.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local show = require("values").show
local text = require("llsocket.errno").text
local before = leak.count()

-- By method: the options of both halves, their kind, a value that is not the default.
local ROWS = {
  { "freebind", "IP_FREEBIND", "IPV6_FREEBIND", "boolean", true },
  { "mtudiscover", "IP_MTU_DISCOVER", "IPV6_MTU_DISCOVER", "int", 2 },
  { "pktinfo", "IP_PKTINFO", "IPV6_RECVPKTINFO", "boolean", true },
  { "recverr", "IP_RECVERR", "IPV6_RECVERR", "boolean", true },
  { "recvorigdst", "IP_RECVORIGDSTADDR", "IPV6_RECVORIGDSTADDR", "boolean", true },
  { "recvtos", "IP_RECVTOS", "IPV6_RECVTCLASS", "boolean", true },
  { "recvttl", "IP_RECVTTL", "IPV6_RECVHOPLIMIT", "boolean", true },
  { "transparent", "IP_TRANSPARENT", "IPV6_TRANSPARENT", "boolean", true },
  { "mcastloop", "IP_MULTICAST_LOOP", "IPV6_MULTICAST_LOOP", "boolean", false },
  { "mcastttl", "IP_MULTICAST_TTL", "IPV6_MULTICAST_HOPS", "int", 5 },
  { "multicastall", "IP_MULTICAST_ALL", "IPV6_MULTICAST_ALL", "boolean", true }, -- IPv4's half is off at first
}
local recvttl
for _, row in ipairs(ROWS) do recvttl = row[1] == "recvttl" and row or recvttl end
local EACH, REAL = 3, 18
local T = require("tap").plan(#ROWS * EACH + REAL + 5)

local function mapped(port, socktype)
  return assert(L.inet.getaddrinfo6("::ffff:127.0.0.1", tostring(port), socktype or L.SOCK_DGRAM))[1]
end

local function dual(socktype, v6only)
  local sock = assert(L.socket.new(assert(L.inet.getaddrinfo6("::", "0", socktype or L.SOCK_DGRAM))[1], true))
  assert(sock:v6only(v6only or false) ~= nil)
  return sock
end

local carries = net.has(net.places[1]) and net.has(net.places[2]) and pcall(function()
  local sock = dual()
  assert(not sock:bind() and not sock:connect(mapped(9)))
  sock:close()
end)
if jit.os ~= "Linux" or not carries then
  T.skip(#ROWS * EACH + REAL + 4, "no IPv6 sockets that carry IPv4 here")
  T.is(leak.count(), before, "no descriptor is left")
  T.done()
end

-- What both halves are.
local function halves(sock, row)
  return show(sock:getsockopt(L.IPPROTO_IP, L[row[2]], row[4]), (sock:getsockopt(L.IPPROTO_IPV6, L[row[3]], row[4])))
end

for _, row in ipairs(ROWS) do
  local name, value = row[1], row[5]
  local multicast = name:find "^mcast"
  for _, case in ipairs {
    { "a dual-stack socket", L.SOCK_DGRAM, false }, { "one that is v6only", L.SOCK_DGRAM, true },
    { "a TCP socket", L.SOCK_STREAM, false },
  } do
    local sock = dual(case[2], case[3])
    local got, _, e = sock[name](sock, value)
    if e == L.EPERM then T.skip(1, name .. " needs CAP_NET_ADMIN")
    elseif multicast and case[2] == L.SOCK_STREAM then
      T.is(e, L.EOPNOTSUPP, ("%s of %s: EOPNOTSUPP"):format(name, case[1]))
    else
      local want = show(value, value, value, value)
      T.is(show(got, sock[name](sock)) .. ", " .. halves(sock, row), want, ("%s of %s sets both halves"):format(name, case[1]))
    end
    sock:close()
  end
end

local function control(sock)
  local mh = assert(L.msghdr.new { size = 100 })
  net.await(function() return sock:recvmsg(mh) end)
  return mh, mh:control()
end

local function integer(sock, level, kind)
  for _, cmsg in ipairs(select(2, control(sock))) do
    if cmsg:level() == level and cmsg:type() == kind then return cmsg:integer() end
  end
end

-- What arrives with mapped datagrams.
local sock = dual()
assert(not sock:bind())
local port = sock:getsockname():port()
local from = net.bound(L.AF_INET, L.SOCK_DGRAM)
from:ttl(7); from:tos(16)
sock:recvttl(true)
from:sendto("x", net.addr(L.AF_INET, L.SOCK_DGRAM, port))
T.is(integer(sock, L.IPPROTO_IP, L.IP_TTL), 7, "recvttl: a mapped datagram comes with its TTL")
sock:recvttl(false); sock:recvtos(true)
from:sendto("x", net.addr(L.AF_INET, L.SOCK_DGRAM, port))
T.is(integer(sock, L.IPPROTO_IP, L.IP_TOS), 16, "recvtos: and with its type of service")
sock:recvtos(false); sock:pktinfo(true)
from:sendto("x", net.addr(L.AF_INET, L.SOCK_DGRAM, port))
local mh, cmsgs = control(sock)
T.is(tostring(mh:name()), ("[::ffff:127.0.0.1]:%d"):format(from:getsockname():port()), "its sender is a mapped address")
local told = {}
for _, cmsg in ipairs(cmsgs) do told[cmsg:level()] = cmsg:pktinfo() end
T.is(told[L.IPPROTO_IP] and told[L.IPPROTO_IP].addr, "127.0.0.1", "pktinfo: the destination is reported for IPv4")
T.is(told[L.IPPROTO_IPV6] and told[L.IPPROTO_IPV6].addr, "::ffff:127.0.0.1", "and for IPv6")
local six = net.bound(L.AF_INET6, L.SOCK_DGRAM)
six:hoplimit(9)
sock:pktinfo(false); sock:recvttl(true)
six:sendto("x", net.addr(L.AF_INET6, L.SOCK_DGRAM, port))
T.is(integer(sock, L.IPPROTO_IPV6, L.IPV6_HOPLIMIT), 9, "recvttl: a datagram over IPv6 comes with its hop limit")
six:close(); from:close(); sock:close()

-- The error queue.
local nobody = net.bound(L.AF_INET, L.SOCK_DGRAM)
assert(not nobody:connect(nobody:getsockname()))
sock = dual()
sock:recverr(true)
local there = mapped(nobody:getsockname():port())
T.is(show(sock:sendto("is there anybody", there)), "16, nil, false", "a datagram is sent to a closed mapped port")
mh = assert(L.msghdr.new { size = 100 })
T.ok(net.await(function() return sock:recvmsg(mh, L.MSG_ERRQUEUE) end), "recverr: the ICMP error is in the queue")
local err
for _, cmsg in ipairs(mh:control()) do err = err or cmsg:exterr() end
T.is(show(err and err.errno, err and err.origin), show(L.ECONNREFUSED, L.SO_EE_ORIGIN_ICMP),
  "and the error is that the port is closed")
T.is(show(mh:data(), tostring(mh:name())), show("is there anybody", tostring(there)), "with the sent data and its destination")
sock:recverr(false)
sock:recv() -- the error itself
sock:sendto("again", there)
T.is(sock:recvmsg(mh, L.MSG_ERRQUEUE), nil, "recverr(false) ends it")
sock:close(); nobody:close()

-- Whether packets may be cut, as a raw socket sees them.
local raw_ai = assert(L.inet.getaddrinfo("127.0.0.1", nil, L.SOCK_RAW, L.IPPROTO_UDP))[1]
local raw, _, why = L.socket.new(raw_ai, true)
if raw then raw:rcvbuf(2^20) end
local function fragments(value)
  local sender, receiver = dual(), net.bound(L.AF_INET, L.SOCK_DGRAM)
  sender:mtudiscover(value)
  local to = receiver:getsockname():port()
  sender:sendto("x", mapped(to))
  local flag
  net.await(function()
    for packet in function() return raw:recv() end do -- everybody's
      if packet:byte(23) * 256 + packet:byte(24) == to then flag = packet:byte(7) end
    end
    return flag
  end)
  sender:close(); receiver:close()
  return bit.band(flag, 0x40) ~= 0
end
if raw then
  T.is(fragments(L.IP_PMTUDISC_DO), true, "mtudiscover: mapped packets may not be cut (DF)")
  T.is(fragments(L.IP_PMTUDISC_DONT), false, "mtudiscover: or may be")
  raw:close()
else
  T.skip(2, "no raw socket: " .. text(why))
end

-- Groups of IPv4 from an IPv6 socket.
local lo = require("llsocket.device").of(L.AF_INET, "127.0.0.1")
local receiver = net.bound(L.AF_INET, L.SOCK_DGRAM, true)
receiver:close()
receiver = assert(L.socket.new(assert(L.inet.getaddrinfo("239.7.7.7", "0", L.SOCK_DGRAM))[1], true))
if lo and not receiver:bind() and not receiver:mcastjoin("239.7.7.7", lo) then
  receiver:recvttl(true)
  sock = dual()
  T.is(show(sock:mcastttl(5), sock:mcastif(lo), sock:mcastif()), show(5, lo, lo), "hops and interface are set on an IPv6 socket")
  local group = "::ffff:239.7.7.7"
  local to = assert(L.inet.getaddrinfo6(group, tostring(receiver:getsockname():port()), L.SOCK_DGRAM))[1]
  T.is(show(sock:sendto("x", to)), "1, nil, false", "it sends to a mapped group")
  T.is(integer(receiver, L.IPPROTO_IP, L.IP_TTL), 5, "which the datagram reaches by that interface, with so many hops")
  T.is(show(sock:mcastif "no-such-dev0"), show(nil, text(L.ENODEV), L.ENODEV), "an interface that there is not is ENODEV")
  T.is(show(sock:mcastif "", sock:mcastif()), '"", ""', "none is set for both")
  sock:close()
else
  T.skip(5, "no IPv4 groups on the loopback here")
end
receiver:close()

-- What decides is the real family.
sock = dual()
local copy = assert(sock:dup(net.addr(L.AF_INET, L.SOCK_DGRAM)))
copy:recvttl(true)
T.is(halves(sock, recvttl), show(true, true), "a copy with an IPv4 address sets both halves, too")
copy:close(); sock:close()

raw, _, why = L.socket.new(assert(L.inet.getaddrinfo6("::1", nil, L.SOCK_RAW, L.IPPROTO_ICMPV6))[1])
if raw then
  T.is(show(raw:recverr(true), raw:recvttl(true), raw:recverr()), show(true, true, true),
    "the option is set on a raw IPv6 socket, which has no IPv4 half")
  raw:close()
else
  T.skip(1, "no raw socket: " .. text(why))
end
local other = net.bound(L.AF_INET, L.SOCK_DGRAM)
T.is(show(other:recvttl(true), other:recvttl(), (other:getsockopt(L.IPPROTO_IPV6, L.IPV6_RECVHOPLIMIT, "int"))),
  show(true, true, nil), "an IPv4 socket has its own half only")
other:close()
local wrong = dual()
T.is(show(wrong:mtudiscover(200)), show(nil, text(L.EINVAL), L.EINVAL), "what neither half takes is EINVAL")
wrong:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
