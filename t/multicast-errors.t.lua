-- multicast: the errors of each method for wrong sockets, families, addresses and interfaces.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local netns = require "netns"
local show = require("show").show
local sys = require "sys"
local text = require("llsocket.errno").text
local MEMBERSHIPS = require("llsocket.socket.multicast").MEMBERSHIPS

local OPTIONS = { { "mcastloop", true }, { "mcastttl", 1 }, { "mcastif", "" } }
local PLAN = #MEMBERSHIPS * 9 + #OPTIONS * 2 + 29
local T = require("tap").plan(PLAN)
local before = leak.count()

local function new(family, socktype) return L.socket.new(net.addr(family, socktype)) end
if not new(L.AF_INET6, L.SOCK_DGRAM) then
  T.skip(PLAN, "this kernel has no IPv6")
  T.done()
end
local function udp(family) return assert(new(family, L.SOCK_DGRAM)) end
local sock4, sock6, tcp4, tcp6 = udp(L.AF_INET), udp(L.AF_INET6), new(L.AF_INET), new(L.AF_INET6)
local unix, peer = net.pair(L.SOCK_DGRAM)
local closed4, closed6 = udp(L.AF_INET), udp(L.AF_INET6)
closed4:close(); closed6:close()
local SOCKS = { sock4, sock6, tcp4, tcp6, unix, peer }

local G4, G6, S4, S6 = "239.1.2.3", "ff15::1234", "192.0.2.1", "2001:db8::1"
local NO_GROUP = {
  [sock4] = { "", "239.1.2", "239.1.2.3.4", "239.1.2.256", "239.1.2.3 ", " 239.1.2.3", "239.1.2.3\0",
    "239.1.2.3\0.4", "0xef.1.2.3", "localhost", "239.1.2.3%lo", "239.1.2.3:80", "lo", "224.0.0.1/8" },
  [sock6] = { "", "ff15:::1", "ff15::1\0", "[ff15::1]", "ff15::1 ", "ff15::g", "ff15::1%", "%lo", "ff15",
    "localhost", "lo", "1::2::3" },
}
local NO_DEVICE = { "nosuchdevice", "nosuchdevice.15", "nosuchdevice..16", ("x"):rep(100), ("x"):rep(5000), "lo\0", "lo\0x",
  "\0", "127.0.0.1", "::1", "lo ", "lo:", "lo:1", "lo:nosuch" }

local function is(want, name, ...) T.is(show(...), show(text(want), want), name) end

