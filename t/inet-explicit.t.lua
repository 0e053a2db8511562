-- inet.getaddrinfo: numeric hosts with an explicit type and protocol, which the resolver may refuse; ports that are numbers;
-- zones.
local L = require "llsocket"
local leak = require "leak"
local proc = require "proc"
local show = require("show").show
local text, gai = require("llsocket.errno").text, require "llsocket.gai"
local inet = L.inet
local before = leak.count()
local INVALID = show(nil, text(L.EINVAL), L.EAI_SYSTEM, L.EINVAL)
local NONAME = show(nil, gai.text(L.EAI_NONAME), L.EAI_NONAME)
local MPTCP = L.IPPROTO_MPTCP or 262

local function told(arr, ...)
  if not arr then return show(arr, ...) end
  local out = {}
  for i, ai in ipairs(arr) do out[i] = ("%s %d %d"):format(tostring(ai), ai:socktype(), ai:protocol()) end
  return table.concat(out, "; ")
end

-- function, host, port, type, protocol, flag: the only address.
local ROWS = {
  { "getaddrinfo", "127.0.0.1", "0", L.SOCK_DGRAM, L.IPPROTO_ICMP, nil, "127.0.0.1:0" },
  { "getaddrinfo", "::1", nil, L.SOCK_DGRAM, L.IPPROTO_ICMPV6, nil, "[::1]:0" },
  { "getaddrinfo", "127.0.0.1", "80", L.SOCK_STREAM, MPTCP, nil, "127.0.0.1:80" },
  { "getaddrinfo", "127.0.0.1", 80, L.SOCK_STREAM, MPTCP, nil, "127.0.0.1:80" },
  { "getaddrinfo", "127.0.0.1", "0", L.SOCK_RAW, L.IPPROTO_ICMP, nil, "127.0.0.1:0" },
  { "getaddrinfo", "127.0.0.1", "0", L.SOCK_RAW, L.IPPROTO_TCP, nil, "127.0.0.1:0" },
  { "getaddrinfo", "::1", "0", L.SOCK_RAW, 255, nil, "[::1]:0" },
  { "getaddrinfo", "127.0.0.1", "0", L.SOCK_RAW, nil, nil, "127.0.0.1:0" },
  { "getaddrinfo", "127.0.0.1", "0", L.SOCK_RAW, 0, nil, "127.0.0.1:0" },
  { "getaddrinfo", "127.0.0.1", "9", L.SOCK_SEQPACKET, 132, nil, "127.0.0.1:9" },
  { "getaddrinfo4", "127.0.0.1", "0", L.SOCK_DGRAM, L.IPPROTO_ICMP, nil, "127.0.0.1:0" },
  { "getaddrinfo6", "::1", "0", L.SOCK_DGRAM, L.IPPROTO_ICMPV6, nil, "[::1]:0" },
  { "getaddrinfo", "127.1", "0", L.SOCK_DGRAM, L.IPPROTO_ICMP, nil, "127.0.0.1:0" },
  { "getaddrinfo", "127.0.0.1", "007", L.SOCK_STREAM, MPTCP, nil, "127.0.0.1:7" },
  { "getaddrinfo", "127.0.0.1", "80", L.SOCK_STREAM, MPTCP, L.AI_CANONNAME, "127.0.0.1:80" },
  { "getaddrinfo", "127.0.0.1", "80", L.SOCK_STREAM, MPTCP, L.AI_NUMERICHOST, "127.0.0.1:80" },
  { "getaddrinfo6", "127.0.0.1", "80", L.SOCK_STREAM, MPTCP, L.AI_V4MAPPED, "[::ffff:127.0.0.1]:80" },
  { "getaddrinfo4", nil, "80", L.SOCK_STREAM, MPTCP, L.AI_PASSIVE, "0.0.0.0:80" },
  { "getaddrinfo6", nil, "80", L.SOCK_STREAM, MPTCP, nil, "[::1]:80" },
}
local PORTS = { 0, 1, 80, 65535 }
local NO_PORTS = { -1, 65536, 65537, 1.5, 2 ^ 31, 2 ^ 32 + 80, 2 ^ 53, 0 / 0, 1 / 0, -1 / 0 }

