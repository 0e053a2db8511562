-- connect-shutdown: half-closed connections both ways, resets, what shutdown and listen refuse.
local L = require "llsocket"
local net = require "net"
local sys = require "sys"
local leak = require "leak"
local T = require("tap").plan(79)
local before = leak.count()
local socket = L.socket

local function refused(want, name, ...)
  local n, err, e = select("#", ...), ...
  T.ok(n == 2 and type(err) == "string" and e == want, name)
end

-- half-close
local KINDS = {
  { "tcp", function() return net.tcp() end },
  { "unix stream", function() return net.pair() end },
  { "seqpacket", function() return net.pair(L.SOCK_SEQPACKET) end },
}
for _, kind in ipairs(KINDS) do
  local name, a, b = kind[1] .. ": ", kind[2]()
  a:send "request"
  T.is(select("#", a:shutdown(L.SHUT_WR)), 0, name .. "shutdown answers no values")
  T.is(b:recv(), "request", name .. "what was sent before arrives")
  T.is(select("#", b:recv()), 0, name .. "then the end")
  T.is(select("#", a:send "more"), 0, name .. "the half that was closed does not send")
  T.is(b:send "answer", 6, name .. "the other half still sends")
  T.is(a:recv(), "answer", name .. "and arrives")
  T.is(b:shutdown(L.SHUT_WR), nil, name .. "the other half closes")
  T.is(select("#", a:recv()), 0, name .. "and ends")
  T.ok(sys.is_open(a:fd()) and sys.is_open(b:fd()), name .. "both descriptors are still open")
  a:close(); b:close()

  a, b = kind[2]()
  T.is(select("#", b:shutdown(L.SHUT_RD)), 0, name .. "the receiving half closes")
  T.is(select("#", b:recv()), 0, name .. "and receives the end")
  T.is(b:send "still", 5, name .. "it still sends")
  T.is(a:recv(), "still", name .. "and arrives")
  a:close(); b:close()

  a, b = kind[2]()
  T.is(select("#", a:shutdown()), 0, name .. "shutdown() closes both halves")
  T.is(select("#", a:send "x"), 0, name .. "nothing is sent")
  T.is(select("#", a:recv()), 0, name .. "nothing is received")
  T.is(select("#", b:recv()), 0, name .. "the peer sees the end")
  a:close(); b:close()
end

-- reset
local a, b = net.tcp()
a:send "lost?"
a:linger(0)
T.is(a:close(), nil, "linger(0) closes with a reset")
T.is(b:recvable(5), true, "the peer wakes")
local msg, err, again, e = b:recv()
while msg do msg, err, again, e = b:recv() end
T.ok(type(err) == "string" and again == false and e == L.ECONNRESET, "and receives ECONNRESET, not the end")
T.is(select("#", b:send "x"), 0, "a send after it: closed by peer")
b:close()
a, b = net.tcp()
a:linger(0)
a:close()
T.is(b:recvable(5), true, "another one wakes")
T.is(b:error(), L.ECONNRESET, "error() tells the reset")
T.is(b:error(), 0, "and clears it")
b:close()

-- what shutdown refuses
local s = assert(socket.new(net.addr()))
refused(L.ENOTCONN, "shutdown without a connection: err, ENOTCONN", s:shutdown())
for _, how in ipairs { -1, 3, 1.5, 0/0, 1/0, 2^32 + 1 } do
  refused(L.EINVAL, ("shutdown(%g): EINVAL"):format(how), s:shutdown(how))
end

-- listen
for _, backlog in ipairs { -1, 1.5, 0/0, 1/0, 2^31 } do
  refused(L.EINVAL, ("listen(%g): EINVAL"):format(backlog), s:listen(backlog))
end
T.is(s:acceptconn(), false, "and does not listen")
T.is(select("#", s:listen()), 0, "listen answers no values")
T.is(s:acceptconn(), true, "and listens")
T.is(select("#", s:listen(2^31 - 1)), 0, "a backlog of 2^31-1 is allowed")
T.is(select("#", s:listen(0)), 0, "so is 0")
T.is(select("#", s:listen(1)), 0, "so is 1")
s:close()
s = net.bound(L.AF_INET, L.SOCK_DGRAM)
refused(L.EOPNOTSUPP, "listen on a datagram socket: EOPNOTSUPP", s:listen())
s:close()
local listener, ai = net.listener()
s = assert(socket.new(ai))
s:reuseaddr(true)
refused(L.EADDRINUSE, "bind over a listener: EADDRINUSE", s:bind())
s:close()
listener:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
