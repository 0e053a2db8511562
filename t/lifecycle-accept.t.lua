-- lifecycle-accept: the new socket's flags, type and addresses; nothing waiting; a connection that died in the queue.
--
-- ECONNABORTED is not provoked: Linux hands out a connection that was reset in the queue, and the reset shows on
-- its first receive.  Other kernels return ECONNABORTED, in the same shape as EAGAIN.
local L = require "llsocket"
local net = require "net"
local signals = require "signals"
local sys = require "sys"
local leak = require "leak"
local T = require("tap").plan(59)
local before = leak.count()
local socket = L.socket

local function dial(ai)
  local client = assert(socket.new(ai))
  assert(not client:connect())
  return client
end

-- Accepts one connection of a client made for it; answers the server's side.
local clients = {}
local function one(listener, ai, nonblock)
  clients[#clients + 1] = dial(ai)
  return assert(listener:accept(nonblock))
end

local listener, ai = net.listener()
local s = one(listener, ai)
T.ok(sys.is_cloexec(s:fd()), "accept sets close-on-exec")
T.ok(not sys.is_nonblock(s:fd()), "from a blocking listener comes a blocking socket")
T.is(s:family(), L.AF_INET, "it has the listener's family")
T.is(s:socktype(), L.SOCK_STREAM, "it has the listener's type")
T.is(s:protocol(), L.IPPROTO_TCP, "it has the listener's protocol")
T.is(tostring(s:getsockname()), tostring(ai), "its own address is the listener's, not the peer's")
T.is(tostring(s:getpeername()), tostring(clients[1]:getsockname()), "its peer is the client")
T.is(tostring(clients[1]:getpeername()), tostring(ai), "the client's peer is the listener")
T.ok(s:getpeername():port() ~= ai:port(), "the two ports differ")
clients[1]:send "hello"
T.is(s:recv(), "hello", "it receives what the client sent")
s:close()

local function mode(nonblock, want, name)
  s = one(listener, ai, nonblock)
  T.is(sys.is_nonblock(s:fd()), want, name)
  T.is(s:nonblock(), want, name .. ", and knows it")
  s:close()
end

mode(true, true, "accept(true) of a blocking listener does not block")
T.is(sys.is_nonblock(listener:fd()), false, "the listener itself still blocks")
listener:nonblock(true)
mode(nil, true, "from a non-blocking listener comes a non-blocking socket")
mode(false, false, "accept(false) of a non-blocking listener blocks")
sys.set_nonblock(listener:fd(), false)
mode(nil, true, "what a foreign loop set on the listener is not seen")
T.is(listener:nonblock(), false, "until nonblock() reads it")
mode(nil, false, "then accept follows")
listener:nonblock(true)

-- nothing waiting
local function again(want, name, ...)
  local n, none, err, more, e = select("#", ...), ...
  T.ok(n == 4 and none == nil and err == nil and more == true and e == want, name)
end
local function refused(want, name, ...)
  local n, none, err, more, e = select("#", ...), ...
  T.ok(n == 4 and none == nil and type(err) == "string" and more == false and e == want, name)
end

again(L.EAGAIN, "a non-blocking accept of nothing: nil, nil, true, EAGAIN", listener:accept())
local count = leak.count()
for _ = 1, 100 do listener:accept() end
T.is(leak.count(), count, "a hundred of them leave no descriptor")
listener:nonblock(false)
listener:rcvtimeo(0.05)
again(L.EAGAIN, "a blocking accept that times out: nil, nil, true, EAGAIN", listener:accept())
listener:rcvtimeo(0)
signals.alarm(100000)
again(L.EINTR, "a signal during accept: nil, nil, true, EINTR", listener:accept())
signals.alarm(0)

-- errors
local idle = assert(socket.new(net.addr()))
refused(L.EINVAL, "accept of a socket that does not listen: nil, err, false, EINVAL", idle:accept())
idle:close()
refused(L.EBADF, "accept of a closed socket: nil, err, false, EBADF", idle:accept())
local _, udp = pcall(net.bound, L.AF_INET, L.SOCK_DGRAM)
refused(L.EOPNOTSUPP, "accept of a datagram socket: nil, err, false, EOPNOTSUPP", udp:accept())
udp:close()

-- a connection that dies while it waits
local client = dial(ai)
client:linger(0)
client:close()
T.is(listener:recvable(5), true, "a connection that was reset in the queue still waits")
local dead, err, more, e = listener:accept()
if dead then
  T.is(select(4, dead:recv()), L.ECONNRESET, "its first receive tells the reset")
  dead:close()
else
  T.ok(err == nil and more == true and e == L.ECONNABORTED, "accept tells the abort")
end

-- other families and types
for _, family in ipairs { "unix", "seqpacket", "inet6" } do
  local there
  if family == "inet6" then
    local ok
    ok, listener, there = pcall(function()
      clients[#clients + 1] = listener
      return net.listener(L.AF_INET6)
    end)
    if not ok then T.skip(3, "no IPv6 on the loopback") break end
  else
    clients[#clients + 1] = listener
    there = assert(L.unix.getaddrinfo("", family == "unix" and L.SOCK_STREAM or L.SOCK_SEQPACKET))[1]
    listener = assert(socket.new(there))
    assert(not listener:bind() and not listener:listen())
    there = listener:getsockname()
  end
  s = one(listener, there)
  T.is(s:family(), listener:family(), family .. ": accept keeps the family")
  T.is(s:socktype(), s:getsockopt(L.SOL_SOCKET, L.SO_TYPE, "int"), family .. ": accept knows the type")
  T.is(tostring(s:getsockname()), tostring(there), family .. ": the own address is the listener's")
  s:close()
end
-- the peer's address, by the same call
local peer = L.unix.getaddrinfo("/to/be/overwritten", L.SOCK_DGRAM)[1]
clients[#clients + 1] = listener
listener, ai = net.listener(L.AF_INET, true)
T.is(select("#", listener:accept(nil, peer)), 4, "where nothing waits, an address to overwrite changes nothing of the answer")
T.is(peer:addr(), "/to/be/overwritten", "and stays as it is")
clients[#clients + 1] = dial(ai)
s = assert(listener:accept(false, peer))
T.is(s:nonblock(), false, "the first argument keeps its meaning beside an address")
T.is(tostring(peer), tostring(s:getpeername()), "the address is the peer's")
T.is(peer, s:getpeername(), "in all that it is: family, type and bytes")
T.is(peer:protocol(), L.IPPROTO_TCP, "and protocol")
s:close()

local lost = dial(ai)
local its_name = lost:getsockname()
lost:linger(0)
lost:close()
listener:recvable(5)
s = listener:accept(nil, peer)
if s then
  T.is(select(3, s:getpeername()), L.ENOTCONN, "of a connection that was reset in the queue getpeername knows nothing")
  T.is(tostring(peer), tostring(its_name), "accept does")
  s:close()
else
  T.skip(2, "this system accepts no connection that was reset")
end

for _, case in ipairs { { L.AF_UNIX, "unix:" }, { L.AF_INET6, "[::1]:" } } do
  local family, shows = case[1], case[2]
  local ok, l, there = pcall(function()
    if family == L.AF_INET6 then return net.listener(family) end
    local l = assert(socket.new(L.unix.getaddrinfo("", L.SOCK_STREAM)[1]))
    assert(not l:bind() and not l:listen())
    return l, l:getsockname()
  end)
  if ok then
    clients[#clients + 1], clients[#clients + 2] = l, dial(there)
    s = assert(l:accept(nil, peer))
    T.is(peer:family(), family, "an address takes the peer's family")
    T.is(tostring(peer):sub(1, #shows), shows, "and reads as one: " .. shows)
    T.is(tostring(peer), tostring(s:getpeername()), "as getpeername tells it")
    s:close()
  else
    T.skip(3, "no IPv6 on the loopback")
  end
end
T.is(select("#", listener:accept(nil, nil)), 4, "nil stands for no address")
for _, wrong in ipairs { "127.0.0.1", 1, {} } do
  local raised, text = pcall(listener.accept, listener, nil, wrong)
  local want = ("bad argument #2 to 'accept' (llsocket.addrinfo expected, got %s)"):format(type(wrong))
  T.is(not raised and text:match "bad argument.*", want, "accept(nil, " .. type(wrong) .. ") raises")
end

listener:close()
for _, sock in ipairs(clients) do sock:close() end
T.is(leak.count(), before, "no descriptor is left")
T.done()
