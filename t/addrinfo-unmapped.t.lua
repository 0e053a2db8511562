-- addrinfo: unmapped(), the IPv4 address that a dual-stack socket's IPv6 address stands for.
local L = require "llsocket"
local leak = require "leak"
local proc = require "proc"
local net = require "net"
local show = require("show").show
local T = require("tap").plan(20)
local before = leak.count()

local A = L.addrinfo
local function all(ai) return show(ai:family(), ai:socktype(), ai:protocol(), ai:addr(), ai:port()) end

local mapped = assert(A.inet6("::ffff:192.0.2.255", 65535))
T.is(all(mapped:unmapped()), show(L.AF_INET, L.SOCK_STREAM, L.IPPROTO_TCP, "192.0.2.255", 65535),
  "a mapped address has its IPv4 address and port")
T.ok(mapped:unmapped() == A.inet("192.0.2.255", 65535), "which equals the one that is made of its parts")
T.is(#mapped:unmapped():bytes(), #A.inet("192.0.2.255", 65535):bytes(), "and has as many bytes")
T.is(all(A.inet6("::ffff:192.0.2.1", 53, L.SOCK_DGRAM, 17):unmapped()), show(L.AF_INET, L.SOCK_DGRAM, 17, "192.0.2.1", 53),
  "type and protocol are kept")
T.is(all(A.inet6("::ffff:192.0.2.1", 53, L.SOCK_RAW, 58):unmapped()), show(L.AF_INET, L.SOCK_RAW, 58, "192.0.2.1", 53),
  "whatever they are")
T.is(tostring(A.inet6("::ffff:0.0.0.0", 0):unmapped()), "0.0.0.0:0", "zeroes are an address, too")
T.is(tostring(A.inet6("::ffff:192.0.2.1%2147483647", 80):unmapped()), "192.0.2.1:80", "a scope is left out")
T.is(all(mapped), show(L.AF_INET6, L.SOCK_STREAM, L.IPPROTO_TCP, "::ffff:192.0.2.255", 65535), "the mapped one stays as it is")
T.ok(mapped:unmapped():unmapped() == mapped:unmapped(), "twice is the same as once")

T.is(proc.lua [[io.write(tostring(require "llsocket.inet".getaddrinfo("::ffff:192.0.2.1", 80)[1]:unmapped()))]], "192.0.2.1:80",
  "it works where nothing else of the module was used")

local out = {}
for _, text in ipairs { "::", "::1", "::192.0.2.1", "::fffe:192.0.2.1", "::1:ffff:192.0.2.1", "64:ff9b::192.0.2.1", "2001:db8::1",
  "1::ffff:192.0.2.1", "::ff:ffff:ffff", "fe80::ffff:192.0.2.1", "::feff:192.0.2.1" } do
  local ai = assert(A.inet6(text, 80))
  if not rawequal(ai:unmapped(), ai) then out[#out + 1] = text end
end
T.is(table.concat(out, " "), "", "any other IPv6 address is itself")
local v4, path = A.inet("192.0.2.1", 80), A.unix "/run/x"
T.ok(rawequal(v4:unmapped(), v4) and rawequal(path:unmapped(), path), "so is an address of another family")
local cut = assert(A.new(mapped:bytes():sub(1, 24))) -- RFC 2133: without the scope
T.ok(rawequal(cut:unmapped(), cut) or cut:unmapped() == mapped:unmapped(), "one that is cut is no error")
T.is(select(2, pcall(mapped.unmapped, {})):gsub("^.*: c", "c"),
  "calling 'unmapped' on bad self (llsocket.addrinfo expected, got table)", "a foreign self is refused")

local good = 0
for i = 1, 300 do
  local ai = i % 2 == 0 and mapped or v4
  if ai:unmapped():family() == L.AF_INET then good = good + 1 end
end
T.is(good, 300, "so it is in a loop that is compiled")

-- A dual-stack socket.
local listener, refused = L.socket.new(A.inet6("::", 0))
local dual = listener and listener:v6only(false) == false and not listener:bind() and not listener:listen()
if not dual then T.skip(4, "no dual-stack socket: " .. (refused or "v6only stays")) else
  local client = assert(L.socket.new(A.inet("127.0.0.1", listener:getsockname():port())))
  local err = client:connect()
  assert(not err, err)
  local sock = assert(listener:accept())
  local from = sock:getpeername()
  T.is(from:family(), L.AF_INET6, "a dual-stack socket names a peer over IPv4 by a mapped address")
  T.ok(from:unmapped() == client:getsockname(), "unmapped is what the peer calls itself")
  T.ok(sock:getsockname():unmapped() == client:getpeername(), "and the own address what the peer connected to")
  local udp = net.bound(L.AF_INET, L.SOCK_DGRAM)
  local _, _, e = udp:connect(from)
  T.ok(e == L.EAFNOSUPPORT and not udp:connect(from:unmapped()), "an IPv4 socket takes it, and refuses the mapped one")
  udp:close(); sock:close(); client:close()
end
if listener then listener:close() end
T.is(leak.count(), before, "no descriptor is left")
T.done()
