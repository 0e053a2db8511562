-- transfer-flags: what the MSG_* flags do, one at a time and together.
local L = require "llsocket"
local net = require "net"
local leak = require "leak"
local values = require "values"
local show, failed, failed_from = values.show, values.failed, values.failed_from
local before = leak.count()
local T = require("tap").plan(68)

-- MSG_PEEK leaves what it shows.
for _, kind in ipairs { { "stream", L.SOCK_STREAM }, { "datagram", L.SOCK_DGRAM }, { "seqpacket", L.SOCK_SEQPACKET } } do
  local name, a, b = kind[1], net.pair(kind[2], true)
  T.is(show(b:recv(16, L.MSG_PEEK)), values.again(L.EAGAIN), name .. ": peeking at nothing says try again")
  a:send "look"
  T.is(show(b:recv(16, L.MSG_PEEK)), '"look", nil, false', name .. ": MSG_PEEK shows the message")
  T.is(show(b:recvfrom(2, L.MSG_PEEK)), '"lo", nil, nil, false', name .. ": as much of it as was asked for")
  T.is(show(b:recv(16)), '"look", nil, false', name .. ": and it is still there")
  T.is(show(b:recv(16)), values.again(L.EAGAIN), name .. ": once")
  a:close(); b:close()
end

-- MSG_DONTWAIT on a blocking socket.
local a, b = net.pair()
T.is(show(b:recv(16, L.MSG_DONTWAIT)), values.again(L.EAGAIN), "MSG_DONTWAIT keeps recv from blocking")
T.is(show(b:recvfrom(16, L.MSG_DONTWAIT)), values.again_from(L.EAGAIN), "MSG_DONTWAIT keeps recvfrom from blocking")
local n = a:send(("x"):rep(16 * 2^20), L.MSG_DONTWAIT)
T.ok(n > 0 and n < 16 * 2^20, "MSG_DONTWAIT makes a long send partial")
T.is(show(a:send("x", L.MSG_DONTWAIT)), values.sent_again(L.EAGAIN), "and a full one say try again")
T.is(b:nonblock(), false, "the socket itself stays blocking")
a:close(); b:close()

-- MSG_WAITALL gathers.
a, b = net.tcp()
a:send "ab"; a:send "cd"; a:send "ef"
T.is(show(b:recv(6, L.MSG_WAITALL)), '"abcdef", nil, false', "MSG_WAITALL waits for all that was asked for")
a:send "gh"; a:close(L.SHUT_WR)
T.is(show(b:recv(6, L.MSG_WAITALL)), '"gh", nil, false', "or for the end")
b:close()

