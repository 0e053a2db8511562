-- rights-python: descriptors and credentials to and from Python 3's socket module, in another process.
local bit = require "bit"
local ffi = require "ffi"
local L = require "llsocket"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local sys = require "sys"
local leak = require "leak"
local rights = require "rights"
local before = leak.count()
local PLAN = 32
local T = require("tap").plan(PLAN)

ffi.cdef [[
int llsocket_t_pyread(int fd, void *buf, size_t n) __asm__("read");
int llsocket_t_pywrite(int fd, const void *buf, size_t n) __asm__("write");
]]

local SCRIPT = [[
import os, socket, stat, struct, sys
sock = socket.socket(fileno=int(sys.argv[1]))
def say(*words):
    print(*words, flush=True)

# 1: several descriptors come
data, fds, flags, name = socket.recv_fds(sock, 100, 10)
say(data.decode(), len(fds), "cut" if flags & socket.MSG_CTRUNC else "whole")
kinds = [stat.S_IFMT(os.fstat(fd).st_mode) for fd in fds]
say(kinds == [stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFREG])
os.write(fds[0], b"from python by the pipe")
socket.socket(fileno=fds[1]).send(b"from python by the socket")
say(os.read(fds[2], 36).decode())
os.close(fds[0]); os.close(fds[2])

# 2: into too small a room
data, fds, flags, name = socket.recv_fds(sock, 100, 1)
say(data.decode(), len(fds) <= 2, bool(flags & socket.MSG_CTRUNC))
for fd in fds: os.close(fd)

# 3: several go
a, b = socket.socketpair()
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(("127.0.0.1", 0))
r, w = os.pipe()
f = open(sys.argv[2], "w+")
f.write("python's file"); f.flush(); f.seek(0)
socket.send_fds(sock, [b"several"], [a.fileno(), u.fileno(), r, f.fileno()])
b.send(b"by python's socket"); os.write(w, b"by python's pipe")
say(u.getsockname()[1])

# 4: more than there is room for, then 253, then one for recvfd, then two
socket.send_fds(sock, [b"five"], [r] * 5)
socket.send_fds(sock, [b"all"], [r] * 253)
socket.send_fds(sock, [b"1"], [r])
socket.send_fds(sock, [b"2"], [r, w])
data, fds, flags, name = socket.recv_fds(sock, 100, 10)
say(data, len(fds), os.read(fds[0], 100).decode())

# 5: credentials
sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
say("ready")
data, anc, flags, name = sock.recvmsg(100, 256)
say(data.decode(), [(l == socket.SOL_SOCKET, t == socket.SCM_CREDENTIALS) + struct.unpack("3i", d) for l, t, d in anc])
cred = struct.pack("3i", os.getpid(), os.getuid(), os.getgid())
sock.sendmsg([b"it ", b"is ", b"me"], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, cred)])
say(os.getpid(), os.getuid(), os.getgid())
]]

local script = net.tmpdir() .. "/peer.py"
local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

local function finish()
  net.cleanup()
  T.is(leak.count(), before, "no descriptor is left")
  T.done()
end

local _, has = proc.run "python3 -c 'import socket; socket.send_fds, socket.SO_PASSCRED'"
if not has then
  T.skip(PLAN - 1, "there is no python3 with send_fds")
  finish()
end

write(script, SCRIPT)
local sock, far = net.pair(L.SOCK_SEQPACKET)
sock:rcvtimeo(20)
far:cloexec(false)
local python = assert(io.popen(shell.format("exec python3 %q %d %q.txt", script, far:fd(), script)))
far:close()
local base, count = rights.open()

local buf = ffi.new "char[100]"
local function read(fd) return ffi.string(buf, ffi.C.llsocket_t_pyread(fd, buf, 100)) end
local function line() return python:read "*l" end
local function close(objects) for _, object in ipairs(objects) do object:close() end end

