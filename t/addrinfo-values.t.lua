-- addrinfo: addresses are values: they can be compared, used as keys of a table, and made from bytes.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local values = require "values"
local trace = require "trace"
local show, text = values.show, require("llsocket.errno").text
local before = leak.count()
local T = require("tap").plan(68)
local new = L.addrinfo.new

local function host(address, port, socktype)
  return assert(L.inet.getaddrinfo(address, port or "80", socktype or L.SOCK_STREAM))[1]
end
local function unix(path, socktype) return assert(L.unix.getaddrinfo(path, socktype))[1] end

local function same(a, b, name)
  T.is(show(a == b, b == a, a ~= b, a:bytes() == b:bytes()), "true, true, false, true", name)
end
local function other(a, b, name) T.is(show(a == b, b == a, a ~= b), "false, false, true", name) end

-- Equal, however they were made.
same(host "127.0.0.1", host "127.0.0.1", "two lookups of one IPv4 address are equal")
same(host "::1", host "0:0::0:1", "two spellings of one IPv6 address are equal")
same(unix "/run/x", unix "/run/x", "two unix addresses of one path are equal")
same(unix "\0x\0y", unix "\0x\0y", "two abstract names are equal")
same(unix "", unix "", "two autobind addresses are equal")
local ai = host "127.0.0.1"
same(ai, ai, "an address is equal to itself")
for _, place in ipairs(net.places) do
  if not net.has(place) then T.skip(4, "no IPv6 here") else
    local stream_a, stream_b = net.connected(place, L.SOCK_STREAM)
    same(stream_a:getpeername(), stream_b:getsockname(), place.name .. ": the peer's name is the name it has itself")
    stream_a:close(); stream_b:close()
    local a, a_name = net.bound_at(place, L.SOCK_DGRAM)
    local b, b_name = net.bound_at(place, L.SOCK_DGRAM)
    a:sendto("x", b_name)
    same(select(2, b:recvfrom(1, L.MSG_PEEK)), a_name, place.name .. ": recvfrom's sender is the name it has itself")
    local mh = assert(L.msghdr.new())
    b:recvmsg(mh)
    same(mh:name(), a_name, place.name .. ": recvmsg's sender as well")
    other(a_name, b_name, place.name .. ": two sockets have two addresses")
    a:close(); b:close()
  end
end
net.cleanup()

-- Not equal.
other(host "127.0.0.1", host "127.0.0.2", "another host is another address")
other(host "127.0.0.1", host("127.0.0.1", "81"), "another port is another address")
other(host "127.0.0.1", host "::1", "another family is another address")
other(host "127.0.0.1", host "::ffff:127.0.0.1", "so is IPv4 inside IPv6")
other(host "127.0.0.1", host("127.0.0.1", "80", L.SOCK_DGRAM), "another type is another address")
other(unix "/run/x", unix "\0/run/x", "an abstract name is no path")
other(unix "\0x", unix "\0x\0", "an abstract name with a NUL more is another")
other(unix "", unix "/", "an autobind address is no path")
local bytes6 = host("fe80::1"):bytes()
local at = ffi.offsetof(require("llsocket.core.layout").sockaddr_in6, "sin6_scope_id")
local scope_two = bytes6:sub(1, at) .. ffi.string(ffi.new("uint32_t[1]", 2), 4)
other(new(bytes6), new(scope_two), "another scope is another address")
T.is(new(host("127.0.0.1"):bytes(), L.SOCK_STREAM, L.IPPROTO_TCP) == new(host("127.0.0.1"):bytes()), true,
  "the protocol does not count")

-- Other types are not equal, and no error.
local sock = net.bound()
for _, value in ipairs { "127.0.0.1:80", 80, true, {}, print, 1LL, ffi.new "int[1]", sock } do
  T.is(show(ai == value, value ~= ai), "false, true", "an address is no " .. tostring(value):gsub("[:<].*", ""))
end
T.is(ai == nil, false, "an address is not nil") -- luacheck: ignore
sock:close()

-- As keys.
local seen = {}
for i = 1, 100 do seen[host("127.0.0." .. i):bytes()] = i end
collectgarbage(); collectgarbage()
local wrong = 0
for i = 1, 100 do if seen[host("127.0.0." .. i):bytes()] ~= i then wrong = wrong + 1 end end
T.is(wrong, 0, "equal bytes find the value that was stored under them")
T.is(seen[host("127.0.0.101"):bytes()], nil, "and those of another do not")
T.is(seen[host "127.0.0.1"], nil, "the object itself is no such key")

-- There and back.
for _, one in ipairs { host "127.0.0.1", host "::1", unix "/run/x", unix "\0x", unix "", unix(("x"):rep(108)), unix "\0" } do
  local copy = assert(new(one:bytes(), L.SOCK_DGRAM, 7))
  T.is(show(tostring(copy), copy:family(), copy:socktype(), copy:protocol(), copy:canonname(), copy:addr(), copy:port()),
    show(tostring(one), one:family(), L.SOCK_DGRAM, 7, nil, one:addr(), one:port()), tostring(one) .. " there and back")
end
same(new(unix("/run/x"):bytes() .. "\0"), unix "/run/x", "the NUL that Linux puts after a path does not count")
T.is(show(ai:socktype(), new(ai:bytes()):socktype(), new(ai:bytes()):protocol()), show(L.SOCK_STREAM, L.SOCK_STREAM, 0),
  "without a type, it is a stream's")

-- What is no address.
local function failed(e) return show(nil, text(e), e) end
T.is(show(new ""), failed(L.EINVAL), "no bytes are EINVAL")
T.is(show(new "x"), failed(L.EINVAL), "nor is one an address")
T.is(show(new(("x"):rep(129))), failed(L.EINVAL), "nor are 129")
T.is(#new(("x"):rep(128)):bytes(), 128, "128 are")
T.is(show(new(ai:bytes(), 2^31)), failed(L.EINVAL), "a type above 32 bits is EINVAL")
T.is(show(new(ai:bytes(), 1, 0.5)), failed(L.EINVAL), "a protocol that is no integer is EINVAL")
T.is(show(new(ai:bytes():sub(1, 4)):addr()), '"0.0.0.0"', "bytes that are missing are 0")

-- Any bytes at all: no error, no byte lost.
local lost = {}
for family = 0, 60 do
  local head = ffi.string(ffi.new("uint16_t[1]", family), 2)
  for _, length in ipairs { 2, 3, 4, 8, 15, 16, 27, 28, 110, 128 } do
    local bytes = (head .. ("\255"):rep(length)):sub(1, length)
    local any = assert(new(bytes))
    local ok = pcall(function() return tostring(any), any:addr(), any:port(), any:nameinfo(L.NI_NUMERICHOST) end)
    if not ok or any:bytes() ~= bytes or any:family() ~= family then lost[#lost + 1] = family .. "/" .. length end
  end
end
T.is(table.concat(lost, " "), "", "addresses of every family and length can be asked anything")

local one, two, equal = host "127.0.0.1", host "127.0.0.1", 0
local function compare() for _ = 1, 500 do if one == two then equal = equal + 1 end end end
trace.is(T, compare, "a loop that compares addresses compiles")
equal = 0
compare()
T.is(equal, 500, "and compares right")
T.is(leak.count(), before, "no descriptor is left")
T.done()
