-- transfer-end: end of stream, half-close, reset, refused, in use: blocking and not, over TCP and unix sockets.
local L = require "llsocket"
local net = require "net"
local leak = require "leak"
local values = require "values"
local text = require("llsocket.errno").text
local show, failed = values.show, values.failed
local before = leak.count()

local KINDS = {
  { name = "TCP over IPv4", make = function(nonblock) return net.tcp(L.AF_INET, nonblock) end, place = net.places[1] },
  { name = "TCP over IPv6", make = function(nonblock) return net.tcp(L.AF_INET6, nonblock) end, place = net.places[2] },
  { name = "a unix stream", make = function(nonblock) return net.pair(L.SOCK_STREAM, nonblock) end, place = net.places[3] },
  { name = "a seqpacket", make = function(nonblock) return net.pair(L.SOCK_SEQPACKET, nonblock) end },
}
local ENDS, RESETS, LISTENS = 12, 7, 8
local T = require("tap").plan(2 * (4 * ENDS + 2 * RESETS) + 3 * LISTENS + 11)

-- What waits is read before the end is told; the other direction lives on.
local function ends(kind, nonblock)
  local name = (nonblock and "non-blocking: " or "blocking: ") .. kind.name .. ": "
  local a, b = kind.make(nonblock)
  a:send "last words"
  T.is(show(a:shutdown(L.SHUT_WR)), "no values", name .. "half-close succeeds")
  b:recvable(5)
  T.is(show(b:recv()), '"last words", nil, false', name .. "what was sent before arrives")
  b:recvable(5)
  T.is(show(b:recv()), "no values", name .. "then comes the end")
  T.is(show(b:recvfrom()), "no values", name .. "and it stays the end")
  T.is(b:recvable(0), true, name .. "the end is something to receive")
  T.is(show(a:send "x"), "no values", name .. "the closed direction takes nothing")
  T.is(show(b:send "reply"), "5, nil, false", name .. "the other direction sends")
  a:recvable(5)
  T.is(show(a:recv()), '"reply", nil, false', name .. "and is received")
  T.is(show(b:close(L.SHUT_RDWR)), "no values", name .. "close with SHUT_RDWR succeeds")
  a:recvable(5)
  T.is(show(a:recv()), "no values", name .. "and is the end of the other direction")
  T.is(a:error(), 0, name .. "an orderly end leaves no error")
  a:close()
  a, b = kind.make(nonblock)
  T.is(show(b:shutdown(L.SHUT_RD), b:recv()), "nil", name .. "SHUT_RD ends receiving")
  a:close(); b:close()
end

-- A reset is told once as an error; then the stream is over.
local function resets(kind, nonblock)
  local name = (nonblock and "non-blocking: " or "blocking: ") .. kind.name .. ": "
  local a, b = kind.make(nonblock)
  a:send "unread"
  T.is(b:linger(0), 0, name .. "linger(0) is set")
  b:close()
  a:recvable(5)
  T.is(show(a:recv()), failed(L.ECONNRESET), name .. "a reset while receiving is ECONNRESET, no end")
  T.is(show(a:recv()), "no values", name .. "reported once; then it is over")
  T.is(show(a:send "x"), "no values", name .. "nothing can be sent")
  a:close()
  a, b = kind.make(nonblock)
  a:send "unread"
  b:recvable(5)
  b:close()
  a:recvable(5)
  T.is(show(a:recv()), failed(L.ECONNRESET), name .. "a close with bytes unread is a reset too")
  a:close()
  a, b = kind.make(nonblock)
  b:linger(0); b:close()
  a:recvable(5)
  T.is(a:error(), L.ECONNRESET, name .. "error() tells the reset")
  T.is(show(a:recv()), "no values", name .. "and clears it")
  a:close()
end

local function connect_refused(ai, nonblock)
  local sock = assert(L.socket.new(ai, nonblock))
  local err, again, e = sock:connect()
  if e == L.EINPROGRESS then
    sock:sendable(5)
    err, again, e = nil, nil, sock:error()
  end
  return sock, show(err, again, e)
