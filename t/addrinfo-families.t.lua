-- addrinfo: addresses of other families, made from bytes that the program packs, used with new, bind, connect and sendto.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local netns = require "netns"
local show = require("values").show
local before = leak.count()
local T = require("tap").plan(29)

local function raw(object) return ffi.string(object, ffi.sizeof(object)) end

-- AF_NETLINK: asks the kernel for its interfaces; see netlink(7), rtnetlink(7).
local sockaddr_nl = ffi.typeof "struct { uint16_t family, pad; uint32_t pid, groups; }"
local request_t = ffi.typeof "struct { uint32_t len; uint16_t type, flags; uint32_t seq, pid; uint8_t family, pad[15]; }"
local header_t = ffi.typeof "struct { uint32_t len; uint16_t type, flags; uint32_t seq, pid; } *"
local attr_t = ffi.typeof "struct { uint16_t len, type; } *"
local RTM_NEWLINK, RTM_GETLINK, REQUEST_DUMP, NLMSG_DONE, IFLA_IFNAME = 16, 18, 0x301, 3, 3

local function netlink(pid) return assert(L.addrinfo.new(raw(sockaddr_nl(L.AF_NETLINK, 0, pid, 0)), L.SOCK_RAW, 0)) end

local function align(n) return bit.band(n + 3, bit.bnot(3)) end

-- The name inside a message of RTM_NEWLINK: after 16 bytes of ifinfomsg.
local function ifname(bytes, length)
  local at = 32
  while at + 4 <= length do
    local attr = ffi.cast(attr_t, bytes + at)
    if attr.type == IFLA_IFNAME then return ffi.string(bytes + at + 4) end
    at = at + align(attr.len)
  end
end

-- Adds the interfaces of one datagram; answers whether more follow.
local function add_links(names, datagram)
  local bytes, at = ffi.cast("const uint8_t *", datagram), 0
  while at + 16 <= #datagram do
    local head = ffi.cast(header_t, bytes + at)
    if head.type == NLMSG_DONE then return false end
    if head.type == RTM_NEWLINK then names[ifname(bytes + at, head.len)] = true end
    at = at + align(head.len)
  end
  return true
end

local function links(sock, send, sender)
  local request = raw(request_t { len = 32, type = RTM_GETLINK, flags = REQUEST_DUMP, seq = 1 })
  T.is(show(send(request)), "32, nil, false", "netlink: a request is sent")
  local names = {}
  repeat
    local datagram, ai = assert(sock:recvfrom(65536))
    if ai ~= sender then error "a stranger" end
  until not add_links(names, datagram)
  return names
end

