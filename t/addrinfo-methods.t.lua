-- addrinfo: what its methods and tostring return, for every family, and that it holds the values that it was made with.
local L = require "llsocket"
local ffi = require "ffi"
local leak = require "leak"
local net = require "net"
local sys = require "sys"
local show = require("show").show
local T = require("tap").plan(42)
local before = leak.count()

ffi.cdef 'int llsocket_t_socket(int domain, int type, int protocol) __asm__("socket");'

local function inet(host, port, ...) return L.inet.getaddrinfo(host, port, ...)[1] end
local function unix(path, ...) return L.unix.getaddrinfo(path, ...)[1] end
local function all(ai) return show(ai:family(), ai:socktype(), ai:protocol(), ai:addr(), ai:port(), ai:canonname()) end

local TCP, UDP = L.IPPROTO_TCP, L.IPPROTO_UDP
T.is(all(inet("192.0.2.1", "80")), show(L.AF_INET, L.SOCK_STREAM, TCP, "192.0.2.1", 80, nil),
  "an IPv4 address tells all of itself")
T.is(all(inet("2001:db8::1", "53", L.SOCK_DGRAM)), show(L.AF_INET6, L.SOCK_DGRAM, UDP, "2001:db8::1", 53, nil),
  "an IPv6 address tells all of itself")
T.is(all(unix("/run/x", L.SOCK_SEQPACKET)), show(L.AF_UNIX, L.SOCK_SEQPACKET, 0, "/run/x", nil, nil),
  "a unix address tells all of itself")

-- Text.
local TEXTS = {
  { inet("127.0.0.1", "80"), "127.0.0.1:80" }, { inet("255.255.255.255", "65535"), "255.255.255.255:65535" },
  { inet("0.0.0.0"), "0.0.0.0:0" }, { inet("::1", "80"), "[::1]:80" }, { inet("::", "256"), "[::]:256" },
  { inet("::ffff:1.2.3.4", "1"), "[::ffff:1.2.3.4]:1" }, { inet("fe80::1%2147483647", "80"), "[fe80::1%2147483647]:80" },
  { unix "/run/x", "unix:/run/x" }, { unix "", "unix:" }, { unix "\0name", "unix:@name" },
}
for _, row in ipairs(TEXTS) do T.is(tostring(row[1]), row[2], "tostring reads " .. row[2]) end

-- Port and address are read from the same bytes for both families, one after the other.
T.is(show(inet("1.2.3.4", "4660"):port(), inet("::1", "4660"):port()), "4660, 4660", "the port is in host order")
T.is(inet("1.2.3.4"):addr() .. " " .. inet("102:304::"):addr(), "1.2.3.4 102:304::",
  "each family's text is read at its own place")

-- Errors of use.
local ai = inet("127.0.0.1", "80")
T.is(ai.nosuchmethod, nil, "an unknown name is nil")
for _, method in ipairs { "family", "socktype", "protocol", "canonname", "addr", "port", "nameinfo" } do
  local _, message = pcall(function() L.addrinfo.methods[method]({}) end)
  T.is(message:gsub("^.-(addrinfo%-methods%.t%.lua):%d+: ", "%1: "),
    ("addrinfo-methods.t.lua: calling '%s' on bad self (llsocket.addrinfo expected, got table)"):format(method),
    method .. " refuses a foreign self at the caller's line")
end

-- Addresses of sockets.
local sock, name = net.bound(L.AF_INET, L.SOCK_DGRAM)
T.is(all(name), show(L.AF_INET, L.SOCK_DGRAM, UDP, "127.0.0.1", name:port(), nil), "a bound socket's address tells all of itself")
T.ok(name:port() > 0 and name:port() < 65536, "its port is the kernel's choice")
sock:close()
local a, b = net.pair()
T.is(all(a:getpeername()), show(L.AF_UNIX, L.SOCK_STREAM, 0, "", nil, nil), "an unnamed unix peer has an empty path")
T.is(tostring(a:getpeername()), "unix:", "an unnamed unix peer's text is as empty")
a:close(); b:close()

