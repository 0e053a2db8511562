-- lifecycle-flags: new, pair, dup, accept and wrap: flags, family, type and protocol of their sockets; how they fail.
local L = require "llsocket"
local net = require "net"
local proc = require "proc"
local sys = require "sys"
local leak = require "leak"
local T = require("tap").plan(63)
local before = leak.count()
local socket = L.socket

local function flags(sock)
  return (sys.is_cloexec(sock:fd()) and "cloexec" or "-") .. " " .. (sys.is_nonblock(sock:fd()) and "nonblock" or "-")
end

local tcp, udp = net.addr(), net.addr(L.AF_INET, L.SOCK_DGRAM)

-- new
local s = assert(socket.new(tcp))
T.is(flags(s), "cloexec -", "new sets close-on-exec and blocks")
T.is(s:family(), L.AF_INET, "new takes the family of its address")
T.is(s:socktype(), L.SOCK_STREAM, "new takes the type")
T.is(s:protocol(), L.IPPROTO_TCP, "new takes the protocol")
T.is(s:getsockopt(L.SOL_SOCKET, L.SO_TYPE, "int"), L.SOCK_STREAM, "the kernel made a stream")
T.is(tostring(s), "llsocket.socket: fd " .. s:fd(), "tostring tells the descriptor")
s:close()
s = assert(socket.new(udp, false))
T.is(flags(s), "cloexec -", "new(ai, false) blocks")
T.is(s:getsockopt(L.SOL_SOCKET, L.SO_TYPE, "int"), L.SOCK_DGRAM, "the kernel made a datagram socket")
s:close()
s = assert(socket.new(tcp, true))
T.is(flags(s), "cloexec nonblock", "new(ai, true) does not block")
T.is(s:nonblock(), true, "nonblock() reads it")
T.is(s:cloexec(), true, "cloexec() reads it")

-- cloexec and nonblock
T.is(s:nonblock(false), false, "nonblock(false) answers false")
T.is(flags(s), "cloexec -", "nonblock(false) clears O_NONBLOCK alone")
T.is(s:cloexec(false), false, "cloexec(false) answers false")
T.is(flags(s), "- -", "cloexec(false) clears FD_CLOEXEC")
T.is(s:nonblock(true), true, "nonblock(true) answers true")
T.is(flags(s), "- nonblock", "nonblock(true) sets O_NONBLOCK alone")
local seen = "readlink /proc/$$/fd/%d"
if sys.has_proc then
  T.ok(proc.run(seen:format(s:fd())):find "^socket:", "without it a program inherits the socket")
else T.skip(1, "/proc is missing, which shows a child's descriptors") end
T.is(s:cloexec(true), true, "cloexec(true) answers true")
T.is((proc.run(seen:format(s:fd()))), "", "with it a program does not")
s:close()
T.is(select(3, s:cloexec()), L.EBADF, "cloexec on a closed socket: EBADF")
T.is(select(3, s:cloexec(true)), L.EBADF, "cloexec(true) on a closed socket: EBADF")
T.is(select(3, s:nonblock()), L.EBADF, "nonblock on a closed socket: EBADF")
T.is(select(3, s:nonblock(false)), L.EBADF, "nonblock(false) on a closed socket: EBADF")

-- pair
for _, case in ipairs { { L.SOCK_STREAM, nil, "cloexec -" }, { L.SOCK_DGRAM, true, "cloexec nonblock" },
                        { L.SOCK_SEQPACKET, false, "cloexec -" } } do
  local a, b = net.pair(case[1], case[2])
  local name = ("pair(%d, %s)"):format(case[1], tostring(case[2]))
  T.is(flags(a), case[3], name .. " sets the flags of the first")
  T.is(flags(b), case[3], name .. " sets the flags of the second")
  T.ok(a:family() == L.AF_UNIX and b:family() == L.AF_UNIX, name .. " makes unix sockets")
  T.ok(a:socktype() == case[1] and b:socktype() == case[1], name .. " remembers the type")
  T.is(b:getsockopt(L.SOL_SOCKET, L.SO_TYPE, "int"), case[1], name .. " makes the type")
  T.is(a:protocol(), 0, name .. " has protocol 0")
  a:send "x"
  T.is(b:recv(), "x", name .. " is connected")
  T.ok(a:fd() ~= b:fd(), name .. " has two descriptors")
  a:close(); b:close()
end
local socks = assert(socket.pair(bit.bor(L.SOCK_STREAM, L.SOCK_NONBLOCK or 0)))
T.is(socks[1]:socktype(), L.SOCK_STREAM, "a flag in the type is no part of the type")
T.is(socks[1]:nonblock(), L.SOCK_NONBLOCK ~= nil, "a flag in the type is heeded")
socks[1]:close(); socks[2]:close()

-- failures
local function refused(want, name, ...)
  local n, none, err, e = select("#", ...), ...
  T.ok(n == 3 and none == nil and type(err) == "string" and e == want, name)
end

refused(L.EINVAL, "pair of a type that is no integer: EINVAL", socket.pair(1.5))
refused(L.EINVAL, "pair with a protocol beyond 32 bits: EINVAL", socket.pair(L.SOCK_STREAM, nil, 2^32))
refused(L.EPROTONOSUPPORT, "pair with an unknown protocol: EPROTONOSUPPORT", socket.pair(L.SOCK_STREAM, nil, 77))
refused(L.ESOCKTNOSUPPORT, "pair of an unsupported type: ESOCKTNOSUPPORT", socket.pair(L.SOCK_RDM))
refused(L.EPROTONOSUPPORT, "new with an unknown protocol: EPROTONOSUPPORT",
  socket.new(assert(L.unix.getaddrinfo("x", L.SOCK_STREAM, 77))[1]))
T.is(leak.count(), before, "failures leave no descriptor")

-- dup
local from = assert(socket.new(tcp, true))
local copy = assert(from:dup())
T.is(flags(copy), "cloexec nonblock", "dup sets close-on-exec and shares O_NONBLOCK")
T.ok(copy:fd() ~= from:fd() and copy:fd() >= 0, "dup has a descriptor of its own")
T.ok(copy:family() == L.AF_INET and copy:socktype() == L.SOCK_STREAM and copy:protocol() == L.IPPROTO_TCP,
  "dup() keeps family, type and protocol")
T.is(from:close(), nil, "the original closes")
T.ok(sys.is_open(copy:fd()) and copy:bind() == nil, "the copy lives on, with the constructor's address")
copy:close()
refused(L.EBADF, "dup of a closed socket: EBADF", from:dup())
T.is(leak.count(), before, "no descriptor is left")
T.done()
