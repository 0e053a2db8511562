-- option: what the options by name do to packets, as they leave and arrive in a network namespace of the test's own.
local bit = require "bit"
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local netns = require "netns"
local values = require "values"
local show, text = values.show, require("llsocket.errno").text
local PLAN = 48
local T = require("tap").plan(PLAN)
local before = leak.count()

local entered, why = netns.enter()
if not entered then
  T.skip(PLAN, why)
  T.done()
end

local function failed(e) return show(nil, text(e), e) end

-- Two pairs: what leaves by va arrives at vb and is nobody's, and so with vc and vd.
local NOBODY = "lladdr 02:00:5e:00:53:99 nud permanent"
netns.batch {
  "link set lo up",
  "link add va address 02:00:5e:00:53:0a type veth peer name vb address 02:00:5e:00:53:0b",
  "link add vc address 02:00:5e:00:53:0c type veth peer name vd address 02:00:5e:00:53:0d",
  "link set va addrgenmode none up", "link set vb addrgenmode none up",
  "link set vc addrgenmode none up", "link set vd addrgenmode none up",
  "addr add 192.0.2.1/24 dev va", "addr add 198.51.100.1/24 dev vc", "addr add 192.0.2.50/32 dev lo",
  "addr add 2001:db8:1::1/64 dev va nodad", "addr add 2001:db8:2::1/64 dev vc nodad",
  "route add 203.0.113.0/24 dev va", "route add 203.0.113.0/24 dev vc metric 20",
  "route add 2001:db8:3::/64 dev va", "route add 2001:db8:3::/64 dev vc metric 2048",
  "neigh add 192.0.2.50 dev va " .. NOBODY, "neigh add 198.51.100.9 dev vc " .. NOBODY,
  "neigh add 203.0.113.9 dev va " .. NOBODY, "neigh add 203.0.113.9 dev vc " .. NOBODY,
  "neigh add 2001:db8:1::9 dev va " .. NOBODY, "neigh add 2001:db8:2::9 dev vc " .. NOBODY,
  "neigh add 2001:db8:3::9 dev va " .. NOBODY, "neigh add 2001:db8:3::9 dev vc " .. NOBODY,
}

local function write(path, value)
  local file = assert(io.open("/proc/sys/net/" .. path, "w"))
  file:write(value)
  file:close()
end

-- Temporary addresses take a second to be ready; a kernel before 6.5 has no first repetitions after one second each.
write("ipv6/conf/va/use_tempaddr", "1")
netns.ip "addr add 2001:db8:4::1/64 dev va mngtmpaddr nodad"
pcall(write, "ipv4/tcp_syn_linear_timeouts", "0")

-- A struct sockaddr_ll: an interface, all protocols.
local function link(ifname, socktype)
  local head = ffi.string(ffi.new("uint16_t[1]", L.AF_PACKET), 2) .. "\0\3"
  local bytes = head .. ffi.string(ffi.new("int32_t[1]", L.device.index(ifname)), 4) .. ("\0"):rep(12)
  local sock = assert(L.socket.new(assert(L.addrinfo.new(bytes, socktype, 0)), true))
  assert(not sock:bind())
  return sock
end

