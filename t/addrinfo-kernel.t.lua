-- addrinfo: addresses that were made from their parts, in the kernel, and as Python, ss(8) and ip(8) see them there.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local netns = require "netns"
local proc = require "proc"
local shell = require "shell"
local show = require("show").show
local before = leak.count()
local A = L.addrinfo
local T = require("tap").plan(28)

local EXPERIMENT = 0x88b5 -- ETH_P_802_EX1, an Ethernet type for local use
local LOOPBACK_KIND = L.ARPHRD_LOOPBACK

local function line(fields)
  local out = {}
  for name, value in pairs(fields or {}) do out[#out + 1] = name .. "=" .. tostring(value) end
  table.sort(out)
  return table.concat(out, " ")
end

local has_python = select(2, proc.run "python3 -c 'import socket'")

-- What Python says of a socket's own address; nil without it.
local function python_name(sock)
  if not has_python then return nil end
  local program = "import socket\nprint(socket.socket(fileno=%d).getsockname())"
  sock:cloexec(false)
  local said = proc.run(shell.format("python3 -c %q", program:format(sock:fd())))
  sock:cloexec(true)
  return (said:gsub("%s+$", ""))
end

local function same_name(sock, want, name)
  local said = python_name(sock)
  if not said then return T.skip(1, "there is no python3") end
  T.is(said, want, name)
end

local function bound(ai, name)
  local sock = assert(L.socket.new(ai, true))
  T.is(show(sock:bind()), "", name)
  return sock, sock:getsockname()
end

-- The internet's, and unix sockets'.
local function test_others()
  netns.ip "link set lo up"
  netns.ip "address add fe80::1/64 dev lo nodad"
  local sock, name = bound(A.inet6("fe80::1%lo", 0, L.SOCK_DGRAM), "inet6: a socket is bound to an address with a zone")
  T.is(line(name:fields()), "addr=fe80::1 flowinfo=0 port=" .. name:port() .. " scope=1", "inet6: which the kernel tells again")
  same_name(sock, ("('fe80::1', %d, 0, 1)"):format(name:port()), "inet6: so does Python")
  sock:close()
  sock, name = bound(A.unix("\0llsocket-addrinfo-kernel", L.SOCK_SEQPACKET), "unix: a socket is bound to an abstract name")
  T.is(name:fields().path, "\0llsocket-addrinfo-kernel", "unix: which the kernel tells again")
  same_name(sock, [[b'\x00llsocket-addrinfo-kernel']], "unix: so does Python")
  sock:close()
end

-- Python sends a frame over lo, and prints what it receives and from where.
local SENDER = [[
import socket
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88b5)) as s:
    s.bind(("lo", 0x88b5))
    s.send(b"\2\0\0\0\0\1\2\0\0\0\0\2\x88\xb5python")
    data, (ifname, proto, pkttype, hatype, addr) = s.recvfrom(2048)
    print(ifname, proto, pkttype, hatype, addr.hex(":"))
]]

local function told(from)
  local f = from:fields()
  return ("%s %d %d %d %s\n"):format(f.ifname, f.ethertype, f.pkttype, f.hatype, f.mac)
end

local function test_packet()
  local sock, name = bound(A.packet("lo", EXPERIMENT), "packet: a socket is bound to an interface and a type")
  T.is(line(name:fields()), ("ethertype=%d hatype=%d ifname=lo index=1 mac=00:00:00:00:00:00 pkttype=0"):format(EXPERIMENT,
    LOOPBACK_KIND), "packet: the kernel adds the kind and the hardware address of the interface")
  same_name(sock, [[('lo', 34997, 0, 772, b'\x00\x00\x00\x00\x00\x00')]], "packet: Python sees the same")
  local listed, ran = proc.run "ss -0 -a -n 2>/dev/null"
  if ran then T.ok(listed:find("[34997]:lo", 1, true), "packet: and so does ss") else T.skip(1, "there is no ss") end
  if has_python then
    local said = proc.run(shell.format("python3 -c %q", SENDER))
    assert(sock:recvable(5))
    local frame, from = sock:recvfrom()
    T.is(frame:sub(15), "python", "packet: a frame arrives")
    -- lo shows a frame as it goes out and as it comes in; Python has received the one that goes out first, as we have.
    T.is(told(from), said, "packet: its sender's parts are those that Python has of it")
  else T.skip(2, "there is no python3") end
  sock:close()