local function test_netlink()
  local kernel = netlink(0)
  T.is(show(kernel:family(), kernel:socktype(), kernel:protocol(), kernel:addr(), kernel:port(), #kernel:bytes()),
    show(L.AF_NETLINK, L.SOCK_RAW, 0, nil, nil, 12), "netlink: an address returns what it has, and nil for the rest")
  T.is(tostring(kernel), "netlink:0", "netlink: and has a text")
  T.is(select(3, kernel:nameinfo()), L.EAI_FAMILY, "netlink: nameinfo does not know the family")
  local sock = assert(L.socket.new(kernel))
  T.is(show(sock:bind()), "no values", "netlink: bind takes the address of the constructor")
  local own = assert(sock:getsockname())
  T.is(show(own:family(), #own:bytes(), own == kernel), show(L.AF_NETLINK, 12, false), "netlink: the kernel gives a number")
  local other = assert(L.socket.new(kernel))
  T.is(select(2, other:bind(own)), L.EADDRINUSE, "netlink: which nobody else may have")
  other:close()
  T.ok(links(sock, function(request) return sock:sendto(request, kernel) end, kernel).lo, "netlink: sendto asks for interfaces")
  T.is(show(sock:connect(kernel)), "no values", "netlink: connect takes an address")
  T.is(sock:getpeername(), kernel, "netlink: and getpeername tells it")
  T.ok(links(sock, function(request) return sock:send(request) end, kernel).lo, "netlink: so that send will do")
  local mh = assert(L.msghdr.new { name = kernel, data = raw(request_t { len = 32, type = RTM_GETLINK, flags = REQUEST_DUMP }) })
  T.is(show(sock:sendmsg(mh)), "32, nil, false", "netlink: sendmsg takes the address as well")
  T.ok(select(1, sock:recvmsg(mh)) > 0 and mh:name() == kernel, "netlink: recvmsg answers it")
  sock:close()
end
if not (L.AF_NETLINK and jit.os == "Linux") then T.skip(14, "this system has no netlink") else test_netlink() end

-- AF_VSOCK over the loopback.
local sockaddr_vm = ffi.typeof "struct { uint16_t family, reserved; uint32_t port, cid; uint8_t zero[4]; }"
local ANY, LOCAL = 2^32 - 1, 1

local function vsock(cid, port)
  return assert(L.addrinfo.new(raw(sockaddr_vm { family = L.AF_VSOCK, port = port, cid = cid }), L.SOCK_STREAM))
end

local function vsock_listener()
  local sock, err = L.socket.new(vsock(ANY, ANY))
  if not sock then return nil, "no vsock: " .. err end
  err = sock:bind() or sock:listen()
  if err then sock:close() end
  return not err and sock or nil, err and "no vsock: " .. err
end

local function test_vsock(listener)
  local name = sockaddr_vm()
  ffi.copy(name, listener:getsockname():bytes(), ffi.sizeof(name))
  T.ok(name.port ~= ANY and name.port > 0, "vsock: bind gives a port")
  local client = assert(L.socket.new(vsock(LOCAL, name.port), true))
  client:connect()
  if not client:sendable(0.3) or client:error() ~= 0 then -- where there is no loopback it takes seconds to fail
    client:close()
    return T.skip(3, "vsock has no loopback here")
  end
  local server = assert(listener:accept())
  client:send "over vsock"
  T.is(server:recv(), "over vsock", "vsock: data arrives")
  T.is(client:getpeername(), vsock(LOCAL, name.port), "vsock: the peer's address is the one connected to")
  T.is(server:family(), L.AF_VSOCK, "vsock: an accepted socket has the family")
  client:close(); server:close()
end
local listener, no_vsock
if L.AF_VSOCK then listener, no_vsock = vsock_listener() end
if not listener then T.skip(4, no_vsock or "this system has no vsock") else
  test_vsock(listener)
  listener:close()
end

-- AF_PACKET on lo, in a namespace of its own where nobody else sends.
local sockaddr_ll = ffi.typeof [[
  struct { uint16_t family, protocol; int32_t ifindex; uint16_t hatype; uint8_t pkttype, halen, addr[8]; }
]]
local EXPERIMENT, LOOPBACK_TYPE = 0x88b5, 772 -- an Ethernet type for local use; ARPHRD_LOOPBACK

local function htons(n) return ffi.abi "be" and n or bit.bor(bit.lshift(bit.band(n, 0xff), 8), bit.rshift(n, 8)) end

local function packet(index)
  local ll = sockaddr_ll { family = L.AF_PACKET, protocol = htons(EXPERIMENT), ifindex = index, halen = 6 }
  return assert(L.addrinfo.new(raw(ll), L.SOCK_RAW, htons(EXPERIMENT)))
end

local function test_packet()
  netns.ip "link set lo up"
  local index
  for _, entry in ipairs(L.device.getifaddrs()) do if entry.name == "lo" then index = entry.index end end
  local lo = packet(index)
  T.is(show(lo:family(), lo:protocol(), #lo:bytes()), show(L.AF_PACKET, htons(EXPERIMENT), 20),
    "packet: an address returns what it has")
  local sock = assert(L.socket.new(lo, true))
  T.is(show(sock:bind()), "no values", "packet: a socket is bound to lo")
  local frame = ("\0"):rep(12) .. "\136\181" .. "a frame of our own"
  T.is(show(sock:sendto(frame, lo)), show(#frame, nil, false), "packet: a frame is sent to it")
  T.is(sock:recvable(5), true, "packet: something comes back")
  local got, from = sock:recvfrom()
  T.is(got, frame, "packet: it is the frame")
  local ll = sockaddr_ll()
  ffi.copy(ll, from:bytes(), math.min(#from:bytes(), ffi.sizeof(ll)))
  T.is(show(from:family(), ll.ifindex, ll.hatype), show(L.AF_PACKET, index, LOOPBACK_TYPE), "packet: its sender is lo")
  local mh = assert(L.msghdr.new { name = lo, data = { ("\0"):rep(12), "\136\181", "gathered" }, size = { 14, 100 } })
  T.is(show(sock:sendmsg(mh)), "22, nil, false", "packet: sendmsg gathers a frame")
  assert(sock:recvable(5))
  T.is(show(sock:recvmsg(mh)), "22, nil, false", "packet: recvmsg scatters it")
  T.is(mh:data()[2], "gathered", "packet: into its parts")
  T.is(mh:name():family(), L.AF_PACKET, "packet: with its sender")
  sock:close()
end
local _, wherefore = nil, not L.AF_PACKET and "this system has no packet sockets"
if not wherefore then _, wherefore = netns.enter() end
if wherefore then T.skip(10, wherefore) else test_packet() end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
