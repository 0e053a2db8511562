-- message: understood in both directions by another implementation, Python's socket module, in another process.
local L = require "llsocket"
local emulator = require "emulator"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local show = require("values").show
local before = leak.count()
local T = require("tap").plan(26)

-- The constants that Python's module lacks come from here; the others are Python's, for a machine that is emulated may have
-- other numbers, and another byte order: so Python names and decodes what it got.
local NAMES = { "IP_TTL", "IP_TOS", "IP_PKTINFO", "IP_RECVTTL", "IP_RECVTOS", "IPV6_HOPLIMIT", "IPV6_TCLASS", "IPV6_PKTINFO",
  "IPV6_RECVHOPLIMIT", "IPV6_RECVTCLASS", "IPV6_RECVPKTINFO", "SCM_CREDENTIALS", "SO_PASSCRED", "MSG_CTRUNC", "MSG_TRUNC" }

local SCRIPT = [==[
import os, socket, struct, sys
from socket import AF_INET, AF_INET6, AF_UNIX, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET, IPPROTO_IP, IPPROTO_IPV6
folder, port4, port6 = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

def say(*words):
    print(*words, flush=True)

KINDS = {
    (SOL_SOCKET, SCM_CREDENTIALS): ("credentials", "iII"),
    (IPPROTO_IP, IP_TTL): ("ttl", "i"), (IPPROTO_IP, IP_TOS): ("tos", "B"),
    (IPPROTO_IP, IP_PKTINFO): ("pktinfo", "i4B4B"),
    (IPPROTO_IPV6, IPV6_HOPLIMIT): ("hoplimit", "i"), (IPPROTO_IPV6, IPV6_TCLASS): ("tclass", "i"),
    (IPPROTO_IPV6, IPV6_PKTINFO): ("pktinfo", "15xBi"),
}

def decoded(level, kind, data):
    name, form = KINDS[level, kind]
    if len(data) < struct.calcsize(form):
        return name
    return " ".join(map(str, (name, *struct.unpack(form, data))))

def told(answer):
    data, ancillary, flags, name = answer
    kinds = sorted(decoded(*cmsg) for cmsg in ancillary)
    cut = [word for word, flag in (("MSG_CTRUNC", MSG_CTRUNC), ("MSG_TRUNC", MSG_TRUNC)) if flags & flag]
    return "%s [%s] [%s] %s" % (data, ", ".join(kinds), " ".join(cut), name)

def bound(family, where, *options):
    sock = socket.socket(family, SOCK_DGRAM)
    sock.settimeout(20)
    sock.bind(where)
    for level, option in options:
        sock.setsockopt(level, option, 1)
    return sock

plain = bound(AF_UNIX, folder + "/plain")
cred = bound(AF_UNIX, folder + "/cred", (SOL_SOCKET, SO_PASSCRED))
udp = bound(AF_INET, ("127.0.0.1", 0), (IPPROTO_IP, IP_RECVTTL), (IPPROTO_IP, IP_RECVTOS), (IPPROTO_IP, IP_PKTINFO))
udp6 = port6 and bound(AF_INET6, ("::1", 0), (IPPROTO_IPV6, IPV6_RECVHOPLIMIT), (IPPROTO_IPV6, IPV6_RECVTCLASS),
    (IPPROTO_IPV6, IPV6_RECVPKTINFO))
listener = socket.socket(AF_UNIX, SOCK_STREAM)
listener.settimeout(20)
listener.bind(folder + "/stream")
listener.listen()
say(os.getpid(), os.getuid(), os.getgid(), udp.getsockname()[1], udp6 and udp6.getsockname()[1])

say(told(plain.recvmsg(100, 200)))
say(told(plain.recvmsg(100, 200)))
say(told(plain.recvmsg(3, 200)))
parts = [bytearray(2), bytearray(3), bytearray(10)]
count, ancillary, flags, name = plain.recvmsg_into(parts)
say(count, *[bytes(part[:]) for part in parts])
say(told(cred.recvmsg(100, 200)))
say(told(cred.recvmsg(100, 200)))
say(told(cred.recvmsg(100, socket.CMSG_LEN(4))).split("[")[2])
say(told(udp.recvmsg(100, 200)))
if udp6:
    say(told(udp6.recvmsg(100, 200)))

plain.sendmsg([b"ab", b"", b"cd"], [], 0, folder + "/lua")
plain.sendmsg([], [], 0, folder + "/lua")
plain.sendmsg([b"0123456789"], [], 0, folder + "/lua")
nobody = socket.socket(AF_UNIX, SOCK_DGRAM)
nobody.sendto(b"unnamed", folder + "/lua")
cred.sendmsg([b"who"], [], 0, folder + "/luacred")
own = struct.pack("iII", os.getpid(), os.getuid(), os.getgid())
cred.sendmsg([b"me"], [(SOL_SOCKET, SCM_CREDENTIALS, own)], 0, folder + "/luacred")
cred.sendmsg([b"cut"], [(SOL_SOCKET, SCM_CREDENTIALS, own)], 0, folder + "/luacred")
info = struct.pack("i4s4s", 0, socket.inet_aton("127.0.0.8"), b"\0" * 4)
udp.sendmsg([b"u", b"dp"], [(IPPROTO_IP, IP_TTL, struct.pack("i", 44)), (IPPROTO_IP, IP_TOS, struct.pack("i", 32))],
    0, ("127.0.0.1", port4))
anyone = bound(AF_INET, ("0.0.0.0", 0))
anyone.sendmsg([b"from 8"], [(IPPROTO_IP, IP_PKTINFO, info)], 0, ("127.0.0.1", port4))
if udp6:
    udp6.sendmsg([b"udp6"], [(IPPROTO_IPV6, IPV6_HOPLIMIT, struct.pack("i", 45)),
        (IPPROTO_IPV6, IPV6_TCLASS, struct.pack("i", 64))], 0, ("::1", port6))
say("sent")

conn, _ = listener.accept()
conn.settimeout(20)
got = bytearray()
while True:
    part = conn.recvmsg(1 << 20)[0]
    if not part:
        break
    got += part
left = memoryview(got)
while left:
    left = left[conn.sendmsg([left[:1000], left[1000:70000], left[70000:]]):]
conn.close()
say("echoed", len(got))
]==]

