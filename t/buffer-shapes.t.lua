-- buffer-shapes: the exact values of every answer of the calls on the caller's memory.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local values = require "values"
local show = values.show
local before = leak.count()
local T = require("tap").plan(36)

local buf = ffi.new "uint8_t[64]"
local a, b = net.pair(L.SOCK_STREAM, true)
T.is(show(a:sendfrom("hello world", 5, 6)), "5, nil, false", "sendfrom answers n, nil, false")
T.is(show(b:recvinto(buf)), "5, nil, false", "recvinto answers n, nil, false")
T.is(ffi.string(buf, 5), "world", "and the bytes are there")
a:sendfrom(buf, 2, 1)
T.is(show(b:recvfrominto(buf, 64)), "2, nil, nil, false", "recvfrominto on a pair answers n, nil, nil, false")
T.is(ffi.string(buf, 2), "or", "the sent bytes begin at the offset")
T.is(show(b:recvinto(buf)), values.again(L.EAGAIN), "recvinto would block: nil, nil, true, EAGAIN")
T.is(show(b:recvfrominto(buf)), values.again_from(L.EAGAIN), "recvfrominto would block: nil, nil, nil, true, EAGAIN")
local _, _, waits = b:events(), b:recvinto(buf), b:events()
T.is(waits, "r", "events tells a loop to wait for reading")

local big = ("y"):rep(16 * 2^20)
local n, err, again = a:sendfrom(big)
T.ok(n > 0 and n < #big and err == nil and again == true, "a long sendfrom to a peer that does not read is partial")
T.is(show(a:sendfrom(big, nil, n)), values.sent_again(L.EAGAIN), "sendfrom would block: 0, nil, true, EAGAIN")
T.is(a:events(), "w", "events tells a loop to wait for writing")
T.is(show(a:sendtofrom(big, nil, net.addr())), values.failed(L.EISCONN), "sendtofrom on a connected unix stream: EISCONN")

a:close()
while b:recvinto(buf) do end
T.is(show(b:recvinto(buf)), "no values", "recvinto from a closed peer: no values")
T.is(show(b:recvfrominto(buf)), "no values", "recvfrominto from a closed peer: no values")
T.is(show(b:sendfrom(buf)), "no values", "sendfrom to a closed peer: no values")
b:close()
T.is(show(b:recvinto(buf)), values.failed(L.EBADF), "recvinto on a closed socket: EBADF")
T.is(show(b:recvfrominto(buf)), values.failed_from(L.EBADF), "recvfrominto on a closed socket: EBADF")
T.is(show(b:sendfrom(buf)), values.failed(L.EBADF), "sendfrom on a closed socket: EBADF")
T.is(show(b:sendtofrom(buf, 1, net.addr())), values.failed(L.EBADF), "sendtofrom on a closed socket: EBADF")

-- Nothing is a message on a datagram socket, and none on a stream.
a, b = net.pair(L.SOCK_STREAM, true)
T.is(show(a:sendfrom(buf, 0)), values.failed(L.EINVAL), "no bytes are no message on a stream")
T.is(show(b:recvinto(buf, 64, 0, L.MSG_TRUNC)), values.failed(L.EINVAL), "MSG_TRUNC is EINVAL on a stream")
T.is(show(b:recvfrominto(buf, 64, nil, 0, L.MSG_TRUNC)), values.failed_from(L.EINVAL), "and in recvfrominto")
a:close(); b:close()
a, b = net.pair(L.SOCK_DGRAM, true)
T.is(show(a:sendfrom(buf, 0)), "0, nil, false", "no bytes are a datagram")
T.is(show(b:recvinto(buf)), "0, nil, false", "which arrives")
a:sendfrom "12345"
T.is(show(b:recvinto(buf, 2, 0, L.MSG_TRUNC)), "5, nil, false", "MSG_TRUNC counts the bytes that were cut")
ffi.fill(buf, 64)
a:sendfrom "12345"
T.is(show(b:recvinto(buf, 3, 60)), "3, nil, false", "a datagram is cut at the size")
T.is(ffi.string(buf + 60, 4), "123\0", "and no byte is written after it")
T.is(show(b:recvinto(buf, 0)), values.failed(L.EINVAL), "a size of 0 is EINVAL")
a:close(); b:close()

-- Addresses.
local one, from = net.bound(L.AF_INET, L.SOCK_DGRAM, true)
local two, to = net.bound(L.AF_INET, L.SOCK_DGRAM, true)
T.is(show(one:sendtofrom("ping", nil, to)), "4, nil, false", "sendtofrom answers n, nil, false")
local len, ai = two:recvfrominto(buf)
T.is(show(len, tostring(ai)), show(4, tostring(from)), "recvfrominto tells the sender")
T.is(ai:socktype(), L.SOCK_DGRAM, "as an address of the socket's type")
two:sendtofrom(buf, 2, ai, 1, L.MSG_DONTWAIT)
local mine = net.addr(L.AF_INET6, L.SOCK_STREAM)
local _, same = one:recvfrominto(buf, nil, mine)
T.ok(rawequal(same, mine), "an address of the caller's is the one answered")
T.is(tostring(mine), tostring(to), "and holds the sender's")
T.is(show(one:recvfrominto(buf, nil, mine)), values.again_from(L.EAGAIN), "a call that fails answers none")
T.is(tostring(mine), tostring(to), "and leaves the caller's as it was")
one:close(); two:close()
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
