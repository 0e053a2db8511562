-- rights-object: what received descriptors become: sockets of the right kind, llsocket.descriptor, close-on-exec.
local ffi = require "ffi"
local L = require "llsocket"
local shim = require "llsocket.shim"
local net = require "net"
local proc = require "proc"
local sys = require "sys"
local leak = require "leak"
local rights = require "rights"
local text = require("llsocket.errno").text
local values = require "values"
local show = values.show
local before = leak.count()

ffi.cdef [[
int llsocket_t_fdread(int fd, void *buf, size_t n) __asm__("read");
int llsocket_t_fdwrite(int fd, const void *buf, size_t n) __asm__("write");
]]
local C = ffi.C

local SOCKETS = {
  { "TCP", net.addr(), L.AF_INET, L.SOCK_STREAM, L.IPPROTO_TCP },
  { "UDP", net.addr(L.AF_INET, L.SOCK_DGRAM), L.AF_INET, L.SOCK_DGRAM, L.IPPROTO_UDP },
  { "unix stream", L.unix.getaddrinfo("")[1], L.AF_UNIX, L.SOCK_STREAM, 0 },
  { "unix dgram", L.unix.getaddrinfo("", L.SOCK_DGRAM)[1], L.AF_UNIX, L.SOCK_DGRAM, 0 },
  { "unix seqpacket", L.unix.getaddrinfo("", L.SOCK_SEQPACKET)[1], L.AF_UNIX, L.SOCK_SEQPACKET, 0 },
}

local path = net.tmpdir() .. "/file"
local pipe_r, pipe_w = rights.pipe()
local file = assert(io.open(path, "w+"))
file:write("in the file")
file:flush()
local OTHERS = { { "a file", file }, { "a pipe's read end", pipe_r }, { "a pipe's write end", pipe_w },
  { "an eventfd", rights.eventfd() } }