end

-- A datagram to a hardware address over a veth; its far end tells the header.
local function test_mac()
  netns.ip "link add v0 type veth peer name v1"
  netns.ip "link set v0 up"
  netns.ip "link set v1 up"
  local mac = L.device.macaddrs().v0
  local far = bound(A.packet("v1", EXPERIMENT), "packet: a socket listens at the far end")
  local near = assert(L.socket.new(A.packet("v0", EXPERIMENT, nil, L.SOCK_DGRAM)))
  T.is(show(near:sendto("body", A.packet("v0", EXPERIMENT, "02:00:5e:00:53:7f"))), "4, nil, false",
    "packet: a datagram goes to a hardware address")
  assert(far:recvable(5))
  local frame, from = far:recvfrom()
  local header = frame:sub(1, 14):gsub(".", function(c) return ("%02x:"):format(c:byte()) end)
  T.is(header .. frame:sub(15), "02:00:5e:00:53:7f:" .. mac .. ":88:b5:body", "packet: the kernel writes it into the header")
  T.is(line(from:fields()), ("ethertype=%d hatype=1 ifname=v1 index=%d mac=%s pkttype=%d"):format(EXPERIMENT,
    L.device.index "v1", mac, L.PACKET_OTHERHOST), "packet: and tells the sender's")
  T.is(from:addr(), mac, "packet: which addr answers, too")
  near:close(); far:close()
end

local function test_netlink()
  local sock, name = bound(A.netlink(L.RTMGRP_LINK), "netlink: a socket is bound to a group")
  local fields = name:fields()
  T.ok(fields.pid > 0 and fields.groups == L.RTMGRP_LINK, "netlink: the kernel has chosen a number: " .. line(fields))
  same_name(sock, ("(%d, %d)"):format(fields.pid, fields.groups), "netlink: Python sees the same")
  local listed, ran = proc.run "ss -f netlink -a -n 2>/dev/null"
  if ran then
    T.ok(listed:find("[%s:]" .. fields.pid .. "%s"), "netlink: and so does ss")
  else T.skip(1, "there is no ss") end
  netns.ip "link set lo down"
  assert(sock:recvable(5))
  local _, from = sock:recvfrom(65536)
  T.is(line(from:fields()), "groups=1 pid=0", "netlink: what comes to a group is from the kernel, and names the group")
  sock:close()
end

-- Whatever ip(8) lists.
local function test_list()
  local want, got = {}, {}
  for text in netns.ip "-o link":gmatch "[^\n]+" do
    local index, name, mac = text:match "^(%d+): ([^:@]+).*link/%S+ (%x%x:%S+)"
    want[#want + 1] = ("%s %s %s"):format(index, name, mac)
  end
  for _, entry in ipairs(L.device.list()) do got[#got + 1] = ("%d %s %s"):format(entry.index, entry.name, entry.mac) end
  table.sort(want); table.sort(got)
  T.is(table.concat(got, "; "), table.concat(want, "; "), "device.list has the interfaces that ip(8) lists, each once")
  local fields = {}
  for key in pairs(L.device.list()[1]) do fields[#fields + 1] = key end
  table.sort(fields)
  T.is(table.concat(fields, " "), "flags index mac name", "with these fields and no others")
  T.ok(bit.band(L.device.list()[1].flags, L.IFF_LOOPBACK) ~= 0, "with their flags")
end

local function test_vsock(sock)
  local fields = sock:getsockname():fields()
  T.ok(fields.cid == L.VMADDR_CID_ANY and fields.port > 0 and fields.port < 2^32 - 1, "vsock: a port is chosen: " .. line(fields))
  same_name(sock, ("(%.0f, %.0f)"):format(fields.cid, fields.port), "vsock: Python sees the same")
  sock:close()
end

local sock, err = L.socket.new(assert(A.vsock(L.VMADDR_CID_ANY or 0, L.VMADDR_PORT_ANY or 0)))
if sock then err = sock:bind() end
if err then T.skip(2, "no vsock: " .. err) else test_vsock(sock) end

local _, wherefore = netns.enter()
if wherefore then T.skip(25, wherefore) else
  test_others()
  test_packet()
  test_mac()
  test_list()
  test_netlink()
end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