-- 1
do
  local r, w = rights.pipe()
  local x, y = net.pair()
  local file = assert(io.open(script, "r"))
  local cmsg = assert(L.cmsghdr.rights(w, y, file))
  local mh = assert(L.msghdr.new { data = { "th", "ree" }, control = { cmsg } })
  T.is(sock:sendmsg(mh), 5, "a pipe, a socket and a file go to Python")
  sys.close(w); y:close()
  T.is(line(), "three 3 whole", "recv_fds gets three, uncut")
  T.is(line(), "True", "of the right kinds, in their order")
  T.is(line(), "import os, socket, stat, struct, sys", "Python reads the file")
  T.is(read(r), "from python by the pipe", "and writes into the pipe")
  T.is(x:recv(), "from python by the socket", "and sends by the socket")
  T.is(x:recv(), nil, "which it closed")
  sys.close(r); x:close(); file:close()
end

-- 2
do
  local r, w = rights.pipe()
  sock:sendmsg(rights.message(r, 5, "five"))
  T.is(line(), "five True True", "with capacity for one, recv_fds gets MSG_CTRUNC")
  sys.close(r); sys.close(w)
end

-- 3
do
  local mh = assert(L.msghdr.new())
  T.is(sock:recvmsg(mh), 7, "four descriptors come from send_fds")
  T.is(mh:data(), "several", "with their data")
  local objects, cmsg = rights.objects(mh), mh:control()[1]
  T.is(#objects, 4, "four objects")
  T.ok(cmsg:level() == L.SOL_SOCKET and cmsg:type() == L.SCM_RIGHTS, "in one header")
  local stream, udp, pipe, file = unpack(objects)
  T.ok(stream:family() == L.AF_UNIX and stream:socktype() == L.SOCK_STREAM, "a unix stream")
  T.is(stream:recv(), "by python's socket", "that works")
  T.ok(udp:family() == L.AF_INET and udp:socktype() == L.SOCK_DGRAM, "a UDP socket")
  T.is(tostring(udp:getsockname()), "127.0.0.1:" .. tostring(line()), "with its address")
  T.is(read(pipe:fd()), "by python's pipe", "a pipe")
  T.is(read(file:fd()), "python's file", "a file")
  T.ok(sys.is_cloexec(stream:fd()) and sys.is_cloexec(pipe:fd()) and sys.is_cloexec(file:fd()), "all close-on-exec")
  close(objects)
  T.is(rights.open(), base, "and closed again")
end

-- 4
do
  local small = assert(L.msghdr.new { controlsize = rights.cmsg_len(8) })
  sock:recvmsg(small)
  local objects = rights.objects(small)
  T.is(#objects, 2, "with capacity for two, two of five arrive")
  T.ok(bit.band(small:flags(), L.MSG_CTRUNC) ~= 0, "and MSG_CTRUNC tells so")
  close(objects)
  local mh = assert(L.msghdr.new())
  sock:recvmsg(mh)
  T.is(select(2, rights.open()), count + 253, "253 come at once")
  close(rights.objects(mh))
  local one = assert(sock:recvfd())
  T.is(tostring(one):match "^%S+", "llsocket.descriptor:", "recvfd gets Python's one")
  one:close()
  one = assert(sock:recvfd())
  one:close()
  T.is(rights.open(), base, "and the first of two, the other is closed")
  local r, w = rights.pipe()
  ffi.C.llsocket_t_pywrite(w, "by lua's pipe", 13)
  sock:sendfd(r)
  T.is(line(), "b'\\x00' 1 by lua's pipe", "recv_fds gets what sendfd sends")
  sys.close(r); sys.close(w)
end

-- 5
do
  T.is(line(), "ready", "Python asks for credentials")
  local own = assert(L.cmsghdr.credentials())
  local cred = own:credentials()
  sock:sendmsg(assert(L.msghdr.new { data = "who", control = { own } }))
  local want = ("who [(True, True, %d, %d, %d)]"):format(proc.getpid(), cred.uid, cred.gid)
  T.is(line(), want, "and gets this process's")
  sock:passcred(true)
  local mh = assert(L.msghdr.new())
  sock:recvmsg(mh)
  T.is(mh:data(), "it is me", "Python's gathered message comes")
  cred = mh:control()[1]:credentials()
  T.is(("%d %d %d"):format(cred.pid, cred.uid, cred.gid), line(), "with its credentials")
end

T.is(line(), nil, "Python ends")
python:close()
sock:close()
finish()
