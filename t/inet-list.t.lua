-- inet.getaddrinfo: which addresses a list holds, by family, type, protocol and flags.
local L = require "llsocket"
local leak = require "leak"
local list = require("show").list
local sys = require "sys"
local T = require("tap").plan(36)
local before = leak.count()
local inet = L.inet

-- The answer to a numeric host, as a list in one text.
local function is(want, name, ...) T.is(list(inet.getaddrinfo(...)), want, name) end
local function is4(want, name, ...) T.is(list(inet.getaddrinfo4(...)), want, name) end
local function is6(want, name, ...) T.is(list(inet.getaddrinfo6(...)), want, name) end

local RAW = sys.musl and "" or "127.0.0.1:80 raw 0; " -- musl's resolver knows no raw sockets
local ALL = "127.0.0.1:80 dgram 17; " .. RAW .. "127.0.0.1:80 stream 6"
local STREAM, DGRAM = "127.0.0.1:80 stream 6", "127.0.0.1:80 dgram 17"

is(STREAM, "without socktype and protocol the list holds stream addresses only", "127.0.0.1", "80")
is4(STREAM, "so for getaddrinfo4", "127.0.0.1", "80")
is6("[::1]:80 stream 6", "so for getaddrinfo6", "::1", "80")
is(STREAM, "with a flag alone too", "127.0.0.1", "80", nil, nil, L.AI_NUMERICHOST)
is(ALL, "an explicit socktype of 0 asks for all", "127.0.0.1", "80", 0)
is(ALL, "an explicit protocol of 0 asks for all", "127.0.0.1", "80", nil, 0)
is(ALL, "both 0 ask for all", "127.0.0.1", "80", 0, 0)
is(DGRAM, "a socktype alone chooses", "127.0.0.1", "80", L.SOCK_DGRAM)
is(DGRAM, "a protocol alone chooses", "127.0.0.1", "80", nil, L.IPPROTO_UDP)
is(STREAM, "socktype and protocol together choose", "127.0.0.1", "80", L.SOCK_STREAM, L.IPPROTO_TCP)
is("127.0.0.1:0 raw 1", "a raw address carries its protocol", "127.0.0.1", nil, L.SOCK_RAW, L.IPPROTO_ICMP)

is("127.0.0.1:0 stream 6", "the port may be left out", "127.0.0.1")
is("127.0.0.1:80 stream 6; [::1]:80 stream 6", "no host is the loopback, of both families", nil, "80")
is4(STREAM, "no host is the IPv4 loopback for getaddrinfo4", nil, "80")
is6("[::1]:80 stream 6", "no host is the IPv6 loopback for getaddrinfo6", nil, "80")
is("0.0.0.0:80 stream 6; [::]:80 stream 6", "AI_PASSIVE without a host is the wildcard, of both families",
  nil, "80", nil, nil, L.AI_PASSIVE)
is4("0.0.0.0:80 stream 6", "AI_PASSIVE is the IPv4 wildcard for getaddrinfo4", nil, "80", nil, nil, L.AI_PASSIVE)
is6("[::]:80 stream 6", "AI_PASSIVE is the IPv6 wildcard for getaddrinfo6", nil, "80", nil, nil, L.AI_PASSIVE)
is(STREAM, "AI_PASSIVE leaves a host as it is", "127.0.0.1", "80", nil, nil, L.AI_PASSIVE)
is6("[::]:80 stream 6", "several flags are combined", nil, "80", nil, nil, L.AI_PASSIVE, L.AI_NUMERICHOST, L.AI_NUMERICSERV)
is(STREAM, "a nil among the flags counts as none, where another follows", "127.0.0.1", "80", nil, nil, nil, L.AI_NUMERICSERV)
is6("[::ffff:127.0.0.1]:80 stream 6", "AI_V4MAPPED maps an IPv4 address for getaddrinfo6",
  "127.0.0.1", "80", nil, nil, L.AI_V4MAPPED)

-- The objects themselves.
local arr = inet.getaddrinfo("127.0.0.1", "80")
T.is(#arr, 1, "a numeric host is a list of one")
T.is(arr[1]:family(), L.AF_INET, "an IPv4 address has its family under getaddrinfo")
T.is(arr[1]:socktype(), L.SOCK_STREAM, "a default address has its type")
T.is(arr[1]:protocol(), L.IPPROTO_TCP, "a default address has its protocol")
T.is(arr[1]:canonname(), nil, "no canonical name comes unasked")
T.is(inet.getaddrinfo("::1", "80")[1]:family(), L.AF_INET6, "an IPv6 address has its family under getaddrinfo")
T.is(select("#", inet.getaddrinfo("127.0.0.1", "80")), 1, "a list comes alone")
T.is(getmetatable(arr), nil, "a list is a plain table")

arr = inet.getaddrinfo("127.0.0.1", "80", 0, nil, L.AI_CANONNAME)
T.is(arr[1]:canonname(), "127.0.0.1", "AI_CANONNAME names the first of the list")
T.is(arr[2]:canonname(), nil, "AI_CANONNAME names no other")
for _ = 1, 2 do collectgarbage() end
T.is(arr[1]:canonname(), "127.0.0.1", "the canonical name outlasts a collection")

-- The addresses are usable as they are.
local sock = L.socket.new(inet.getaddrinfo("127.0.0.1", "0", L.SOCK_DGRAM)[1])
T.is(sock:bind(), nil, "an address of the list binds")
T.ok(sock:getsockname():port() > 0, "port 0 gets a port")
sock:close()

T.is(leak.count(), before, "no descriptor is left")
T.done()
