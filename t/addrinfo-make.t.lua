-- addrinfo: addresses of every family from their parts, the bytes that they have, and fields(), which tells the parts.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local show = require("show").show
local before = leak.count()
local A = L.addrinfo
local LINUX = jit.os == "Linux"
local T = require("tap").plan(64)

local function hex(bytes) return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end)) end

-- A table of plain values as one line, in the order of its keys.
local function line(fields)
  local out = {}
  for name, value in pairs(fields or {}) do out[#out + 1] = name .. "=" .. tostring(value) end
  table.sort(out)
  return fields and table.concat(out, " ") or "nil"
end

-- 16 and 32 bits as C has them in memory here.
local function u16(n) return ffi.string(ffi.new("uint16_t[1]", n), 2) end
local function u32(n) return ffi.string(ffi.new("uint32_t[1]", n), 4) end

local function all(ai) return show(ai:family(), ai:socktype(), ai:protocol(), ai:addr(), ai:port()) end

-- The internet's, and unix sockets'.
local ai = assert(A.inet("192.0.2.1", 80))
T.is(all(ai), show(L.AF_INET, L.SOCK_STREAM, L.IPPROTO_TCP, "192.0.2.1", 80), "inet: a stream is TCP's")
T.ok(ai == L.inet.getaddrinfo("192.0.2.1", 80)[1], "inet: it equals that of getaddrinfo")
T.is(line(ai:fields()), "addr=192.0.2.1 port=80", "inet: its fields")
T.is(A.inet("192.0.2.1", 0, L.SOCK_DGRAM):protocol(), L.IPPROTO_UDP, "inet: datagrams are UDP's")
T.is(A.inet("192.0.2.1", 0, L.SOCK_RAW):protocol(), 0, "inet: a raw socket's protocol is 0")
T.is(A.inet("192.0.2.1", 0, L.SOCK_RAW, L.IPPROTO_ICMP):protocol(), L.IPPROTO_ICMP, "inet: unless one is given")
T.is(all(A.inet("192.0.2.1", 65535, 0, 0)), show(L.AF_INET, 0, 0, "192.0.2.1", 65535), "inet: a type of 0 stays 0")

ai = assert(A.inet6("2001:db8::1", 443))
T.is(all(ai), show(L.AF_INET6, L.SOCK_STREAM, L.IPPROTO_TCP, "2001:db8::1", 443), "inet6: a stream is TCP's")
T.ok(ai == L.inet.getaddrinfo("2001:db8::1", 443)[1], "inet6: it equals that of getaddrinfo")
T.is(line(ai:fields()), "addr=2001:db8::1 flowinfo=0 port=443 scope=0", "inet6: its fields")
local lo = L.device.name(L.device.index "lo" or 0)
if lo then
  local index = L.device.index(lo)
  ai = assert(A.inet6("fe80::1%" .. lo, 1))
  T.is(ai:addr(), "fe80::1%" .. lo, "inet6: a zone by name")
  T.is(line(ai:fields()), "addr=fe80::1 flowinfo=0 port=1 scope=" .. index, "inet6: fields tell it as a number")
  T.ok(ai == A.inet6("fe80::1%" .. index, 1) and ai == L.inet.getaddrinfo("fe80::1%" .. lo, 1)[1],
    "inet6: by number it is the same, as with getaddrinfo")
else
  T.skip(3, "there is no interface lo")
end
T.is(A.inet6("ff02::1%2147483647", 1):fields().scope, 2147483647, "inet6: a number need be no interface's")
ffi.cast("uint8_t *", ai)[7], ffi.cast("uint8_t *", ai)[5] = 0x78, 0x0a
T.is(ai:fields().flowinfo, 0x0a0078, "inet6: flow information is in host order")

T.is(all(A.unix "/run/x"), show(L.AF_UNIX, L.SOCK_STREAM, 0, "/run/x", nil), "unix: a stream")
T.ok(A.unix("\0x", L.SOCK_DGRAM) == L.unix.getaddrinfo("\0x", L.SOCK_DGRAM)[1], "unix: it equals that of getaddrinfo")
T.is(line(A.unix("\0x"):fields()) .. line(A.unix(""):fields()), "path=\0xpath=", "unix: its fields")

-- Linux's.
local function test_netlink()
  local nl = assert(A.netlink(L.RTMGRP_LINK))
  T.is(all(nl), show(L.AF_NETLINK, L.SOCK_RAW, L.NETLINK_ROUTE, nil, nil), "netlink: raw, to the kernel's routing")
  T.is(hex(nl:bytes()), hex(u16(L.AF_NETLINK) .. "\0\0" .. u32(0) .. u32(1)), "netlink: its bytes")
  nl = assert(A.netlink(L.RTMGRP_IPV4_IFADDR, 0x80000001, L.SOCK_DGRAM, L.NETLINK_GENERIC))
  T.is(hex(nl:bytes()), hex(u16(L.AF_NETLINK) .. "\0\0" .. u32(0x80000001) .. u32(16)), "netlink: with a number")
  T.is(show(nl:socktype(), nl:protocol()), show(L.SOCK_DGRAM, L.NETLINK_GENERIC), "netlink: type and protocol")
  T.is(line(nl:fields()), "groups=16 pid=2147483649", "netlink: its fields")
  T.is(tostring(nl), "netlink:2147483649/0x10", "netlink: its text")
  T.is(tostring(A.netlink(0)), "netlink:0", "netlink: that of the kernel")
  T.is(line(A.netlink(bit.bnot(0)):fields()), "groups=4294967295 pid=0", "netlink: all groups, as bit.bnot writes them")
end
if LINUX and L.AF_NETLINK then test_netlink() else T.skip(8, "this system has no netlink") end

local function test_packet()
  local order = ffi.abi "be" and 0x0800 or 0x0008
  local ll = assert(A.packet(nil, L.ETH_P_IP))
  T.is(all(ll), show(L.AF_PACKET, L.SOCK_RAW, order, nil, nil), "packet: raw; the protocol is the type in network order")
  T.is(hex(ll:bytes()), hex(u16(L.AF_PACKET) .. "\8\0" .. u32(0) .. ("\0"):rep(12)), "packet: its bytes")
  T.is(line(ll:fields()), "ethertype=2048 hatype=0 index=0 pkttype=0", "packet: its fields, on all interfaces")
  T.is(tostring(ll), "packet:0:0x0800", "packet: its text")
  ll = assert(A.packet(nil, L.ETH_P_ARP, "02:00:5E:00:53:0f", L.SOCK_DGRAM, 0))
  T.is(all(ll), show(L.AF_PACKET, L.SOCK_DGRAM, 0, "02:00:5e:00:53:0f", nil), "packet: a hardware address; protocol 0 stays 0")
  T.is(hex(ll:bytes()), hex(u16(L.AF_PACKET) .. "\8\6" .. u32(0) .. "\0\0\0\6") .. "02005e00530f0000", "packet: in its bytes")
  T.is(tostring(ll), "packet:0:0x0806/02:00:5e:00:53:0f", "packet: and in its text")
  T.is(ll:fields().mac, "02:00:5e:00:53:0f", "packet: and in its fields")
  local long = ("80:"):rep(19) .. "fe"
  ll = assert(A.packet(nil, 0xffff, long))
  T.is(show(ll:addr(), #ll:bytes(), ll:fields().ethertype), show(long, 32, 65535), "packet: InfiniBand's goes beyond the struct")
  T.is(A.new(ll:bytes():sub(1, 31)):addr(), long:sub(1, -4), "packet: a cut one is told as far as it goes")
  local taken = {}
  for _, bad in ipairs { "", "0", "2:0", "02-00", "0x:02", "02:", ":02", "02:00 ", " 02", "02:0g", "02:00\0",
    "02\00003", "02-03", "020030", ("00:"):rep(32) .. "00" } do
    if select(3, A.packet(nil, 1, bad)) ~= L.EINVAL then taken[#taken + 1] = ("%q"):format(bad) end
  end
  T.is(table.concat(taken, " "), "", "packet: what is no hardware address is EINVAL")
  T.ok(A.packet(nil, 1, "0A") and A.packet(nil, 1, ("00:"):rep(31) .. "00"), "packet: 1 to 32 bytes are one")
  if not lo then return T.skip(3, "there is no interface lo") end
  ll = assert(A.packet(lo, L.ETH_P_ALL))
  T.is(hex(ll:bytes()), hex(u16(L.AF_PACKET) .. "\0\3" .. u32(L.device.index(lo)) .. ("\0"):rep(12)), "packet: an interface")
  T.is(ll:fields().ifname, lo, "packet: its name in the fields")
  T.is(tostring(ll), "packet:" .. lo .. ":0x0003", "packet: and in the text")
end
if LINUX and L.AF_PACKET then test_packet() else T.skip(15, "this system has no packet sockets") end
T.is(select(3, A.packet("no-such-if", 1)), L.ENODEV, "packet: an interface that is not there is ENODEV")

local function test_vsock()
  local vm = assert(A.vsock(L.VMADDR_CID_HOST, 1024))
  T.is(all(vm), show(L.AF_VSOCK, L.SOCK_STREAM, 0, "2", 1024), "vsock: a stream to the host")
  T.is(hex(vm:bytes()), hex(u16(L.AF_VSOCK) .. "\0\0" .. u32(1024) .. u32(2) .. u32(0)), "vsock: its bytes")
  T.is(line(vm:fields()), "cid=2 port=1024", "vsock: its fields")
  T.is(tostring(vm), "vsock:2:1024", "vsock: its text")
  vm = assert(A.vsock(L.VMADDR_CID_ANY, L.VMADDR_PORT_ANY, L.SOCK_SEQPACKET, 0))
  T.is(all(vm), show(L.AF_VSOCK, L.SOCK_SEQPACKET, 0, "4294967295", 4294967295), "vsock: any")
  local ni = vm:nameinfo(L.NI_NUMERICHOST)
  T.is(show(ni.host, ni.serv), "4294967295, 4294967295", "vsock: nameinfo has the numbers")
  T.is(select(3, vm:nameinfo(L.NI_NAMEREQD)), L.EAI_NONAME, "vsock: and no names")
end
if LINUX and L.AF_VSOCK then test_vsock() else T.skip(7, "this system has no vsock") end

-- What no family has.
local none = A.new(u16(250) .. "\0\0")
T.is(show(none:fields(), none:addr(), none:port()), "nil, nil, nil", "another family has no fields")
local cut = {}
for _, name in ipairs(LINUX and { "AF_NETLINK", "AF_PACKET", "AF_VSOCK" } or {}) do
  local short = A.new(u16(L[name]) .. "\0\0\0\0\0\0")
  if short:fields() or short:addr() or short:port() or short:nameinfo() then cut[#cut + 1] = name end
end
T.is(table.concat(cut, " "), "", "an address that ends too early has none")

-- Refused.
local EINVAL = show(nil, "Invalid argument", L.EINVAL)
local WRONG = {
  { "inet", "", 1 }, { "inet", "localhost", 1 }, { "inet", "127.0.0.1%lo", 1 }, { "inet", "127.1", 1 }, { "inet", "::1", 1 },
  { "inet", "127.0.0.1\0", 1 }, { "inet6", "127.0.0.1", 1 }, { "inet6", "fe80::1%", 1 }, { "inet6", "%lo", 1 },
  { "inet6", "::1\0", 1 }, { "unix", "a\0b" },
}
local accepted = {}
for _, row in ipairs(WRONG) do
  if show(A[row[1]](row[2], row[3])) ~= EINVAL then accepted[#accepted + 1] = row[1] .. " " .. row[2] end
end
T.is(table.concat(accepted, "; "), "", "what is no address is EINVAL")
T.is(select(3, A.unix(("x"):rep(200))), L.ENAMETOOLONG, "a path that is too long is ENAMETOOLONG")
T.is(select(3, A.inet6("fe80::1%no-such-if", 1)), L.ENODEV, "a zone that no interface has is ENODEV")

local function raised(fn, ...)
  local _, message = pcall(fn, ...)
  return tostring(message):gsub("^.-(addrinfo%-make%.t%.lua):%d+: ", "%1: ")
end
T.is(raised(function() A.inet(1, 1) end), "addrinfo-make.t.lua: bad argument #1 to 'inet' (string expected, got number)",
  "a wrong type raises at the caller's line")
T.is(raised(function() A.packet("lo", "3") end), "addrinfo-make.t.lua: bad argument #2 to 'packet' (number expected, got string)",
  "at any position")
T.is(raised(function() A.inet6("::1", 1).fields {} end),
  "addrinfo-make.t.lua: calling 'fields' on bad self (llsocket.addrinfo expected, got table)", "and a foreign self")

-- Compared with what is no address.
ai = A.inet("127.0.0.1", 80)
local pointer_t = ffi.typeof("$ *", A.type)
local OTHERS = { 1, "127.0.0.1:80", true, {}, print, io.stdout, 1ll, ffi.new "int", ffi.new "void *", pointer_t(),
  ffi.cast(pointer_t, ai), ffi.new "int[1]", coroutine.create(print), L.socket }
local equal = 0
for _, other in ipairs(OTHERS) do if ai == other or other == ai then equal = equal + 1 end end
T.is(equal, 0, "an address equals nothing that is none")
T.is(show(ai == nil, nil == ai, ai ~= nil, pointer_t() == ai), "false, false, true, false", "nil and a NULL pointer neither")
local same, different = A.inet("127.0.0.1", 80), A.inet("127.0.0.1", 81)
local hits = 0
for i = 1, 300 do
  local other
  if i % 3 == 0 then other = same elseif i % 3 == 1 then other = different end
  if ai == other then hits = hits + 1 end
end
T.is(hits, 100, "so it is in a loop that is compiled")

-- Each address is its own, also after collections.
local kept, wrong = {}, 0
for i = 1, 300 do kept[i] = A.inet("10.0.0." .. i % 256, i) end
for _ = 1, 2 do collectgarbage() end
for i = 1, 300 do if tostring(kept[i]) ~= ("10.0.0.%d:%d"):format(i % 256, i) then wrong = wrong + 1 end end
T.is(wrong, 0, "three hundred addresses stay what they were")

-- The module is complete before anybody asks, and each name is one function.
T.is(A.inet, L.addrinfo.inet, "a function is the same each time")
T.is(show(A.nosuchname, A[1]), "nil, nil", "an unknown name is nil")
T.is(leak.count(), before, "no descriptor is left")
T.done()
