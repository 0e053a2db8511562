-- rights-pidfd: who is at the other end: processes as descriptors that are owned and never leak, groups, and refused descriptors.
local bit = require "bit"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local rights = require "rights"
local shell = require "shell"
local signature = require "signature"
local sys = require "sys"
local values = require "values"
local show, text = values.show, require("llsocket.errno").text
local pack, line = signature.pack, signature.line
local before = leak.count()

local PLAN = 57
local T = require("tap").plan(PLAN)
local KINDS = { "SOCK_STREAM", "SOCK_DGRAM", "SOCK_SEQPACKET" }
local function failed(e) return show(nil, text(e), e) end

do
  local a, b = net.pair(L.SOCK_STREAM)
  local pidfd, why, e = a:peerpidfd()
  if pidfd then why, e = nil, select(3, a:passpidfd(true)) end
  a:close(); b:close()
  if e == L.ENOPROTOOPT or not io.open "/proc/self/fdinfo/0" then
    T.skip(PLAN, "this kernel tells no process as a descriptor: " .. tostring(why))
    T.done()
  end
end

-- The process of a pidfd, as the kernel tells it; -1 once it has ended.
local function process(pidfd)
  local file = assert(io.open("/proc/self/fdinfo/" .. pidfd:fd()))
  local pid = file:read("*a"):match "\nPid:%s*(%-?%d+)"
  file:close()
  return tonumber(pid)
end

local me = proc.getpid()
local function hex(bytes) return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end)) end

-- peerpidfd.
for _, kind in ipairs(KINDS) do
  local a, b = net.pair(L[kind])
  local pidfd = assert(a:peerpidfd())
  T.is(show(process(pidfd), sys.is_cloexec(pidfd:fd())), show(me, true), kind .. ": the peer of a pair is this process")
  pidfd:close()
  local count = leak.count()
  for _ = 1, 40 do assert(a:peerpidfd()) end
  T.is(leak.count(), count, kind .. ": descriptors that nobody keeps are closed")
  a:close(); b:close()
end

-- Ends when its pipe is closed, with the status 7.
local function waiting(sock) return function() return sock:recv() == nil and 7 end end

do
  local listener, name = net.bound_at(net.places[4], L.SOCK_STREAM)
  assert(not listener:listen())
  local child = proc.fork(function()
    local sock = assert(L.socket.new(name))
    return not sock:connect() and waiting(sock)()
  end)
  local sock = assert(listener:accept())
  local pidfd, poller = assert(sock:peerpidfd()), assert(L.poll.new())
  T.is(process(pidfd), child, "the peer of an accepted connection is who connected")
  T.is(show(poller:add(pidfd, "r", "gone")), "true", "a poller takes it")
  T.is(poller:wait(0), 0, "while the process lives it is not readable")
  local event = assert(L.poll.child(pidfd))
  T.ok(event:fd() ~= pidfd:fd(), "poll.child takes it, and has a descriptor of its own")
  T.is(line(pack(event:read())), line { n = 4, nil, nil, true, L.EAGAIN }, "read tells that it lives")
  sock:close()
  T.is(show(poller:wait(20), (poller:event(1))), show(1, "gone"), "at its end it is readable")
  pidfd:close()
  T.is(show(event:read()), "7, nil, false", "and read tells how it ended, although the other descriptor is closed")
  T.is(show(event:read()), show(nil, text(L.ECHILD), false, L.ECHILD), "once")
  event:close(); poller:close(); listener:close()
end

-- A process that is no child of this one: its parent ends first.
do
  local a, b = net.pair(L.SOCK_SEQPACKET)
  b:passpidfd(true)
  local middle = proc.fork(function()
    proc.fork(function()
      a:send "here"
      a:recv()
      return 3
    end)
  end)
  proc.wait(middle)
  local mh = assert(L.msghdr.new())
  assert(b:recvmsg(mh))
  local pidfd = mh:control()[1]:pidfd()
  local event = assert(L.poll.child(pidfd))
  T.is(line(pack(event:read())), line { n = 4, nil, nil, true, L.EAGAIN }, "read tells that a process lives that is no child")
  b:send "end"
  T.is(L.wait.poll(event:fd(), "r", 20), true, "its end is readable, too")
  T.is(show(event:read()), show(nil, text(L.ECHILD), false, L.ECHILD), "but only its parent knows how it ended: ECHILD")
  pidfd:close(); event:close(); a:close(); b:close()
end