-- MSG_TRUNC: only bytes that arrived.
a, b = net.pair(L.SOCK_DGRAM, true)
a:send "0123456789"
T.is(show(b:recv(4, L.MSG_TRUNC)), '"0123", nil, false', "MSG_TRUNC on a datagram answers what the buffer got")
a:send "0123456789"
T.is(show(b:recvfrom(4, L.MSG_TRUNC)), '"0123", nil, nil, false', "so for recvfrom")
a:send "0123456789"
T.is(show(b:recv(4, L.MSG_TRUNC, L.MSG_PEEK)), '"0123", nil, false', "so together with MSG_PEEK")
T.is(show(b:recv(4)), '"0123", nil, false', "without it the datagram is cut as well")
T.is(show(b:recv(4)), values.again(L.EAGAIN), "and the rest is gone")
local long = ("long"):rep(25000)
a:sndbuf(400000)
a:send(long)
T.is(#b:recv(70000, L.MSG_TRUNC), 70000, "so for a large buffer")
a:send "x"
T.is(show(b:recv(4, L.MSG_TRUNC)), '"x", nil, false', "a shorter datagram is whole")
a:send ""
T.is(show(b:recv(4, L.MSG_TRUNC)), '"", nil, false', "an empty one is empty")
a:close(); b:close()
a, b = net.pair(L.SOCK_SEQPACKET, true)
a:send "0123456789"
T.is(show(b:recv(4, L.MSG_TRUNC)), '"0123", nil, false', "MSG_TRUNC on a seqpacket answers what the buffer got")
a:close(); b:close()
a, b = net.bound(L.AF_INET, L.SOCK_DGRAM)
a:sendto("0123456789", b)
T.is(show((a:recv(4, L.MSG_TRUNC))), '"0123"', "MSG_TRUNC on UDP returns the bytes in the buffer")
a:close()
for _, make in ipairs { net.tcp, net.pair } do
  a, b = make()
  local name = make == net.tcp and "TCP" or "a unix stream"
  a:send "secret"
  T.is(show(b:recv(6, L.MSG_TRUNC)), failed(L.EINVAL), "MSG_TRUNC on " .. name .. " is EINVAL")
  T.is(show(b:recv(6, L.MSG_PEEK, L.MSG_TRUNC)), failed(L.EINVAL), "MSG_TRUNC on " .. name .. " is EINVAL, as the second flag")
  T.is(show(b:recvfrom(6, L.MSG_TRUNC + L.MSG_DONTWAIT)), failed_from(L.EINVAL), "MSG_TRUNC on " .. name .. " is EINVAL in a sum")
  T.is(b:recv(), "secret", "and takes nothing from " .. name)
  a:close(); b:close()
end

a, b = net.tcp()
local copy = assert(b:dup(net.addr(L.AF_INET, L.SOCK_DGRAM)))
a:send "secret"
T.is(copy:socktype(), L.SOCK_DGRAM, "dup may give a copy another type")
T.is(show(copy:recv(6, L.MSG_TRUNC)), failed(L.EINVAL), "MSG_TRUNC follows the socket's real type")
T.is(copy:recv(), "secret", "and takes nothing from it")
a:close()
T.is(show(copy:recv()), "no values", "so is its end")
T.is(show(copy:send ""), failed(L.EINVAL), "and the send of nothing")
b:close(); copy:close()

-- MSG_OOB, atmark and oobinline.
a, b = net.tcp()
T.is(show(b:recv(1, L.MSG_OOB)), failed(L.EINVAL), "out-of-band: none sent is EINVAL")
a:send "abc"
T.is(show(a:send("!", L.MSG_OOB)), "1, nil, false", "out-of-band: a byte is sent")
a:send "def"
T.ok(net.await(function() return b:recv(1, L.MSG_OOB, L.MSG_PEEK) == "!" end), "out-of-band: MSG_PEEK shows it")
T.is(b:atmark(), false, "out-of-band: not at the mark before the bytes ahead of it are read")
T.is(show(b:recv(1, L.MSG_OOB)), '"!", nil, false', "out-of-band: MSG_OOB takes it ahead of them")
T.is(show(b:recv(64)), '"abc", nil, false', "out-of-band: a recv stops at the mark")
T.is(b:atmark(), true, "out-of-band: now at the mark")
T.is(show(b:recv(64)), '"def", nil, false', "out-of-band: the stream goes on without the byte")
T.is(b:atmark(), false, "out-of-band: the mark is behind")
a:close(); b:close()
a, b = net.tcp()
T.is(b:oobinline(true), true, "in line: oobinline is set")
a:send "abc"; a:send("!", L.MSG_OOB); a:send "def"
net.await(function() return #(b:recv(64, L.MSG_PEEK) or "") == 3 end)
T.is(b:recv(64), "abc", "in line: a recv stops at the mark")
T.is(b:atmark(), true, "in line: at the mark")
T.is(show(b:recv(1, L.MSG_OOB)), failed(L.EINVAL), "in line: MSG_OOB is EINVAL")
T.is(b:recv(4, L.MSG_WAITALL), "!def", "in line: the byte is in the stream")
a:close()
T.is(show(b:atmark()), "false", "in line: at the end is not at the mark")
b:close()
T.is(show(b:atmark()), show(nil, require("llsocket.errno").text(L.EBADF), L.EBADF), "atmark on a closed socket is EBADF")

-- Several flags.
a, b = net.pair(L.SOCK_DGRAM)
T.is(show(a:send("many", L.MSG_DONTWAIT, L.MSG_NOSIGNAL or 0, L.MSG_EOR)), "4, nil, false", "send takes three flags")
T.is(show(b:recv(16, L.MSG_PEEK, L.MSG_DONTWAIT)), '"many", nil, false', "recv takes two")
T.is(show(b:recv(16, 0, L.MSG_PEEK, 0, L.MSG_DONTWAIT)), '"many", nil, false', "recv takes four, wherever the 0 stands")
T.is(show(b:recv(16, nil, L.MSG_DONTWAIT)), '"many", nil, false', "a nil before a flag is none")
T.is(show(b:recvfrom(16, L.MSG_PEEK, L.MSG_DONTWAIT)), values.again_from(L.EAGAIN), "recvfrom takes two")
T.is(show(b:recv(16, -2^31, 2^33)), failed(L.EINVAL), "one that is no 32-bit word spoils them all")
a:close(); b:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