local T = require("tap").plan(#ROWS + #PORTS * 3 + #NO_PORTS + 19)

for _, row in ipairs(ROWS) do
  local name, host, port, socktype, protocol, flag, want = unpack(row, 1, 7)
  T.is(told(inet[name](host, port, socktype, protocol, flag)), ("%s %d %d"):format(want, socktype, protocol or 0),
    ("%s(%s) is answered"):format(name, show(host, port, socktype, protocol, flag)))
end
T.is(inet.getaddrinfo("127.0.0.1", "80", L.SOCK_STREAM, MPTCP, L.AI_CANONNAME)[1]:canonname(), "127.0.0.1",
  "with its canonical name where that is asked for")
T.is(inet.getaddrinfo4("::1", "0", L.SOCK_DGRAM, L.IPPROTO_ICMP), nil, "an address of the other family is refused as ever")
T.is(told(inet.getaddrinfo("256.0.0.1", "0", L.SOCK_DGRAM, L.IPPROTO_ICMP, L.AI_NUMERICHOST)):match "^nil, ", "nil, ",
  "so is one that is none")
T.is(told(inet.getaddrinfo("127.0.0.1", "65536", L.SOCK_DGRAM, L.IPPROTO_ICMP)), INVALID, "and a port that is none")
local sock = L.socket.new(inet.getaddrinfo("127.0.0.1", "0", L.SOCK_STREAM, MPTCP)[1])
T.ok(not sock or sock:protocol() == MPTCP and not sock:bind(), "a socket of such an address is of its protocol")
if sock then sock:close() end

-- Ports as numbers.
for _, port in ipairs(PORTS) do
  local want = ("127.0.0.1:%d %d %d"):format(port, L.SOCK_STREAM, L.IPPROTO_TCP)
  T.is(told(inet.getaddrinfo("127.0.0.1", port)), want, ("the port %d may be a number"):format(port))
  T.is(told(inet.getaddrinfo("127.1", port)), want, "also where the resolver is asked")
  T.is(inet.getaddrinfo("127.0.0.1", port)[1]:port(), port, "and is what port tells")
end
for _, port in ipairs(NO_PORTS) do
  T.is(told(inet.getaddrinfo("127.0.0.1", port)), INVALID, ("the number %s is no port"):format(tostring(port)))
end
T.is(told(inet.getaddrinfo4("::", -1)) .. told(inet.getaddrinfo6(nil, 0.5)), INVALID .. INVALID, "for no family")
T.is(told(inet.getaddrinfo("127.0.0.1", -0)), told(inet.getaddrinfo("127.0.0.1", "0")), "-0 is 0")

-- Zones: the loopback's number is 1 in every namespace of the network.
local function scope(arr, ...)
  if not arr then return show(arr, ...) end
  return tonumber(arr[1].name.in6.sin6_scope_id)
end
local function zone(...) return scope(inet.getaddrinfo(...)) end
if L.device.name(1) == "lo" then
  T.is(show(zone "fe80::1%lo", zone "ff05::1%lo", zone "2001:db8::1%lo", zone "::1%lo"), "1, 1, 1, 1",
    "a zone may be a name in every scope")
  T.is(show(zone "fe80::1%1", zone "ff01::1%1", zone "::1%001"), "1, 1, 1", "or a number")
  T.is(show(zone("fe80::1%lo", "80", L.SOCK_DGRAM, L.IPPROTO_ICMPV6), zone("fe80::1%lo", "0", 0), zone("fe80::1%lo", 1, 1)),
    "1, 1, 1", "with every type")
  T.is(inet.getaddrinfo("fe80::1%1", "80", nil, nil, L.AI_CANONNAME)[1]:canonname(), "fe80::1%1", "the canonical name has it")
  local starved = proc.lua [[
local L, sys, show = require "llsocket", require "sys", require("show").show
local function ask()
  print(show(L.inet.getaddrinfo "fe80::1%lo"))
  print(show(L.device.index "lo"))
  print(show(L.device.name(1)))
  print(show(select(2, L.cmsghdr.pktinfo("::", "lo"))))
  print(L.inet.getaddrinfo("fe80::1%1")[1]:addr(), L.inet.getaddrinfo("ff01::1%1")[1]:addr())
end
ask()
sys.limit_descriptors(0)
ask()
]]
  local want = show(text(L.EMFILE), L.EMFILE)
  T.is(starved:match "\n([^\n]*fe80::1%%1[^\n]*)\n$", "fe80::1%1\tff01::1%1",
    "without a free descriptor a numeric zone is read, and returned as a number")
  T.is(starved:match "fe80::1%%lo\tff01::1%%1\n(.*)\nfe80", show(nil, text(L.EMFILE), L.EAI_SYSTEM, L.EMFILE) .. "\n"
    .. ("nil, %s\n"):format(want):rep(2) .. want, "one that is a name is EMFILE; so are index, name and pktinfo")
else
  T.skip(6, "the loopback interface has another name or number")
end
T.is(zone "fe80::1%4294967295", 4294967295, "a number need not be an interface's")
T.is(zone "fe80::1%4294967296", NONAME, "one above 32 bits is none")
T.is(zone "fe80::1%nosuchdevice", NONAME, "nor is a name that no interface has")
T.is(zone("fe80::1%lo\0", "80"), INVALID, "a NUL is EINVAL there, too")
T.is(zone("127.0.0.1%lo", "80", nil, nil, L.AI_NUMERICHOST), NONAME, "an IPv4 address has no zone")

T.is(leak.count(), before, "no descriptor is left")
T.done()
