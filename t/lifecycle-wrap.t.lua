-- lifecycle-wrap: taking descriptors over, borrowing them, giving them up; numbers 0 and above 1023.
local L = require "llsocket"
local libc = require "llsocket.core.libc"
local net = require "net"
local proc = require "proc"
local sys = require "sys"
local leak = require "leak"
local T = require("tap").plan(53)
local before = leak.count()
local socket = L.socket

-- A bare descriptor: a copy of a socket that is closed.
local function bare(sock, least)
  local fd = sys.copy(sock:fd(), least)
  sock:close()
  return fd
end

local function refused(want, name, ...)
  local n, none, err, e = select("#", ...), ...
  T.ok(n == 3 and none == nil and type(err) == "string" and e == want, name)
end

-- what wrap reads
local made = {
  { "tcp", net.addr(), L.AF_INET, L.SOCK_STREAM, L.IPPROTO_TCP },
  { "udp", net.addr(L.AF_INET, L.SOCK_DGRAM), L.AF_INET, L.SOCK_DGRAM, L.IPPROTO_UDP },
  { "unix", L.unix.getaddrinfo("", L.SOCK_SEQPACKET)[1], L.AF_UNIX, L.SOCK_SEQPACKET, 0 },
}
for _, row in ipairs(made) do
  local fd = bare(assert(socket.new(row[2])))
  local s = assert(socket.wrap(fd))
  T.is(s:fd(), fd, row[1] .. ": wrap keeps the number")
  T.is(s:family(), row[3], row[1] .. ": wrap reads the family")
  T.is(s:socktype(), row[4], row[1] .. ": wrap reads the type")
  T.is(s:protocol(), row[5], row[1] .. ": wrap reads the protocol")
  T.ok(sys.is_cloexec(fd), row[1] .. ": wrap sets close-on-exec")
  s:close()
  T.ok(not sys.is_open(fd), row[1] .. ": close closes it")
end

-- O_NONBLOCK: nil leaves it, true and false set it
for _, case in ipairs { { false, nil, false }, { true, nil, true }, { false, true, true }, { true, false, false } } do
  local fd = bare(assert(socket.new(net.addr(), case[1])))
  local s = assert(socket.wrap(fd, case[2]))
  local name = ("wrap(fd, %s) of a descriptor whose O_NONBLOCK is %s"):format(tostring(case[2]), tostring(case[1]))
  T.is(sys.is_nonblock(fd), case[3], name)
  s:close()
end

-- a wrapped listener passes its state to what it accepts
local listener, ai = net.listener(L.AF_INET, true)
local wrapped = assert(socket.wrap(bare(listener)))
local client = assert(socket.new(ai))
client:connect()
local server = assert(wrapped:accept())
T.is(sys.is_nonblock(server:fd()), true, "wrap reads O_NONBLOCK, and accept inherits it")
T.is(select(2, wrapped:bind()), L.EINVAL, "a wrapped socket has no address of a constructor: bind() is EINVAL")
wrapped:close(); client:close(); server:close()

-- borrowing
local fd = bare(assert(socket.new(net.addr())))
local s = assert(socket.wrap(fd, { own = false }))
T.ok(not sys.is_cloexec(fd), "a borrowed descriptor keeps its close-on-exec flag")
T.is(s:socktype(), L.SOCK_STREAM, "a borrowed descriptor's type is read")
T.is(s:close(), nil, "closing a borrowed one is no error")
T.ok(sys.is_open(fd) and s:fd() == -1, "it stays open, and the object is closed")
s = assert(socket.wrap(fd, { own = false, nonblock = true })) -- luacheck: ignore
T.ok(sys.is_nonblock(fd), "a borrowed descriptor can be made non-blocking")
local copy = assert(s:dup())
s = nil -- luacheck: ignore
collectgarbage(); collectgarbage()
T.ok(sys.is_open(fd), "the collector does not close it")
local copyfd = copy:fd()
copy = nil -- luacheck: ignore
collectgarbage(); collectgarbage()
T.ok(not sys.is_open(copyfd), "a copy of a borrowed one is owned")
T.ok(assert(socket.wrap(fd, { own = true })):close() == nil and not sys.is_open(fd), "{ own = true } owns")
local a, b = net.pair()
s = assert(socket.wrap(a:fd(), { own = false }))
s:close(L.SHUT_WR)
T.is(select("#", b:recv()), 0, "close(flag) shuts a borrowed one down all the same")
T.ok(sys.is_open(a:fd()), "and leaves it open")
a:close(); b:close()