-- What is no process.
do
  local a, b = net.pair(L.SOCK_STREAM)
  local pipe_r, pipe_w = rights.pipe()
  a:sendfd(pipe_r)
  local other = assert(b:recvfd())
  T.is(show(L.poll.child(other)), failed(L.EINVAL), "poll.child of a pipe is EINVAL")
  other:close()
  T.is(show(L.poll.child(other)), failed(L.EBADF), "of a closed descriptor EBADF")
  local ok, err = pcall(L.poll.child, a)
  T.is(not ok and err:match "bad argument.*", "bad argument #1 to 'child' (number or descriptor expected, got cdata)",
    "a socket is a wrong type")
  local udp = net.bound(L.AF_INET, L.SOCK_DGRAM)
  T.ok(select(3, udp:peerpidfd()) == L.ENODATA or select(3, udp:peerpidfd()) == L.EOPNOTSUPP, "a UDP socket has no such peer")
  udp:close(); a:close(); b:close(); sys.close(pipe_r); sys.close(pipe_w)
  T.is(show(a:peerpidfd()), failed(L.EBADF), "peerpidfd of a closed socket is EBADF")
end

-- passpidfd.
local function pids(mh)
  local out = {}
  for i, cmsg in ipairs(mh:control()) do
    local pidfd, objects = cmsg:pidfd(), cmsg:rights()
    out[i] = pidfd and "process " .. process(pidfd) or objects and #objects .. " rights" or "?"
  end
  table.sort(out)
  return table.concat(out, ", ")
end

for _, kind in ipairs(KINDS) do
  local a, b = net.pair(L[kind])
  assert(b:passpidfd(true))
  local mh, count = assert(L.msghdr.new()), leak.count()
  a:send "x"
  assert(b:recvmsg(mh))
  local cmsg = mh:control()[1]
  T.is(show(cmsg:type(), process(cmsg:pidfd()), sys.is_cloexec(cmsg:pidfd():fd())), show(L.SCM_PIDFD, me, true),
    kind .. ": passpidfd brings the sender's process, close-on-exec")
  T.ok(cmsg:pidfd() == cmsg:pidfd() and cmsg:rights()[1] == cmsg:pidfd(), kind .. ": the same object each time")
  local pidfd = cmsg:pidfd()
  a:sendmsg(assert(L.msghdr.new { data = "y", control = { assert(L.cmsghdr.rights(a, 1)) } }))
  assert(b:recvmsg(mh))
  T.is(pids(mh), show("2 rights", "process " .. me):gsub('"', ""), kind .. ": it comes beside descriptors")
  T.is(process(pidfd), me, kind .. ": one that was taken outlives the message")
  pidfd:close()
  for _ = 1, 40 do
    a:send "z"
    assert(b:recvmsg(mh) == 1)
  end
  T.is(leak.count(), count + 1, kind .. ": those that nobody asks for are closed by the next receive")
  b:close(); a:close()
end

-- Receives that make no object of it.
do
  local a, b = net.pair(L.SOCK_STREAM)
  assert(b:passpidfd(true))
  local count, buffer = leak.count(), require("ffi").new "uint8_t[8]"
  for _, receive in ipairs {
    function() return b:recv() end, function() return b:recvfrom() end, function() return b:recvinto(buffer) end,
    function() return b:readv { 4, 4 } end, function() return b:recvmsg(assert(L.msghdr.new { controlsize = 0 })) end,
    function() return b:recvmsg(assert(L.msghdr.new { controlsize = 8 })) end,
    function() return b:recvmsg(assert(L.msghdr.new { controlsize = rights.cmsg_len(2) })) end,
    function() return b:recvbatch(assert(L.batch.new { count = 2 })) end,
  } do
    a:send "x"
    assert(receive())
  end
  a:send "x"
  T.is(select(4, b:recvfd()), L.EBADMSG, "recvfd takes no process for a descriptor that was sent")
  a:sendfd(1)
  local got = assert(b:recvfd())
  T.is(tostring(got):match "^[%w.]+", "llsocket.descriptor", "and finds the one that was")
  got:close()
  T.is(leak.count(), count, "no receive leaves the process behind")
  a:close(); b:close()
end

