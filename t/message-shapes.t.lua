-- message: the exact values that sendmsg, recvmsg, writev and readv return in each case, and no further values.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local sys = require "sys"
local values = require "values"
local show, failed, again, sent_again = values.show, values.failed, values.again, values.sent_again
local before = leak.count()
local T = require("tap").plan(102)

local function msg(data, name) return assert(L.msghdr.new { data = data, name = name }) end

-- What readv answered, its parts in braces.
local function told(parts, ...)
  if type(parts) ~= "table" then return show(parts, ...) end
  return "{" .. show(unpack(parts)) .. "}, " .. show(...)
end

-- Done, and would block.
local a, b = net.pair(L.SOCK_STREAM, true)
local mh, into = msg "ping", assert(L.msghdr.new())
T.is(show(a:sendmsg(mh)), "4, nil, false", "sendmsg answers n, nil, false")
T.is(show(b:recvmsg(into)), "4, nil, false", "recvmsg answers n, nil, false")
T.is(show(into:data(), into:name(), into:flags(), #into:control()), '"ping", nil, 0, 0', "and the message has the rest")
T.is(show(a:sendmsg(mh)), "4, nil, false", "the same message is sent again")
T.is(told(b:readv { 3, 100 }), '{"pin", "g"}, nil, false', "readv answers the parts, nil, false")
T.is(show(a:writev { "po", "", "ng" }), "4, nil, false", "writev answers n, nil, false")
T.is(told(b:readv { 4, 1, 1 }), '{"pong", "", ""}, nil, false', "parts that got nothing are empty")
T.is(show(b:recvmsg(into)), again(L.EAGAIN), "recvmsg would block: nil, nil, true, EAGAIN")
T.is(into:data(), "ping", "and the message keeps what it had")
T.is(show(b:readv { 10 }), again(L.EAGAIN), "readv would block: nil, nil, true, EAGAIN")
local big = ("y"):rep(2^20)
mh = msg { big, big, big, big }
local n, err, more, extra = a:sendmsg(mh)
T.ok(n > 0 and n < 4 * 2^20, "a long message to a peer that does not read goes in part")
T.is(show(err, more, extra), "nil, true, nil", "and says again, without an errno")
T.is(show(a:sendmsg(mh)), sent_again(L.EAGAIN), "sendmsg would block: 0, nil, true, EAGAIN")
T.is(show(a:writev { "z" }), sent_again(L.EAGAIN), "writev would block: 0, nil, true, EAGAIN")
a:close()

-- The end.
local got = 0
while true do
  local count = b:recvmsg(into)
  if not count then break end
  got = got + count
end
T.is(got, n, "what a partial send counted is what arrives")
T.is(show(b:recvmsg(into)), "no values", "recvmsg from a closed peer: no values")
T.is(show(into:data(), into:name(), into:flags(), #into:control()), '"", nil, 0, 0', "and nothing in the message")
T.is(show(b:readv { 5 }), "no values", "readv from a closed peer: no values")
T.is(show(b:sendmsg(msg "x")), "no values", "sendmsg to a closed peer: no values")
T.is(show(b:writev { "x" }), "no values", "writev to a closed peer: no values")
b:close()
a, b = net.tcp()
b:linger(0); b:close()
a:recvable(5)
T.is(show(a:recvmsg(into)), failed(L.ECONNRESET), "recvmsg after a reset: nil, err, false, ECONNRESET, not an end")
T.is(show(a:sendmsg(msg "x")), "no values", "sendmsg after a reset: no values")
a:close()
a, b = net.tcp()
b:linger(0); b:close()
a:recvable(5)
T.is(show(a:readv { 1 }), failed(L.ECONNRESET), "readv after a reset: nil, err, false, ECONNRESET")
a:close()
a, b = net.pair(L.SOCK_SEQPACKET)
b:close()
T.is(show(a:sendmsg(msg "x")), "no values", "sendmsg to a closed seqpacket peer: no values")
T.is(show(a:recvmsg(into)), "no values", "recvmsg from a closed seqpacket peer: no values")
a:close()
a, b = net.pair(L.SOCK_DGRAM)
b:close()
T.is(show(a:sendmsg(msg "x")), failed(L.ECONNREFUSED), "sendmsg to a closed datagram peer is an error, ECONNREFUSED")
a:close()

-- Where SIGPIPE would end the process.
local child = proc.fork(function()
  proc.signal(proc.SIGPIPE, proc.SIG_DFL)
  local one, other = net.pair()
  other:close()
  return show(one:sendmsg(msg "x")) .. show(one:writev { "x", "y" }) == "no valuesno values"
end)
T.is(show(proc.wait(child)), "0, 0", "neither raises SIGPIPE")

-- Time-outs of a blocking socket.
a, b = net.pair()
b:rcvtimeo(0.01)
T.is(show(b:recvmsg(into)), again(L.EAGAIN), "rcvtimeo runs out: nil, nil, true, EAGAIN")
T.is(show(b:readv { 1 }), again(L.EAGAIN), "so for readv")
T.is(show(b:recvmsg(into, L.MSG_DONTWAIT)), again(L.EAGAIN), "MSG_DONTWAIT keeps recvmsg from blocking")
T.is(show(b:readv({ 1 }, 0, L.MSG_DONTWAIT)), again(L.EAGAIN), "and readv, as the second flag")
a:close(); b:close()

-- Zero bytes, by type.
for _, kind in ipairs { "SOCK_STREAM", "SOCK_SEQPACKET", "SOCK_DGRAM" } do
  local messages = kind ~= "SOCK_STREAM"
  a, b = net.pair(L[kind], true)
  local sent, came = messages and "0, nil, false" or failed(L.EINVAL), messages and "0, nil, false" or again(L.EAGAIN)
  for _, nothing in ipairs { "", {}, { "", "" } } do
    T.is(show(a:sendmsg(msg(nothing))), sent, kind .. ": sendmsg of nothing, as " .. type(nothing))
    into:data "old"
    T.is(show(b:recvmsg(into)), came, kind .. ": what arrives of it")
    T.is(into:data(), messages and "" or "old", kind .. ": and is in the message")
  end
  T.is(show(a:writev {}), sent, kind .. ": writev of nothing")
  T.is(told(b:readv { 1, 1 }), messages and '{"", ""}, nil, false' or came, kind .. ": what readv has of it")
  a:close(); b:close()
end
local udp, udp_name = net.bound(L.AF_INET, L.SOCK_DGRAM, true)
T.is(show(udp:sendmsg(msg("", udp_name))), "0, nil, false", "sendmsg of nothing on UDP")
T.is(show(udp:recvmsg(into)), "0, nil, false", "an empty UDP datagram is 0 bytes, no end")
T.is(show(into:data(), tostring(into:name())), show("", tostring(udp_name)), "with its sender")
udp:close()
a, b = net.tcp()
T.is(show(a:sendmsg(msg "")), failed(L.EINVAL), "sendmsg of nothing on TCP is EINVAL")
a:close(); b:close()

-- Errors of the kernel.
udp, udp_name = net.bound(L.AF_INET, L.SOCK_DGRAM)
T.is(show(udp:sendmsg(msg(("x"):rep(65508), udp_name))), failed(L.EMSGSIZE), "a datagram too long: EMSGSIZE")
T.is(show(udp:sendmsg(msg({ ("x"):rep(65000), ("x"):rep(507) }, udp_name))), "65507, nil, false", "the longest, in parts")
T.is(show(udp:sendmsg(msg "x")), failed(L.EDESTADDRREQ), "no address: EDESTADDRREQ")
T.is(show(udp:sendmsg(msg("x", net.addr(L.AF_INET6)))), failed(L.EAFNOSUPPORT), "another family's address: EAFNOSUPPORT")
local mad = assert(L.msghdr.new { data = "x", name = udp_name, control = { assert(L.cmsghdr.new(L.IPPROTO_IP, L.IP_TTL, "")) } })
T.is(show(udp:sendmsg(mad)), failed(L.EINVAL), "ancillary data that the kernel refuses: EINVAL")
udp:close()
local listener = net.listener()
T.is(show(listener:recvmsg(into)), failed(L.ENOTCONN), "recvmsg on a listening socket: ENOTCONN")
listener:close()
a, b = net.pair()
T.is(show(a:sendmsg(msg("x", udp_name))), failed(L.EISCONN), "an address on a connected unix stream: EISCONN")

-- Too many, and impossible numbers.
local parts, sizes = {}, {}
for i = 1, 1025 do parts[i], sizes[i] = "x", 1 end
T.is(show(a:writev(parts)), failed(L.EMSGSIZE), "writev of 1,025 parts: EMSGSIZE")
T.is(show(a:readv(sizes)), failed(L.EMSGSIZE), "readv into 1,025 parts: EMSGSIZE")
T.is(show(a:readv {}), failed(L.EINVAL), "readv into nothing: EINVAL")
T.is(show(a:readv { 10, 0 }), failed(L.EINVAL), "readv into a part of 0 bytes: EINVAL")
T.is(show(a:readv { 2^30, 2^30 }), failed(L.EINVAL), "readv of 2^31 bytes: EINVAL")
T.is(show(a:readv({ 1 }, 2^33)), failed(L.EINVAL), "readv with a flag above 32 bits: EINVAL")
T.is(show(a:sendmsg(msg "x", 0.5)), failed(L.EINVAL), "sendmsg with a flag that is no integer: EINVAL")
T.is(show(b:recvmsg(into, L.MSG_DONTWAIT, 0/0)), failed(L.EINVAL), "recvmsg with a second flag that is no number: EINVAL")
local function raises(fn, message, name)
  local ok, why = pcall(fn)
  T.is(not ok and why:match "bad.*", message, name)
end
raises(function() a:readv { 1, "x" } end, "bad argument #1 to 'readv' (number expected, got string)",
  "readv names itself for a wrong size")
raises(function() a:writev { "x", 1 } end, "bad argument #1 to 'writev' (array of strings expected, got number)",
  "writev names itself for a wrong part")
T.is(show(b:recvmsg(into, L.MSG_DONTWAIT)), again(L.EAGAIN), "nothing was sent meanwhile")
a:close(); b:close()

-- A copy that dup's address calls something else is judged by what it is.
a, b = net.tcp()
local copy = assert(b:dup(assert(L.unix.getaddrinfo("/x", L.SOCK_DGRAM))[1]))
a:send "secret"
T.is(show(copy:recvmsg(into, L.MSG_TRUNC)), failed(L.EINVAL), "a stream called a datagram socket: MSG_TRUNC is EINVAL")
T.is(show(copy:sendmsg(msg "")), failed(L.EINVAL), "and nothing at all is EINVAL")
T.is(show(copy:sendfd(0)), failed(L.EOPNOTSUPP), "TCP called a unix socket: descriptors are EOPNOTSUPP")
T.is(show(copy:recvmsg(into)), "6, nil, false", "while bytes are received")
a:close()
T.is(show(copy:recvmsg(into)), "no values", "up to the end")
b:close(); copy:close()
a, b = net.pair()
copy = assert(b:dup(udp_name))
a:sendfd(a)
local passed = assert(copy:recvfd())
T.is(sys.is_cloexec(passed:fd()), true, "a unix socket called IPv4: a descriptor received is close-on-exec")
passed:close(); copy:close()
local abstract, abstract_name = net.bound_at(net.places[4], L.SOCK_DGRAM)
copy = assert(abstract:dup(udp_name))
copy:sendto("x", abstract_name)
copy:recvmsg(into)
T.ok(into:name() == L.addrinfo.new(abstract_name:bytes(), udp_name:socktype()), "and a sender's name is what the kernel says")
abstract:close(); copy:close(); a:close(); b:close()

-- A receive that fails.
a, b = net.pair(L.SOCK_DGRAM, true)
local held = assert(L.msghdr.new())
a:sendfd(a)
b:recvmsg(held)
local object = held:control()[1]:rights()[1]
T.is(show(b:recvmsg(held), #held:control(), held:data()), show(nil, 0, "\0"),
  "a receive that fails empties ancillary data that was asked for, too")
T.ok(object:fd() >= 0, "what was taken of it stays open")
held:control { assert(L.cmsghdr.rights(a)) }
b:recvmsg(held)
T.is(#held:control(), 1, "what is to be sent stays")
object:close(); a:close(); b:close()

-- Once closed.
T.is(show(a:sendmsg(msg "x")), failed(L.EBADF), "sendmsg on a closed socket: EBADF")
T.is(show(a:sendmsg(msg "")), failed(L.EBADF), "also of nothing")
T.is(show(a:recvmsg(into)), failed(L.EBADF), "recvmsg on a closed socket: EBADF")
T.is(show(a:writev { "x" }), failed(L.EBADF), "writev on a closed socket: EBADF")
T.is(show(a:readv { 1 }), failed(L.EBADF), "readv on a closed socket: EBADF")
T.is(leak.count(), before, "no descriptor is left")
T.done()