-- failures
local pipe = assert(io.open "/dev/null")
local file = libc.llsocket2_fileno(pipe)
refused(L.ENOTSOCK, "wrap of a file: ENOTSOCK", socket.wrap(file))
refused(L.ENOTSOCK, "borrowing a file: ENOTSOCK", socket.wrap(file, { own = false }))
collectgarbage(); collectgarbage()
T.ok(sys.is_open(file), "the file stays open")
local plain = sys.copy(file)
socket.wrap(plain, true)
T.ok(not sys.is_cloexec(plain) and not sys.is_nonblock(plain), "and keeps its flags")
sys.close(plain)
pipe:close()
refused(L.EBADF, "wrap of -1: EBADF", socket.wrap(-1))
refused(L.EBADF, "wrap of a number that is not open: EBADF", socket.wrap(4090))
refused(L.EINVAL, "wrap of 2^32: EINVAL", socket.wrap(2^32))
refused(L.EINVAL, "wrap of 1.5: EINVAL", socket.wrap(1.5))
T.is(pcall(socket.wrap, 0, { own = 0 }), false, "an `own` that is no boolean raises")

-- unwrap
s = assert(socket.new(net.addr()))
fd = s:fd()
T.is(s:unwrap(), fd, "unwrap answers the number")
T.is(s:fd(), -1, "the object is closed")
refused(L.EBADF, "a second unwrap: EBADF", s:unwrap())
T.is(s:close(), nil, "its close does nothing")
s = nil -- luacheck: ignore
collectgarbage(); collectgarbage()
T.ok(sys.is_open(fd), "after unwrap neither close nor collector close the descriptor")
sys.close(fd)

-- Whether a pair made here carries bytes, waits and closes.
local function works(x, y)
  return x:sendable(0) == true and y:recvable(0) == false and x:send "hi" == 2 and y:recvable(1) == true
    and y:recv() == "hi" and x:close() == nil and select("#", y:recv()) == 0 and y:close() == nil
end

-- number 0
local child = proc.fork(function()
  sys.close(0)
  local socks = assert(socket.pair(L.SOCK_STREAM))
  assert(socks[1]:fd() == 0, "the first free number is 0")
  assert(tostring(socks[1]:getsockname()) == "unix:", "getsockname of 0")
  return works(socks[1], socks[2]) and not sys.is_open(0)
end)
T.is(proc.wait(child), 0, "a descriptor numbered 0 is as good as any")
child = proc.fork(function()
  sys.close(0)
  assert(assert(socket.new(net.addr())):fd() == 0)
  collectgarbage(); collectgarbage()
  if sys.is_open(0) then return false end
  local l, there = net.listener()
  local c = assert(socket.new(there))
  assert(l:fd() == 0 and c:connect() == nil)
  local peer = assert(l:accept())
  assert(l:close() == nil and assert(socket.new(net.addr())):fd() == 0)
  return works(peer, c)
end)
T.is(proc.wait(child), 0, "the collector closes number 0 too")

-- above 1023
local old = sys.limit_descriptors(4000)
if old then
  a, b = net.pair()
  local x, y = assert(socket.wrap(bare(a, 1500))), assert(socket.wrap(bare(b, 3000)))
  T.ok(x:fd() >= 1500 and y:fd() >= 3000, "descriptors above 1023 can be wrapped")
  T.ok(works(x, y), "they wait, send, receive and close")
  sys.limit_descriptors(old)
else
  T.skip(2, "this process may not have 4000 descriptors")
end
T.is(leak.count(), before, "no descriptor is left")
T.done()
