-- transfer-shapes: the exact values that each call returns in each case, and no further values.
local L = require "llsocket"
local net = require "net"
local leak = require "leak"
local values = require "values"
local trace = require "trace"
local show, failed, failed_from = values.show, values.failed, values.failed_from
local before = leak.count()
local T = require("tap").plan(77)

-- Done.
local a, b = net.pair(L.SOCK_STREAM, true)
T.is(show(a:send "ping"), "4, nil, false", "send answers n, nil, false")
T.is(show(b:recv()), '"ping", nil, false', "recv answers msg, nil, false")
a:send "pong"
T.is(show(b:recvfrom()), '"pong", nil, nil, false', "recvfrom on a pair answers msg, nil, nil, false")
T.is(show(a:send("\0\1\255\0")), "4, nil, false", "send counts NUL bytes")
T.is(b:recv(), "\0\1\255\0", "NUL bytes arrive")

-- Would block.
T.is(show(b:recv()), values.again(L.EAGAIN), "recv would block: nil, nil, true, EAGAIN")
T.is(show(b:recvfrom()), values.again_from(L.EAGAIN), "recvfrom would block: nil, nil, nil, true, EAGAIN")
local big = ("y"):rep(16 * 2^20)
local n, err, again, extra = a:send(big)
T.ok(n > 0 and n < #big, "a long send to a peer that does not read is partial")
T.is(show(err, again, extra), "nil, true, nil", "and says again, without an errno")
T.is(show(a:sendto("z", net.addr())), failed(L.EISCONN), "sendto on a connected unix stream: EISCONN")
T.is(show(a:send "z"), values.sent_again(L.EAGAIN), "send would block: 0, nil, true, EAGAIN")
local got = 0
repeat
  local msg = b:recv(2^20)
  got = got + (msg and #msg or 0)
until not msg
T.is(got, n, "what a partial send counted is what arrives")
a:close(); b:close()

-- Time-outs on a blocking socket are of the same kind.
a, b = net.pair()
b:rcvtimeo(0.01); a:sndtimeo(0.01)
T.is(show(b:recv()), values.again(L.EAGAIN), "rcvtimeo runs out: nil, nil, true, EAGAIN")
T.is(show(b:recvfrom()), values.again_from(L.EAGAIN), "rcvtimeo runs out in recvfrom: EAGAIN")
a:send(big)
T.is(show(a:send "z"), values.sent_again(L.EAGAIN), "sndtimeo runs out: 0, nil, true, EAGAIN")
a:close()

local full, full_name = net.bound_at(net.places[4], L.SOCK_DGRAM)
local eager = assert(L.socket.new(full_name, true))
local sent, last
repeat
  last, sent = sent, show(eager:sendto("x", full_name))
until sent ~= "1, nil, false"
T.is(last, "1, nil, false", "sendto returns n, nil, false while there is capacity")
T.is(sent, values.sent_again(L.EAGAIN), "sendto would block: 0, nil, true, EAGAIN")
full:close(); eager:close()

-- Closed by peer.
while b:recv(2^20) do end
T.is(show(b:recv()), "no values", "recv from a closed peer: no values")
T.is(show(b:recv()), "no values", "and again")
T.is(show(b:recvfrom()), "no values", "recvfrom from a closed peer: no values")
T.is(show(b:send "x"), "no values", "send to a closed peer: no values")
b:close()
local path, path_name = net.bound_at(net.places[3], L.SOCK_DGRAM)
local dgram = assert(L.socket.new(path_name))
T.is(show(dgram:sendto("x", path_name)), "1, nil, false", "sendto answers n, nil, false")
path:close()
T.is(show(dgram:sendto("x", path_name)), failed(L.ECONNREFUSED), "sendto to a closed datagram socket: ECONNREFUSED")
net.cleanup()
T.is(show(dgram:sendto("x", path_name)), failed(L.ENOENT), "sendto to a path that is gone: nil, err, false, ENOENT")
T.is(show(dgram:send "x"), failed(L.ENOTCONN), "send without a peer: nil, err, false, ENOTCONN")
T.is(show(dgram:sendto("x", net.addr())), failed(L.EINVAL), "sendto to another family's address: EINVAL")
dgram:close()
a, b = net.tcp()
b:close()
T.is(show(a:recv()), "no values", "recv from a closed TCP peer: no values")
T.is(show(a:send "first"), "5, nil, false", "the first send after it is taken")
net.await(function() return show(a:send "more") == "no values" end) -- the answer to it is under way
T.is(show(a:send "second"), "no values", "the next: no values")
T.is(show(a:sendto("third", net.addr())), "no values", "sendto: no values")
a:close()

-- Failed.
a, b = net.tcp()
b:linger(0); b:close()
a:recvable(5)
T.is(show(a:recv()), failed(L.ECONNRESET), "recv after a reset: nil, err, false, ECONNRESET, not an end")
T.is(show(a:send "x"), "no values", "send after a reset: no values")
a:close()
a, b = net.tcp()
b:linger(0); b:close()
a:recvable(5)
T.is(show(a:recvfrom()), failed_from(L.ECONNRESET), "recvfrom after a reset: nil, nil, err, false, ECONNRESET")
a:close()
a, b = net.tcp()
b:linger(0); b:close()
a:recvable(5)
T.is(show(a:send "x"), "no values", "a send that learns of the reset: no values")
a:close()
a, b = net.pair(L.SOCK_SEQPACKET)
b:close()
T.is(show(a:send "x"), "no values", "send to a closed seqpacket peer: no values")
a:close()
a, b = net.pair(L.SOCK_DGRAM)
b:close()
T.is(show(a:send "x"), failed(L.ECONNREFUSED), "send to a closed datagram peer is an error, ECONNREFUSED")
a:close()
local listener = net.listener()
T.is(show(listener:recv()), failed(L.ENOTCONN), "recv on a listening socket: ENOTCONN")
T.is(show(listener:recvfrom()), failed_from(L.ENOTCONN), "recvfrom on a listening socket: ENOTCONN")
listener:close()
local udp, udp_name = net.bound(L.AF_INET, L.SOCK_DGRAM)
T.is(show(udp:sendto(("x"):rep(65508), udp_name)), failed(L.EMSGSIZE), "a datagram too long: EMSGSIZE")
T.is(show(udp:sendto(("x"):rep(65507), udp_name)), "65507, nil, false", "the longest datagram is sent")
udp:close()

-- Zero bytes, by type.
local function zero(socktype, name)
  local from, to = net.pair(socktype, true)
  local messages = socktype ~= L.SOCK_STREAM
  T.is(show(from:send ""), messages and "0, nil, false" or failed(L.EINVAL), name .. ": send of nothing")
  T.is(show(to:recv()), messages and '"", nil, false' or values.again(L.EAGAIN), name .. ": what arrives of nothing")
  from:send ""
  T.is(show(to:recvfrom()), messages and '"", nil, nil, false' or values.again_from(L.EAGAIN), name .. ": so for recvfrom")
  T.is(show(to:recv(0)), failed(L.EINVAL), name .. ": recv of 0 bytes is EINVAL")
  T.is(show(to:recvfrom(0)), failed_from(L.EINVAL), name .. ": recvfrom of 0 bytes is EINVAL")
  from:send "x"
  T.is(show(to:recv(0)), failed(L.EINVAL), name .. ": also when bytes wait")
  T.is(to:recv(), "x", name .. ": which stay")
  from:close(); to:close()
end
zero(L.SOCK_STREAM, "stream"); zero(L.SOCK_SEQPACKET, "seqpacket"); zero(L.SOCK_DGRAM, "datagram")
udp, udp_name = net.bound(L.AF_INET, L.SOCK_DGRAM, true)
T.is(show(udp:sendto("", udp_name)), "0, nil, false", "sendto of nothing on UDP")
T.is(show(udp:recvfrom()), ('"", %s, nil, false'):format(tostring(udp_name)), "an empty UDP datagram arrives with its sender")
udp:close()
a, b = net.tcp()
T.is(show(a:sendto("", udp_name)), failed(L.EINVAL), "sendto of nothing on a stream is EINVAL")
a:close(); b:close()

-- Once closed.
T.is(show(a:send "x"), failed(L.EBADF), "send on a closed socket: EBADF")
T.is(show(a:sendto("x", udp_name)), failed(L.EBADF), "sendto on a closed socket: EBADF")
T.is(show(a:recv()), failed(L.EBADF), "recv on a closed socket: EBADF")
T.is(show(a:recvfrom()), failed_from(L.EBADF), "recvfrom on a closed socket: EBADF")
T.is(show(a:recv(2^20)), failed(L.EBADF), "a large recv on a closed socket: EBADF")

-- Bad numbers answer in the call's shape.
a, b = net.pair(L.SOCK_DGRAM, true)
T.is(show(a:send("x", 1.5)), failed(L.EINVAL), "a flag that is no integer is EINVAL for send")
T.is(show(a:sendto("x", udp_name, 2^32)), failed(L.EINVAL), "a flag above 32 bits is EINVAL for sendto")
T.is(show(b:recv(1, 0/0)), failed(L.EINVAL), "a flag that is no number is EINVAL for recv")
T.is(show(b:recvfrom(2^31)), failed_from(L.EINVAL), "a size above 2^31-1 is EINVAL for recvfrom")
T.is(show(b:recv()), values.again(L.EAGAIN), "nothing was sent meanwhile")

-- Hot loops.
trace.is(T, function()
  for _ = 1, 500 do a:send "x"; b:recvfrom(64) end
end, "a send/recvfrom loop compiles")
local c, c_name = net.bound(L.AF_INET, L.SOCK_DGRAM)
trace.is(T, function()
  for _ = 1, 500 do c:sendto("x", c_name); c:recvfrom(64) end
end, "a sendto/recvfrom loop compiles")
a:close(); b:close(); c:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