-- A family without addr() and port(): netlink, by a descriptor made elsewhere.
local fd = L.AF_NETLINK and ffi.C.llsocket_t_socket(L.AF_NETLINK, L.SOCK_RAW, 0) or -1
if fd >= 0 then
  sock = assert(L.socket.wrap(fd))
  name = assert(sock:getsockname())
  T.is(show(name:family(), name:socktype(), name:protocol()), show(L.AF_NETLINK, L.SOCK_RAW, 0), "another family tells itself")
  T.is(show(name:addr(), name:port(), name:canonname()), "nil, nil, nil", "it has neither address nor port as text")
  T.is(tostring(name), "netlink:0", "its text names family and number")
  T.is(show(name:nameinfo()), show(nil, require("llsocket.gai").text(L.EAI_FAMILY), L.EAI_FAMILY), "it has no name: EAI_FAMILY")
  T.is(sock:bind(name), nil, "it can be bound to as it is")
  sock:close()
  T.ok(not sys.is_open(fd), "and the socket closes its descriptor")
else
  T.skip(6, "no netlink socket may be made here")
end

-- What a list, a datagram and the kernel gave stays what it was, whatever is collected and allocated after.
local kept, want = {}, {}
local receiver, at = net.bound(L.AF_INET, L.SOCK_DGRAM)
local sender = assert(L.socket.new(net.addr(L.AF_INET, L.SOCK_DGRAM)))
sender:bind()
local from = tostring(sender:getsockname())
for i = 1, 200 do
  kept[#kept + 1], want[#want + 1] = inet("10.0.0." .. i, tostring(i)), ("10.0.0.%d:%d"):format(i, i)
  kept[#kept + 1], want[#want + 1] = inet("2001:db8::" .. i, tostring(i)), ("[2001:db8::%d]:%d"):format(i, i)
  kept[#kept + 1], want[#want + 1] = unix("/run/" .. i), "unix:/run/" .. i
  sender:sendto("x", at)
  kept[#kept + 1], want[#want + 1] = select(2, receiver:recvfrom()), from
  kept[#kept + 1], want[#want + 1] = receiver:getsockname(), tostring(at)
end
local function wrong()
  local n = 0
  for i, text in ipairs(want) do if tostring(kept[i]) ~= text then n = n + 1 end end
  return n
end
T.is(#kept, 1000, "a thousand addresses are kept")
T.is(wrong(), 0, "all of them are right")
for _ = 1, 3 do
  collectgarbage()
  for i = 1, 2000 do inet("203.0.113.9", tostring(i)); unix(("z"):rep(100)) end
end
T.is(wrong(), 0, "all of them are right after full collections and thousands of others")
sender:close(); receiver:close()

-- An object that reads like another is another.
local one, two = inet("127.0.0.1", "80"), inet("127.0.0.1", "81")
two.name.in4.sin_port = one.name.in4.sin_port
T.is(tostring(one) .. " " .. tostring(two), "127.0.0.1:80 127.0.0.1:80", "two addresses share no bytes")
one.name.in4.sin_port = 0
T.is(two:port(), 80, "a change of one is no change of the other")

-- A scope by the name of an interface, for as long as there is one.
local lo = require("llsocket.device").of(L.AF_INET, "127.0.0.1")
if lo then
  local scoped = inet("fe80::1%" .. lo, "80")
  T.is(scoped:addr(), "fe80::1%" .. lo, "the address has its scope")
  T.is(tostring(scoped), ("[fe80::1%%%s]:80"):format(lo), "the text has its scope")
  local lost = {}
  for _, text in ipairs { "::1%1", "2001:db8::1%1", "fe80::1%1", "febf::1%1", "fec0::1%1", "ff01::1%1", "ff02::1%1", "ff12::1%1",
    "ff05::1%1" } do
    local once = inet(text, "80")
    local again = L.inet.getaddrinfo(once:addr(), "80")
    if not again or again[1] ~= once then lost[#lost + 1] = text .. " became " .. once:addr() end
  end
  T.is(table.concat(lost, "; "), "", "the resolver takes the address of every scope back")
else
  T.skip(3, "no interface has 127.0.0.1")
end

T.is(leak.count(), before, "no descriptor is left")
T.done()