local T = require("tap").plan(#SOCKETS * 8 + #OTHERS * 6 + 28)

local a, b = net.pair()

-- What b gets when a sends.
local function pass(object)
  assert(a:sendfd(object) == 1)
  return assert(b:recvfd())
end

local function class(object) return tostring(object):match "^[^:]*" end

for _, row in ipairs(SOCKETS) do
  for _, nonblock in ipairs { false, true } do
    local sock = assert(L.socket.new(row[2], nonblock))
    local got = pass(sock)
    local name = row[1] .. (nonblock and ", non-blocking" or "")
    T.is(class(got), "llsocket.socket", name .. ": it becomes a socket")
    T.is(show(got:family(), got:socktype(), got:protocol()), show(row[3], row[4], row[5]), name .. ": of the right kind")
    T.is(got:nonblock(), nonblock, name .. ": and state")
    T.ok(got:fd() ~= sock:fd() and sys.is_cloexec(got:fd()), name .. ": close-on-exec, by another number")
    got:close(); sock:close()
  end
end

for _, row in ipairs(OTHERS) do
  if not row[2] then
    T.skip(6, "this system has no eventfd")
  else
    local got = pass(row[2])
    local fd = got:fd()
    T.is(tostring(got), "llsocket.descriptor: fd " .. fd, row[1] .. " becomes a descriptor")
    T.ok(sys.is_cloexec(fd), row[1] .. ": close-on-exec")
    T.is(show(got:close()), "no values", row[1] .. ": close() has nothing to tell")
    T.ok(not sys.is_open(fd), row[1] .. ": it is closed")
    T.is(show(got:close()), "no values", row[1] .. ": closing twice is harmless")
    T.is(tostring(got), "llsocket.descriptor: fd -1", row[1] .. ": a closed one's number is -1")
  end
end

-- They are what was sent.
do
  local r, w, f = pass(pipe_r), pass(pipe_w), pass(file)
  local out = ffi.new "char[32]"
  assert(C.llsocket_t_fdwrite(w:fd(), "through", 7) == 7)
  T.is(ffi.string(out, C.llsocket_t_fdread(r:fd(), out, 32)), "through", "a received pipe is the pipe that was sent")
  file:seek("set", 3)
  T.is(ffi.string(out, C.llsocket_t_fdread(f:fd(), out, 32)), "the file", "a received file shares its position")
  local x, y = net.pair()
  assert(a:sendfd(x))
  local x2 = assert(b:recvfd())
  x:close()
  x2:send "to y"
  T.is(y:recv(), "to y", "a received socket has the connection")
  r:close(); w:close(); f:close(); x2:close(); y:close()
end

-- A socket's methods work on a received one: it is a listener here.
do
  local listener, ai = net.listener()
  local got = pass(listener)
  listener:close()
  local client = assert(L.socket.new(ai))
  T.is(client:connect(), nil, "a received listener listens")
  local server = assert(got:accept())
  server:send "hello"
  T.is(client:recv(), "hello", "and accepts")
  T.is(tostring(got:getsockname()), tostring(ai), "and knows its address")
  got:close(); client:close(); server:close()
end

-- One closed, and one given up.
do
  local got = pass(pipe_r)
  local fd = got:fd()
  T.is(show(got:unwrap()), tostring(fd), "unwrap() answers the number")
  T.ok(sys.is_open(fd), "and leaves it open")
  T.is(got:fd(), -1, "the object no longer has it")
  got = nil -- luacheck: ignore
  collectgarbage(); collectgarbage()
  T.ok(sys.is_open(fd), "and its collection does not close it")
  sys.close(fd)

  got = pass(pipe_r)
  got:close()
  T.is(show(got:unwrap()), show(nil, text(L.EBADF), L.EBADF), "unwrap() of a closed one is EBADF")
  T.is(got:fd(), -1, "fd() of a closed one is -1")
  T.is(show(a:sendfd(got)), values.failed(L.EBADF), "sendfd of a closed one is EBADF")
  T.is(show(L.cmsghdr.rights(got)), show(nil, text(L.EBADF), L.EBADF), "rights() of a closed one is EBADF")
end

-- The collector closes once: the next owner of the number keeps it.
do
  local got = pass(pipe_r)
  local fd = got:fd()
  got:close()
  local other = sys.copy(pipe_r, fd)
  T.is(other, fd, "the number is another's after close()")
  got = nil -- luacheck: ignore
  collectgarbage(); collectgarbage()
  T.ok(sys.is_open(fd), "and the collector leaves it alone")
  sys.close(other)

  got = pass(pipe_r)
  fd = got:fd()
  got = nil -- luacheck: ignore
  collectgarbage(); collectgarbage()
  T.ok(not sys.is_open(fd), "the collector closes one that is dropped")
  got = pass(pipe_r)
  fd = got:fd()
  local copy = ffi.new(ffi.typeof(got), got)
  T.is(copy:fd(), fd, "a copy of the object tells the number")
  copy = nil -- luacheck: ignore
  collectgarbage(); collectgarbage()
  T.ok(sys.is_open(fd), "and does not own it")
  ffi.errno(L.ENOTCONN)
  got = nil -- luacheck: ignore
  collectgarbage(); collectgarbage()
  T.is(ffi.errno(), L.ENOTCONN, "the collector leaves errno as it was")
end

-- A real exec: the program lists what it has.
local function inherited() return (proc.lua "print((require('rights').open()))") end
do
  local without = inherited()
  local got = { pass(pipe_r), pass(pipe_w), pass(a), pass(file) }
  local mh = assert(L.msghdr.new())
  a:sendmsg(rights.message(pipe_r, 3))
  b:recvmsg(mh)
  T.is(inherited(), without, "a program that is executed has none of them, taken or not")
  shim.llsocket2_fcntl(got[2]:fd(), L.F_SETFD, 0)
  T.ok(inherited() ~= without, "unless close-on-exec is taken off, so that test can fail")
  for _, object in ipairs(got) do object:close() end
end
-- Names and arguments.
do
  local got = pass(pipe_r)
  T.is(got.nothing, nil, "an unknown name is nil")
  T.is(got.send, nil, "a descriptor has no send")
  for _, method in ipairs { "fd", "unwrap", "close" } do
    local _, err = pcall(function() L.descriptor.methods[method](a) end)
    local want = ("calling '%s' on bad self (llsocket.descriptor expected, got cdata)"):format(method)
    T.is(tostring(err):match "^.-rights%-object.t.lua:%d+: (.*)$", want, method .. " of another object raises")
  end
  got:close()
end

a:close(); b:close(); file:close()
sys.close(pipe_r); sys.close(pipe_w)
if OTHERS[4][2] then sys.close(OTHERS[4][2]) end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