-- The buffer is too small, or there is no number.
do
  local a, b = net.pair(L.SOCK_DGRAM)
  assert(b:passpidfd(true))
  local small, mh = assert(L.msghdr.new { controlsize = rights.cmsg_len(0) }), assert(L.msghdr.new())
  a:send "x"
  T.is(show(b:recvmsg(small), #small:control(), bit.band(small:flags(), L.MSG_CTRUNC) ~= 0), show(1, 0, true),
    "without room there is no process, and MSG_CTRUNC")
  b:recvmsg(mh, L.MSG_DONTWAIT)
  local limit = sys.limit_descriptors(3)
  a:send "x"
  local n = b:recvmsg(mh)
  sys.limit_descriptors(limit)
  local pidfd = mh:control()[1] and mh:control()[1]:pidfd()
  T.is(show(n, pidfd), "1, nil", "without a free number the message comes without it")
  a:close(); b:close()
end

-- Seqpackets: an empty message has its sender, the end has none.
do
  local a, b = net.pair(L.SOCK_SEQPACKET)
  assert(b:passpidfd(true))
  local mh = assert(L.msghdr.new())
  a:sendmsg(assert(L.msghdr.new { data = "" }))
  a:close()
  T.is(show(b:recvmsg(mh)), "0, nil, false", "an empty message is told from the end")
  T.is(pids(mh), "process " .. me, "and brings its sender's process")
  T.is(show(b:recvmsg(mh)), show(), "then comes the end")
  b:close()
end

-- Groups, and the same numbers as Python reads them.
local PYTHON = [==[
import os, socket, struct, sys
groups = eval(sys.argv[2])
if groups is not None:
    os.setgroups(groups)
sock = socket.socket(socket.AF_UNIX)
sock.connect("\0" + sys.argv[1])
sock.recv(1)
print(*sorted(os.getgroups()))
]==]
local READ = [==[
import socket, struct, sys
sock = socket.socket(fileno=int(sys.argv[1]))
bytes = sock.getsockopt(socket.SOL_SOCKET, int(sys.argv[2]), 1024)
print(*sorted(struct.unpack("%dI" % (len(bytes) // 4), bytes)))
]==]

local function groups_of(groups)
  local path = "\0" .. net.unique()
  local listener = assert(L.socket.new(assert(L.unix.getaddrinfo(path))[1]))
  assert(not listener:bind() and not listener:listen())
  local pipe = assert(io.popen(("python3 -c %s %s %s"):format(shell.quote(PYTHON), path:sub(2), shell.quote(groups))))
  local sock = listener:recvable(20) and listener:accept()
  if not sock then return nil end
  local got, e = sock:peergroups(), select(3, sock:peergroups())
  sock:cloexec(false)
  local read = proc.run(("python3 -c %s %d %d"):format(shell.quote(READ), sock:fd(), L.SO_PEERGROUPS))
  sock:close(); listener:close()
  local own = pipe:read "*a"
  pipe:close()
  if not got then return nil, e end
  table.sort(got)
  return table.concat(got, " ") .. "\n", own, read
end

if not select(2, proc.run "python3 -c 'import socket'") then T.skip(4, "python3 is missing") else
  local got, own, read = groups_of "None"
  T.is(got, own, "peergroups are the groups of who connected")
  T.is(got, read, "as Python reads them")
  if sys.getuid() ~= 0 then T.skip(2, "only root sets groups") else
    T.is((groups_of "[5, 4294967294, 70000]"), "5 70000 4294967294\n", "they are unsigned")
    local many
    many, own = groups_of "list(range(1000, 66536))"
    T.ok(#many > 300000 and many == own, "65,536 of them fit")
  end
end

-- passrights.
do
  local a, b = net.pair(L.SOCK_STREAM)
  local passes, _, e = b:passrights()
  if e == L.ENOPROTOOPT then T.skip(4, "this kernel passes descriptors always") else
    T.is(passes, true, "a unix socket takes descriptors")
    T.is(show(b:passrights(false), b:passrights()), show(false, false), "unless passrights is false")
    T.is(select(4, a:sendfd(1)), L.EPERM, "then who sends one gets EPERM")
    a:send "x"
    T.is(b:recv(), "x", "and can send all else")
  end
  a:close(); b:close()
end

-- A security label, which strace puts in the kernel's place: most kernels have none.
do
  local a, b = net.pair(L.SOCK_STREAM)
  local label, _, e = a:peersec()
  T.ok(label or e == L.ENOPROTOOPT, "peersec is a label, or ENOPROTOOPT where there are none")
  a:close(); b:close()
  local path, size = os.tmpname(), require("ffi").abi "le" and "0a000000" or "0000000a"
  local file = assert(io.open(path, "w"))
  file:write [[
    local L = require "llsocket"
    print(L.socket.pair(L.SOCK_STREAM)[1]:peersec())
  ]]
  file:close()
  local poke = "inject=getsockopt:retval=0:poke_exit=@arg4=" .. hex "user:role\0" .. ",@arg5=" .. size
  local got, ok = proc.run(shell.format("strace -o /dev/null -e trace=getsockopt -e %q %q %q", poke, proc.luajit, path))
  os.remove(path)
  if ok then
    T.is(got, "user:role\n", "peersec tells the label without the NUL at its end")
  else
    T.skip(1, "strace is missing, or cannot put a label there: " .. got:match "[^\n]*")
  end
end

-- Where the headers know no such option.
T.is(proc.lua [[
local const = require "llsocket.core.const"
const.SO_PEERPIDFD, const.SO_PEERGROUPS = nil, nil
local L = require "llsocket"
local socks = L.socket.pair(L.SOCK_STREAM)
print(select(3, socks[1]:peerpidfd()) == L.ENOPROTOOPT, select(3, socks[1]:peergroups()) == L.ENOPROTOOPT)
socks[1]:close()
print(select(3, socks[1]:peerpidfd()) == L.EBADF)
]], "true\ttrue\ntrue\n", "peerpidfd that the system lacks is ENOPROTOOPT, EBADF once closed")
T.is(leak.count(), before, "no descriptor is left")
T.done()
