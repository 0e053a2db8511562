-- connect-default: bind and connect with and without an address; what dup, pair, accept and wrap give; datagrams.
local L = require "llsocket"
local net = require "net"
local leak = require "leak"
local T = require("tap").plan(43)
local before = leak.count()
local socket = L.socket

local function gathered(...) return { n = select("#", ...), ... } end

local function bind_refused(want, name, ...)
  local got = gathered(...)
  T.ok(got.n == 2 and type(got[1]) == "string" and got[2] == want, name)
end

local function connect_refused(want, name, ...)
  local got = gathered(...)
  T.ok(got.n == 3 and type(got[1]) == "string" and got[2] == false and got[3] == want, name)
end

local function collect() collectgarbage(); collectgarbage() end

-- the constructor's address
local listener, ai = net.listener()
local s = assert(socket.new(ai))
T.is(select("#", s:connect()), 0, "connect() uses the constructor's address")
T.is(tostring(s:getpeername()), tostring(ai), "and reaches it")
s:close()
local other, elsewhere = net.listener()
s = assert(socket.new(ai))
T.is(select("#", s:connect(elsewhere)), 0, "connect(ai) uses the address given")
T.is(tostring(s:getpeername()), tostring(elsewhere), "and reaches it")
s:close()
s = assert(socket.new(net.addr()))
T.is(select("#", s:bind()), 0, "bind() uses the constructor's address and answers no values")
T.is(s:getsockname():addr(), "127.0.0.1", "the address is bound")
local port = s:getsockname():port()
T.ok(port > 0 and port < 65536, "port 0 became a port")
bind_refused(L.EINVAL, "a second bind: EINVAL", s:bind())
local rival = assert(socket.new(net.addr(L.AF_INET, L.SOCK_STREAM, port)))
bind_refused(L.EADDRINUSE, "a bind to an address in use: EADDRINUSE", rival:bind())
T.is(select("#", rival:bind(net.addr())), 0, "bind(ai) uses the address given")
T.ok(rival:getsockname():port() ~= port, "and not the constructor's")
rival:close()
s:close()
s = assert(socket.new(ai))
bind_refused(L.EADDRNOTAVAIL, "an address of no interface here: EADDRNOTAVAIL",
  s:bind(L.inet.getaddrinfo("192.0.2.1", "0")[1]))
s:close()
bind_refused(L.EBADF, "bind(ai) of a closed socket: EBADF", s:bind(ai))

-- the address stays although the caller drops it
do
  local kept = assert(socket.new(net.addr(L.AF_INET, L.SOCK_STREAM, ai:port())))
  for _ = 1, 50 do net.addr(L.AF_INET, L.SOCK_DGRAM, 9) end
  collect()
  T.is(select("#", kept:connect()), 0, "the constructor's address outlives the collector")
  T.is(tostring(kept:getpeername()), tostring(ai), "unchanged")
  kept:close()
end

-- dup
s = assert(socket.new(ai))
local copy = assert(s:dup())
s:close()
collect()
T.is(select("#", copy:connect()), 0, "a copy connects to the original's address")
T.is(tostring(copy:getpeername()), tostring(ai), "and reaches it")
copy:close()
s = assert(socket.new(ai))
copy = assert(s:dup(net.addr(L.AF_INET, L.SOCK_STREAM, elsewhere:port())))
for _ = 1, 50 do net.addr() end
collect()
T.is(select("#", copy:connect()), 0, "dup(ai) connects to the address given")
T.is(tostring(copy:getpeername()), tostring(elsewhere), "and reaches it")
copy:close()
local name = L.unix.getaddrinfo("\0nobody", L.SOCK_SEQPACKET)[1]
copy = assert(s:dup(name))
T.ok(copy:family() == L.AF_UNIX and copy:socktype() == L.SOCK_SEQPACKET and copy:protocol() == 0,
  "dup(ai) takes family, type and protocol of the address")
T.is(copy:getsockopt(L.SOL_SOCKET, L.SO_TYPE, "int"), L.SOCK_STREAM, "whatever the kernel has")
copy:close()
T.is(s:family(), L.AF_INET, "the original keeps its own")
s:close()

-- no address: pair, accept, wrap
local a, b = net.pair()
bind_refused(L.EINVAL, "bind() of a socket from pair: EINVAL", a:bind())
connect_refused(L.EINVAL, "connect() of a socket from pair: err, false, EINVAL", b:connect())
copy = assert(a:dup())
connect_refused(L.EINVAL, "connect() of its copy: err, false, EINVAL", copy:connect())
copy:close(); a:close(); b:close()
local client, server = net.tcp()
bind_refused(L.EINVAL, "bind() of a socket from accept: EINVAL", server:bind())
connect_refused(L.EINVAL, "connect() of a socket from accept: err, false, EINVAL", server:connect())
client:close(); server:close()
s = assert(socket.wrap(assert(assert(socket.new(ai)):unwrap())))
connect_refused(L.EINVAL, "connect() of a wrapped socket: err, false, EINVAL", s:connect())
T.is(select("#", s:connect(ai)), 0, "connect(ai) of a wrapped socket connects")
s:close()
listener:close(); other:close()

-- datagrams
for _, family in ipairs { L.AF_INET, L.AF_INET6 } do
  local bound, here, there, far
  bound = pcall(function()
    here, there = net.bound(family, L.SOCK_DGRAM, true)
    other, far = net.bound(family, L.SOCK_DGRAM, true)
  end)
  if not bound then T.skip(5, "no IPv6 on the loopback") break end
  s = assert(socket.new(there, true))
  T.is(select("#", s:connect()), 0, "connecting a datagram socket answers no values, also non-blocking")
  s:send "one"
  T.is(here:recv(), "one", "it sends to its peer")
  local mine = s:getsockname()
  other:sendto("stranger", mine)
  here:sendto("friend", mine)
  T.is(s:recv(), "friend", "it receives from its peer alone")
  T.is(select("#", s:connect(far)), 0, "it connects again")
  s:send "two"
  T.is(other:recv(), "two", "elsewhere")
  s:close(); here:close(); other:close()
end

-- a port that nobody listens on: the refusal of the last send
local bound, nobody = net.bound(L.AF_INET, L.SOCK_DGRAM)
s = assert(socket.new(nobody, true))
s:connect()
bound:close()
s:send "x"
T.is(s:recvable(5), true, "a refused datagram wakes its sender")
T.is(s:error(), L.ECONNREFUSED, "error() tells it")
T.is(s:error(), 0, "once")
s:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