-- All packets that wait, from the IP header on, of which `wanted` is true.
local function caught(sock, wanted)
  local out = {}
  for packet in function() return (sock:recv(65536)) end do
    if wanted(packet) then out[#out + 1] = packet end
  end
  return out
end

local function number(packet, at, bytes)
  local n = 0
  for i = at, at + bytes - 1 do n = n * 256 + packet:byte(i) end
  return n
end

local function numeric(host, port, socktype, protocol)
  return assert(L.inet.getaddrinfo(host, port and tostring(port), socktype or L.SOCK_DGRAM, protocol))[1]
end

local function socket(ai) return assert(L.socket.new(ai, true)) end

local vb, vd = link("vb", L.SOCK_DGRAM), link("vd", L.SOCK_DGRAM)

-- SYNs that nobody answers --------------------------------------------------------------------------------------

local function caller(rehash)
  local sock = socket(numeric("2001:db8:1::9", 9, L.SOCK_STREAM))
  assert(sock:tcpsyncnt(1) == 1)
  if sock:supports "txrehash" then assert(sock:txrehash(rehash) == rehash) end
  return sock
end
local function syns_of(packets, sock)
  local port, out = sock:getsockname():port(), {}
  for _, packet in ipairs(packets) do
    if number(packet, 41, 2) == port then out[#out + 1] = packet end
  end
  return out
end
local function label(packet) return bit.band(number(packet, 1, 4), 0xfffff) end
local same, other = caller(false), caller(true)
assert(same:tcpwindowclamp(5000) == 5000)
same:connect(); other:connect()

-- Meanwhile: connections whose peer vanishes.  Clients are bound, or both ends would have the same address.
local listener = socket(numeric("192.0.2.50", 0, L.SOCK_STREAM))
assert(not (listener:bind() or listener:listen()))
local function connection(option, value)
  local sock = socket(numeric("192.0.2.1", 0, L.SOCK_STREAM))
  assert(sock:tcpcongestion "reno" == "reno") -- "bbr" tells no end of the slow start, and without that no stream is thin
  if option then assert(sock[option](sock, value) == value) end
  sock:bind()
  sock:connect(listener:getsockname())
  local peer = net.await(function() return (listener:accept()) end)
  assert(sock:sendable(5) and sock:send "x")
  assert(peer:recvable(5) and peer:recv() == "x" and peer:send "y")
  assert(sock:recvable(5) and sock:recv() == "y")
  return sock, peer
end
local plain, plain_peer = connection()
local thin, thin_peer = connection("tcpthin", true)
local has_max = plain:supports "tcprtomax"
local short, short_peer = connection(has_max and "tcprtomax", 1000)
netns.ip "addr del 192.0.2.50/32 dev lo"
for _, sock in ipairs { plain, thin, short } do assert(sock:send "lost") end

local function repeated(sock, times)
  return net.await(function()
    local info = sock:tcpinfo()
    return info.retransmits >= times and info
  end)
end
local info = repeated(thin, 3)
T.is(show(info.backoff, info.rto < 400000), "0, true", "tcpthin: the third repetition comes as soon as the first")
info = repeated(plain, 3)
T.is(show(info.backoff, info.rto >= 1600000), "3, true", "without, each waits twice as long as the one before")
if not has_max then T.skip(1, "this kernel has no tcprtomax") else
  info = repeated(short, 4)
  T.is(show(info.backoff, info.rto), "4, 1000000", "tcprtomax: no wait is longer")
end
for _, sock in ipairs { plain, plain_peer, thin, thin_peer, short, short_peer, listener } do
  sock:linger(0)
  sock:close()
end

net.await(function() return same:sendable(0) and other:sendable(0) end)
T.is(show(same:error(), other:error()), show(L.ETIMEDOUT, L.ETIMEDOUT), "tcpsyncnt: connect gives up")
local packets = caught(vb, function(packet) return packet:byte(1) == 0x60 and packet:byte(7) == L.IPPROTO_TCP
  or bit.rshift(packet:byte(1), 4) == 6 and packet:byte(7) == L.IPPROTO_TCP end)
local first, second = syns_of(packets, same), syns_of(packets, other)
T.is(show(#first, #second), "2, 2", "after one repetition of the SYN")
T.ok(label(first[1]) ~= 0 and label(first[1]) == label(first[2]), "txrehash(false): the repetition has the same flow label")
if not other:supports "txrehash" then T.skip(1, "this kernel has no txrehash") else
  T.ok(label(second[1]) ~= label(second[2]), "txrehash(true): it has another, and may take another path")
end
T.is(show(number(first[1], 55, 2) <= 5000, number(second[1], 55, 2) > 5000), "true, true",
  "tcpwindowclamp: no window is larger, in the SYN neither")
same:close(); other:close()

-- Where unicast leaves by -------------------------------------------------------------------------------------------

for _, case in ipairs {
  { "IPv4", "203.0.113.9", "192.0.2.1", "198.51.100.1", 17 }, { "IPv6", "2001:db8:3::9", "2001:db8:1::1", "2001:db8:2::1", 41 },
} do
  local title, host, usual, others = unpack(case)
  local function source(ifname)
    local sock = socket(numeric(host, 9))
    if ifname then assert(sock:unicastif(ifname) == ifname) end
    assert(not sock:connect())
    local addr = sock:getsockname():addr()
    sock:close()
    return addr
  end
  T.is(show(source(), source "vc", source ""), show(usual, others, usual), title .. ": unicastif chooses another route")
  local sock = socket(numeric(host, 9))
  sock:unicastif "vc"
  sock:sendto("by vc", numeric(host, 9))
  T.is(#caught(vd, function(packet) return packet:find("by vc", 1, true) end), 1, title .. ": and what is sent leaves there")
  T.is(show(sock:unicastif "nowhere0"), failed(L.ENODEV), title .. ": an interface that there is not is ENODEV")
  T.is(show(sock:unicastif(("x"):rep(16))) .. "; " .. show(sock:unicastif "v\0c"), failed(L.ENODEV) .. "; " .. failed(L.ENODEV),
    title .. ": so is a name of 16 bytes, and one with a NUL")
  T.is(sock:unicastif(), "vc", title .. ": and the interface is as it was")
  sock:close()
end
netns.ip "link add name gone type veth peer name away"
local six = socket(numeric("2001:db8:1::9", 9))
six:unicastif "gone"
netns.ip "link del gone"
T.is(show(six:unicastif()), failed(L.ENXIO), "an interface that is gone is ENXIO")
local half4 = six:unicastif "vc" and six:getsockopt(L.IPPROTO_IP, L.IP_UNICAST_IF, "int")
T.is(show(six:unicastif(), half4 ~= 0), show("vc", true), "an IPv6 socket has both halves")
six:close()

-- Too long for the path ----------------------------------------------------------------------------------------------

netns.batch { "link set va mtu 1400", "link set vb mtu 1400" }
local four = socket(numeric("203.0.113.9", 9))
T.is(show(four:mtu()), failed(L.ENOTCONN), "mtu wants a connection")
four:connect()
T.is(show(four:mtu(), four:mtu(5)), "1400, 1400", "and then tells the path's MTU, whatever is passed")
four:close()
six = socket(numeric("2001:db8:1::9", 9))
six:connect()
T.is(six:mtu(), 1400, "over IPv6, too")
local function fragment(packet) return packet:byte(7) == 44 end -- the next header
caught(vb, fragment)
six:send(("x"):rep(3000))
T.is(#caught(vb, fragment), 3, "a long datagram leaves in parts")
T.is(show(six:dontfrag(true), six:send(("x"):rep(3000))), "true, " .. values.failed(L.EMSGSIZE), "dontfrag: it is EMSGSIZE")
T.is(#caught(vb, fragment), 0, "and nothing leaves")
six:recvpathmtu(true)
six:send(("x"):rep(3000))
local mh = assert(L.msghdr.new { size = 64, controlsize = 256 })
T.is(show(six:recvmsg(mh)), "0, nil, false", "recvpathmtu: a message without data comes")
local cmsg = mh:control()[1]
local bytes = cmsg:data()
T.is(show(cmsg:level(), cmsg:type(), ffi.cast("uint32_t *", bytes:sub(-4))[0]), show(L.IPPROTO_IPV6, L.IPV6_PATHMTU, 1400),
  "that tells the MTU")
T.is(show(six:dontfrag(false), six:send(("x"):rep(3000))), "false, 3000, nil, false", "dontfrag(false) ends it")
six:close()
four = socket(numeric("203.0.113.9", 9))
T.is(select(3, four:dontfrag(true)), L.ENOPROTOOPT, "an IPv4 socket has none on Linux")
four:close()

netns.ip "link set lo mtu 1500"
for _, case in ipairs { { "127.0.0.1", "127.0.0.1" }, { "::1", "::1" }, { "127.0.0.1", "::", "a dual-stack socket: " } } do
  local host, own, title = unpack(case)
  local to = socket(numeric(own, 0))
  to:bind()
  assert(to:recvfragsize(true) == true)
  local from, name = socket(numeric(host, 0)), numeric(host, to:getsockname():port())
  from:sendto(("x"):rep(5000), name)
  local big = assert(L.msghdr.new { size = 65536, controlsize = 256 })
  assert(to:recvable(5) and to:recvmsg(big) == 5000)
  local size = big:control()[1]:integer()
  from:sendto("short", name)
  assert(to:recvable(5) and to:recvmsg(big) == 5)
  T.is(show(size <= 1500 and size > 1400, #big:control()), "true, 0",
    (title or "") .. host .. ": recvfragsize tells the largest part of a datagram that came in parts, of no other")
  to:close(); from:close()
end

-- Which source address ----------------------------------------------------------------------------------------------

local function temporary()
  local line = netns.ip("-6 -o addr show dev va temporary"):match "[^\n]+" or "tentative"
  return not line:find "tentative" and line:match "2001:db8:4:[%x:]+"
end
if not pcall(net.await, temporary) then T.skip(2, "this kernel makes no temporary addresses") else
  local function source(preference)
    local sock = socket(numeric("2001:db8:4::9", 9))
    if preference then assert(sock:addrpreferences(preference) == preference) end
    assert(not sock:connect())
    local addr = sock:getsockname():addr()
    sock:close()
    return addr
  end
  local there = numeric(temporary(), 0):addr()
  T.is(show(source(L.IPV6_PREFER_SRC_PUBLIC), source(L.IPV6_PREFER_SRC_TMP)), show("2001:db8:4::1", there),
    "addrpreferences chooses between an address and a temporary one")
  local sock = socket(numeric("2001:db8:4::9", 9))
  T.is(show(sock:addrpreferences(L.IPV6_PREFER_SRC_TMP + L.IPV6_PREFER_SRC_PUBLIC)), failed(L.EINVAL), "both is EINVAL")
  sock:close()
end

-- Forwarded packets with the option Router Alert ---------------------------------------------------------------------

write("ipv4/ip_forward", "1")
write("ipv4/conf/all/rp_filter", "0"); write("ipv4/conf/va/rp_filter", "0")
write("ipv6/conf/all/forwarding", "1")
local wire = link("vb", L.SOCK_RAW)
local PROTOCOL = 253 -- for experiments

local function bytes_of(addr, family)
  local ai = numeric(addr, 0):bytes()
  return family == 4 and ai:sub(5, 8) or ai:sub(9, 24)
end
local function checksum(head)
  local sum = 0
  for i = 1, #head, 2 do sum = sum + number(head, i, 2) end
  sum = sum % 65536 + math.floor(sum / 65536)
  sum = 65535 - (sum % 65536 + math.floor(sum / 65536))
  return string.char(math.floor(sum / 256), sum % 256)
end
local function packet4(payload)
  local length = 24 + #payload
  local from_start = string.char(0x46, 0, math.floor(length / 256), length % 256) .. "\0\0\0\0" .. string.char(9, PROTOCOL)
  local rest = bytes_of("192.0.2.77", 4) .. bytes_of("198.51.100.9", 4) .. "\x94\4\0\0"
  return "\8\0", from_start .. checksum(from_start .. "\0\0" .. rest) .. rest .. payload
end
local function packet6(payload)
  local head = "\x60\0\0\0" .. string.char(0, 8 + #payload, 0, 9)
  local alert = string.char(PROTOCOL, 0, 5, 2, 0, 7, 1, 0)
  return "\x86\xdd", head .. bytes_of("2001:db8:1::77", 6) .. bytes_of("2001:db8:2::9", 6) .. alert .. payload
end
local function arrives(ethertype, packet)
  assert(wire:send("\2\0\x5e\0\x53\x0a\2\0\x5e\0\x53\x0b" .. ethertype .. packet))
end
local function forwarded(payload)
  return #caught(vd, function(packet) return packet:find(payload, 1, true) end)
end

for _, case in ipairs { { "IPv4", packet4, "0.0.0.0", PROTOCOL, true, 7 },
  { "IPv6", packet6, "::", L.IPPROTO_RAW, 7, true } } do
  local title, make, host, protocol, on, no_value = unpack(case)
  local raw = socket(numeric(host, nil, L.SOCK_RAW, protocol))
  local function taken(payload)
    arrives(make(payload))
    local passed = forwarded(payload)
    local got = raw:recv()
    return got and got:find(payload, 1, true) and "taken" or "not taken", passed
  end
  T.is(show(taken "first"), show("not taken", 1), title .. ": a packet with the option is forwarded")
  T.is(raw:routeralert(on), on, title .. ": routeralert is set")
  T.is(show(taken "second"), show("taken", 0), title .. ": then it is taken")
  T.is(show(raw:routeralert(no_value)), failed(L.EINVAL), title .. ": a value of the other family is EINVAL")
  T.is(show(raw:routeralert(false)), "false", title .. ": false is taken")
  T.is(show(taken "third"), show("not taken", 1), title .. ": it can be turned off")
  raw:close()
end
wire:close(); vb:close(); vd:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