local function source()
  local out = {}
  for i, name in ipairs(NAMES) do out[i] = ("%s = getattr(__import__('socket'), '%s', %d)\n"):format(name, name, L[name]) end
  return table.concat(out) .. SCRIPT
end

local function why_not()
  if not select(2, proc.run "python3 -c 'import socket; socket.socket.sendmsg'") then return "no python3 on this machine" end
  for _, name in ipairs(NAMES) do if not L[name] then return "this system has no " .. name end end
end

local function unix(path) return assert(L.unix.getaddrinfo(path, L.SOCK_DGRAM))[1] end

local function bound(ai)
  local sock = assert(L.socket.new(ai))
  assert(not sock:bind())
  sock:rcvtimeo(20)
  return sock
end

-- What a Lua socket received: data, what the control decodes to, the flags, who sent it.
local function told(sock, t)
  local mh = assert(L.msghdr.new(t))
  local n, err = sock:recvmsg(mh)
  if not n then return show(n, err) end
  local kinds, flags = {}, {}
  for _, cmsg in ipairs(mh:control()) do
    local cred = cmsg:credentials()
    kinds[#kinds + 1] = cred and ("%d %d %d"):format(cred.pid, cred.uid, cred.gid) or tostring(cmsg:integer())
  end
  for _, name in ipairs { "MSG_CTRUNC", "MSG_TRUNC" } do
    if bit.band(mh:flags(), L[name]) ~= 0 then flags[#flags + 1] = name end
  end
  table.sort(kinds)
  local data = mh:data()
  if type(data) == "table" then data = table.concat(data, "|") end
  return ("%s [%s] [%s] %s"):format(data, table.concat(kinds, " "), table.concat(flags, " "), tostring(mh:name()))
end

local function test()
  local dir = net.tmpdir()
  local script = dir .. "/peer.py"
  local file = assert(io.open(script, "w"))
  file:write(source())
  file:close()
  local lua, luacred = bound(unix(dir .. "/lua")), bound(unix(dir .. "/luacred"))
  luacred:passcred(true)
  local udp, name4 = net.bound(L.AF_INET, L.SOCK_DGRAM)
  udp:rcvtimeo(20); udp:recvttl(true); udp:recvtos(true)
  local udp6, name6
  if net.has(net.places[2]) then
    udp6, name6 = net.bound(L.AF_INET6, L.SOCK_DGRAM)
    udp6:rcvtimeo(20); udp6:recvttl(true); udp6:recvtos(true)
  end
  local python = assert(io.popen(shell.format("python3 %q %q %d %d 2>&1",
    script, dir, name4:port(), name6 and name6:port() or 0)))
  local first = python:read "*l" or ""
  local pid, uid, gid, port4, port6 = first:match "^(%d+) (%d+) (%d+) (%d+) (%w+)$"
  T.ok(pid, "Python runs: " .. first)
  pid, uid, gid = tonumber(pid), tonumber(uid), tonumber(gid)

  -- To Python.
  local function send(sock, to, data, control)
    local mh = assert(L.msghdr.new { name = to, data = data, control = control or nil })
    local n, err = sock:sendmsg(mh)
    assert(n, err)
  end
  local plain, cred = unix(dir .. "/plain"), unix(dir .. "/cred")
  send(lua, plain, { "abc", "", "def" })
  local nobody = assert(L.socket.new(plain))
  send(nobody, plain, "")
  send(lua, plain, "too long")
  send(lua, plain, "scattered")
  local own = assert(L.cmsghdr.credentials())
  send(lua, cred, "who")
  send(lua, cred, "me", { own })
  send(lua, cred, "cut", { own })
  send(udp, net.addr(L.AF_INET, L.SOCK_DGRAM, port4), { "u", "dp" },
    not emulator.order and { L.cmsghdr.ttl(33), L.cmsghdr.tos(16), L.cmsghdr.pktinfo "127.0.0.1" })
  if udp6 then
    send(udp6, net.addr(L.AF_INET6, L.SOCK_DGRAM, port6), "udp6",
      not emulator.order and { L.cmsghdr.hoplimit(34), L.cmsghdr.tclass(8) })
  end

  local function says(want, title, lacks)
    local line = python:read "*l"
    if lacks then T.skip(1, lacks) else T.is(line, want, title) end
  end
  says(("b'abcdef' [] [] %s/lua"):format(dir), "Python gets gathered data and the name of a unix socket")
  says("b'' [] [] None", "Python gets an empty datagram of an unnamed socket")
  says(("b'too' [] [MSG_TRUNC] %s/lua"):format(dir), "Python sees a datagram that is cut")
  says("9 b'sc' b'att' b'ered\\x00\\x00\\x00\\x00\\x00\\x00'", "Python scatters what came")
  local mine = ("credentials %d %d %d"):format(proc.getpid(), uid, gid)
  says(("b'who' [%s] [] %s/lua"):format(mine, dir), "Python gets this process's credentials")
  says(("b'me' [%s] [] %s/lua"):format(mine, dir), "Python gets those that were sent")
  says(("MSG_CTRUNC] %s/lua"):format(dir), "Python sees ancillary data that is cut")
  says(("b'udp' [pktinfo 1 127 0 0 1 127 0 0 1, tos 16, ttl 33] [] ('127.0.0.1', %d)"):format(name4:port()),
    "Python gets TTL, TOS and packet info", emulator.order)
  if not udp6 then T.skip(1, "no IPv6 here") else
    says(("b'udp6' [hoplimit 34, pktinfo 1 1, tclass 8] [] ('::1', %d, 0, 0)"):format(name6:port()),
      "Python gets hop limit and traffic class", emulator.order)
  end

  -- From Python.
  says("sent", "Python sends")
  T.is(told(lua), ("abcd [] [] unix:%s/plain"):format(dir), "gathered data and the name of a unix socket come from Python")
  T.is(told(lua), (" [] [] unix:%s/plain"):format(dir), "an empty datagram comes")
  T.is(told(lua, { size = { 2, 1, 4 } }), ("01|2|3456 [] [MSG_TRUNC] unix:%s/plain"):format(dir),
    "a datagram is scattered and cut")
  T.is(told(lua), "unnamed [] [] nil", "an unnamed socket has no name")
  T.is(told(luacred), ("who [%d %d %d] [] unix:%s/cred"):format(pid, uid, gid, dir), "Python's credentials are received")
  T.is(told(luacred), ("me [%d %d %d] [] unix:%s/cred"):format(pid, uid, gid, dir), "those that Python sent come")
  if emulator.room then T.skip(1, emulator.room) else
    T.ok(told(luacred, { controlsize = 16 }):find("[MSG_CTRUNC] unix:", 1, true), "ancillary data without capacity is cut")
  end
  T.is(told(udp), ("udp [32 44] [] 127.0.0.1:%s"):format(port4), "TTL and TOS that Python set come")
  T.ok(told(udp):find "^from 8 %[0 64%] %[%] 127%.0%.0%.8:", "the source that Python chose by packet info is the sender")
  if not udp6 then T.skip(1, "no IPv6 here") else
    T.is(told(udp6), ("udp6 [45 64] [] [::1]:%s"):format(port6), "hop limit and traffic class that Python set come")
  end

  -- A long stream there and back.
  local stream = assert(L.socket.new(assert(L.unix.getaddrinfo(dir .. "/stream"))[1]))
  assert(not stream:connect())
  local parts = {}
  for i = 1, 1000 do parts[i] = string.char(i % 256):rep(i * 17) end
  local mh, sent = assert(L.msghdr.new { data = parts }), 0
  repeat
    local n, err, again = stream:sendmsg(mh)
    sent = sent + assert(n, err)
  until not again
  local text = table.concat(parts)
  T.is(sent, #text, "a long stream is sent to Python in parts")
  stream:shutdown(L.SHUT_WR)
  local got, into = {}, assert(L.msghdr.new { size = { 100, 100000 } })
  while stream:recvmsg(into) do for _, part in ipairs(into:data()) do got[#got + 1] = part end end
  T.ok(table.concat(got) == text, "and comes back the same")
  says("echoed " .. #text, "Python had all of it")
  T.is(python:read "*a", "", "and says no more")
  python:close()
  for _, sock in ipairs { lua, luacred, udp, nobody, stream } do sock:close() end
  if udp6 then udp6:close() end
end

local why = why_not()
if why then T.skip(25, why) else test() end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