-- All inputs of a list for which the call does not answer that errno, in one text.
local function faults(list, e, call)
  local out = {}
  for _, input in ipairs(list) do
    local answer = show(call(input))
    if answer ~= show(text(e), e) then out[#out + 1] = ("%q: %s"):format(input, answer) end
  end
  return table.concat(out, "; ")
end

for _, row in ipairs(MEMBERSHIPS) do
  local name = row[1]
  local with_source = name:find "src$"
  -- The call with a source of the family, where it has one.
  local function call(sock, group, ifname, source)
    if not with_source then return sock[name](sock, group, ifname) end
    return sock[name](sock, group, source or (sock == sock6 or sock == closed6) and S6 or S4, ifname)
  end
  is(L.EBADF, name .. " on a closed socket is EBADF, whatever else is wrong", call(closed4, "nonsense", "nosuchdevice"))
  is(L.EBADF, name .. " on a closed IPv6 socket too", call(closed6, G6))
  is(L.EOPNOTSUPP, name .. " on a stream socket is EOPNOTSUPP, whatever else is wrong", call(tcp4, "nonsense", "nosuchdevice"))
  is(L.EOPNOTSUPP, name .. " on an IPv6 stream socket too", call(tcp6, G6))
  is(L.EOPNOTSUPP, name .. " on a unix socket too", call(unix, G4))
  is(L.EAFNOSUPPORT, name .. " of an IPv6 group on an IPv4 socket is EAFNOSUPPORT, scope or not, whatever the interface",
    call(sock4, "ff02::1%nosuchdevice", "nosuchdevice"))
  is(L.EAFNOSUPPORT, name .. " of an IPv4 group on an IPv6 socket too", call(sock6, G4, "nosuchdevice"))
  T.is(faults(NO_GROUP[sock4], L.EINVAL, function(group) return call(sock4, group) end)
    .. faults(NO_GROUP[sock6], L.EINVAL, function(group) return call(sock6, group) end), "",
    name .. " of a text that is not a numeric address is EINVAL")
  T.is(faults(NO_DEVICE, L.ENODEV, function(ifname) return call(sock4, G4, ifname) end)
    .. faults(NO_DEVICE, L.ENODEV, function(ifname) return call(sock6, G6, ifname) end), "",
    name .. " on an interface that there is not is ENODEV")
end

-- Sources.
for _, name in ipairs { "mcastjoinsrc", "mcastblocksrc" } do
  is(L.EAFNOSUPPORT, name .. " of an IPv6 source on an IPv4 socket is EAFNOSUPPORT", sock4[name](sock4, G4, S6))
  is(L.EAFNOSUPPORT, name .. " of an IPv4 source on an IPv6 socket is EAFNOSUPPORT", sock6[name](sock6, G6, S4))
  T.is(faults(NO_GROUP[sock4], L.EINVAL, function(source) return sock4[name](sock4, G4, source) end)
    .. faults(NO_GROUP[sock6], L.EINVAL, function(source) return sock6[name](sock6, G6, source) end), "",
    name .. " of a source that is not a numeric address, such as an interface's name, is EINVAL")
end

-- What is no group, or not joined.
is(L.EINVAL, "joining an IPv4 address that is no group is EINVAL", sock4:mcastjoin("127.0.0.1", "lo"))
is(L.EINVAL, "joining an IPv6 address that is no group is EINVAL", sock6:mcastjoin("::1", "lo"))
is(L.EINVAL, "joining a source of an address that is no group is EINVAL", sock4:mcastjoinsrc("127.0.0.1", S4, "lo"))
is(L.EINVAL, "so it is for IPv6", sock6:mcastjoinsrc("::1", S6, "lo"))
is(L.EADDRNOTAVAIL, "leaving a group that was not joined is EADDRNOTAVAIL", sock4:mcastleave(G4, "lo"))
is(L.EADDRNOTAVAIL, "so it is for IPv6", sock6:mcastleave(G6, "lo"))

-- Options on what has no multicast.
for _, row in ipairs(OPTIONS) do
  local name, value = row[1], row[2]
  local function all(sock) return show(sock[name](sock)) .. "; " .. show(sock[name](sock, value)) end
  local function both(e) return ("nil, %s, %d; nil, %s, %d"):format(text(e), e, text(e), e) end
  T.is(all(closed4) .. all(closed6), both(L.EBADF):rep(2), name .. " on a closed socket is EBADF")
  T.is(all(tcp4) .. all(tcp6) .. all(unix), both(L.EOPNOTSUPP):rep(3), name .. " on a stream or unix socket is EOPNOTSUPP")
end
local function device(sock)
  return faults(NO_DEVICE, L.ENODEV, function(ifname)
    return select(2, sock:mcastif(ifname))
  end)
end
T.is(device(sock4), "", "mcastif of an interface that there is not is ENODEV")
T.is(device(sock6), "", "so it is for IPv6")
T.is(sock4:mcastif(), "", "after which nothing is set")

-- A duplicate is judged by what it is, not by the address that it was made with.
local stream_ai, ai6 = net.addr(L.AF_INET), net.addr(L.AF_INET6, L.SOCK_DGRAM)
local as_stream, as_6, as_udp = sock4:dup(stream_ai), sock4:dup(ai6), tcp4:dup(net.addr(L.AF_INET, L.SOCK_DGRAM))
T.is(show(as_stream:mcastjoin(G4, "lo"), as_stream:mcastleave(G4, "lo")), "nil",
  "a duplicate with a stream's address joins and leaves")
T.is(show(as_6:mcastjoin(G4, "lo"), as_6:mcastif "lo", as_6:mcastif()), "nil, lo, lo",
  "one of an IPv4 socket with an IPv6 address joins an IPv4 group")
as_6:mcastleave(G4, "lo")
is(L.EAFNOSUPPORT, "and no IPv6 group", as_6:mcastjoin(G6, "lo"))
is(L.EOPNOTSUPP, "one of a stream with a datagram's address is a stream", as_udp:mcastjoin(G4, "lo"))
as_stream:close(); as_6:close(); as_udp:close()

-- With no descriptor left the socket itself is asked.
local function without_descriptors(fn)
  local limit = sys.limit_descriptors(3)
  local got = show(fn())
  sys.limit_descriptors(limit)
  return got
end
local pktinfo = L.cmsghdr.pktinfo -- loads the module
if not L.SIOCGIFNAME then T.skip(4, "interfaces are found by a socket of libc's") else
  T.is(without_descriptors(function() return sock4:mcastjoin(G4, "lo") end), "", "an interface is found with no descriptor left")
  T.is(without_descriptors(function() return sock4:mcastif "lo", sock4:mcastif() end), "lo, lo", "and set and told")
  T.is(without_descriptors(function() return sock6:mcastif "lo", sock6:mcastif() end), "lo, lo", "so it is for IPv6")
  T.is(without_descriptors(function() return sock4:mcastif "nosuch" end), show(nil, text(L.ENODEV), L.ENODEV),
    "a missing interface is told apart from a missing descriptor")
end
T.is(without_descriptors(function() return pktinfo("127.0.0.1", "lo") end), show(nil, text(L.EMFILE), L.EMFILE),
  "without a socket to ask it is EMFILE")

-- An interface's name is never cut: 15 bytes are one, 16 are none though the first 15 are.
local FIFTEEN = "abcdefghijklmno"
local own, why = netns.enter()
if own then
  netns.ip(("link add name %s type veth peer name x"):format(FIFTEEN))
  local inside = udp(L.AF_INET)
  T.is(inside:mcastif(FIFTEEN), FIFTEEN, "a name of 15 bytes is taken whole")
  T.is(show(inside:mcastif(FIFTEEN .. "p")), show(nil, text(L.ENODEV), L.ENODEV), "one of 16 bytes is not cut to it")
  T.is(show(inside:mcastjoin(G4, FIFTEEN .. "p")), show(text(L.ENODEV), L.ENODEV), "nor by mcastjoin")
  T.is(inside:mcastjoin(G4, FIFTEEN), nil, "which takes 15")
  inside:close()
else
  T.skip(4, why)
end

for _, sock in ipairs(SOCKS) do sock:close() end
T.is(leak.count(), before, "no descriptor is left")
T.done()