end

-- Refused when nobody listens; in use when somebody does.
local function listens(place)
  local name = place.name .. ": "
  local listener, ai = net.bound_at(place, L.SOCK_STREAM)
  local sock, answer = connect_refused(ai)
  T.is(answer, show(text(L.ECONNREFUSED), false, L.ECONNREFUSED), name .. "connect before listen is refused: err, false, errno")
  local unsent = sock:family() == L.AF_UNIX and failed(L.ENOTCONN) or "no values"
  T.is(show(sock:send "x"), unsent, name .. "a refused socket sends nothing")
  sock:close()
  listener:listen()
  local second = assert(L.socket.new(ai))
  T.is(show(second:bind()), show(text(L.EADDRINUSE), L.EADDRINUSE), name .. "a second bind is in use: err, errno")
  second:close()
  local client = assert(L.socket.new(ai))
  T.is(show(client:connect()), "no values", name .. "connect succeeds")
  local server = listener:accept()
  server:send "hello"
  T.is(client:recv(), "hello", name .. "and is connected")
  T.is(show(client:connect()), show(text(L.EISCONN), false, L.EISCONN), name .. "a second connect is EISCONN")
  listener:close(); client:close(); server:close()
  sock, answer = connect_refused(ai)
  T.is(answer, show(text(L.ECONNREFUSED), false, L.ECONNREFUSED), name .. "connect after close is refused")
  sock:close()
  sock, answer = connect_refused(ai, true)
  local later = show(nil, nil, L.ECONNREFUSED)
  T.ok(answer == later or answer == show(text(L.ECONNREFUSED), false, L.ECONNREFUSED), name .. "a non-blocking connect too")
  sock:close()
end

for i, kind in ipairs(KINDS) do
  local here = i > 2 or net.has(kind.place)
  for _, nonblock in ipairs { false, true } do
    if here then ends(kind, nonblock) else T.skip(ENDS, kind.name .. ": no such address on this machine") end
    if here and i <= 2 then resets(kind, nonblock) elseif i <= 2 then T.skip(RESETS, kind.name .. ": no such address here") end
  end
  if here and i <= 3 then listens(kind.place) elseif i <= 3 then T.skip(LISTENS, kind.name .. ": no such address here") end
end

-- A unix stream has a reset of its own: closed with bytes unread.
local a, b = net.pair()
a:send "unread"; b:close()
T.is(show(a:recv()), failed(L.ECONNRESET), "a unix stream closed with bytes unread is ECONNRESET")
T.is(show(a:recv()), "no values", "and then at its end")
a:close()

-- TCP without a connection: Linux sends EPIPE, as after the end.
for _, listening in ipairs { false, true } do
  local sock = net.bound(L.AF_INET, L.SOCK_STREAM)
  if listening then sock:listen() end
  local name = listening and "TCP that listens: " or "TCP that never was connected: "
  if jit.os == "Linux" then T.is(show(sock:send "x"), "no values", name .. "a send reads as closed by the peer")
  else T.skip(1, "EPIPE for that is Linux's") end
  T.is(show(sock:recv(1, L.MSG_DONTWAIT)), failed(L.ENOTCONN), name .. "a receive is ENOTCONN")
  sock:close()
end

-- UDP: a connected socket hears that nobody listens.
local gone, name = net.bound(L.AF_INET, L.SOCK_DGRAM)
gone:close()
a = net.bound(L.AF_INET, L.SOCK_DGRAM)
T.is(show(a:connect(name)), "no values", "UDP connects to nobody")
T.is(show(a:send "x"), "1, nil, false", "the first datagram goes")
a:recvable(5)
T.is(show(a:recv()), failed(L.ECONNREFUSED), "UDP: the next recv reports the refusal")
a:send "x"
a:recvable(5)
T.is(show(a:send "y"), failed(L.ECONNREFUSED), "UDP: or by the next send")
a:close()

net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
