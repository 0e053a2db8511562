-- device: what the BSDs' getifaddrs(3) hands out, by a stand-in with their layouts: a length in the first byte of each
-- address, and netmasks without a family that are cut behind the last byte that is not 0.
local ffi = require "ffi"
local L = require "llsocket"
local layout = require "llsocket.core.layout"
local leak = require "leak"
local show = require("show").show
local standin = require "standin"
local T = require("tap").plan(10)
local before = leak.count()

local structs = {
  sockaddr_in = ffi.typeof([[struct { uint8_t sin_len, sin_family; uint16_t sin_port; $ sin_addr; uint8_t zero[8]; }]],
    layout.in_addr),
  sockaddr_in6 = ffi.typeof([[struct { uint8_t sin6_len, sin6_family; uint16_t sin6_port; uint32_t sin6_flowinfo;
    $ sin6_addr; uint32_t sin6_scope_id; }]], layout.in6_addr),
  sockaddr_un = ffi.typeof [[struct { uint8_t sun_len, sun_family; uint8_t sun_path[104]; }]],
  sockaddr_storage = ffi.typeof [[struct { uint8_t ss_len, ss_family; uint8_t rest[126]; } __attribute__((aligned(8)))]],
}

local kept = {}
local function keep(object)
  kept[#kept + 1] = object
  return object
end

-- A socket address of `length` bytes, family first, address last; what lies behind it is somebody else's.
local function address(length, family, bytes)
  local cell = keep(ffi.new "uint8_t[64]")
  ffi.fill(cell, 64, 0xaa)
  cell[0], cell[1], cell[2], cell[3] = length, family, 0, 0
  local at = (family == L.AF_INET6 or #bytes > 4) and 8 or 4
  if at == 8 then ffi.fill(cell + 4, 4) end
  ffi.copy(cell + at, bytes, #bytes)
  if length >= 28 then ffi.fill(cell + 24, 4) end
  return cell
end

local list
local function entry(name, flags, addr, netmask, broadaddr)
  local node, text = keep(layout.ifaddrs()), keep(ffi.new("char[16]", name))
  node.ifa_name, node.ifa_flags, node.ifa_next = text, flags, list
  node.ifa_addr, node.ifa_netmask, node.ifa_broadaddr = addr, netmask, broadaddr
  list = node
end

local V4, V6, BROAD = L.AF_INET, L.AF_INET6, L.IFF_BROADCAST
local ONES = ("\255"):rep(16)
local function four(text) return address(16, V4, text) end
local function six(text) return address(28, V6, text) end
local FD = "\253" .. ("\0"):rep(14)
entry("em0", BROAD, six(FD .. "\3"), address(28, V6, ONES))
entry("em0", BROAD, six(FD .. "\2"), address(28, 0, ONES))
entry("em0", BROAD, six(FD .. "\1"), address(16, 0, ONES:sub(1, 8)))
entry("em0", 0, four "\10\0\0\3", nil)
entry("em0", BROAD, four "\10\0\0\2", address(0, 0, "\1\2\3\4"), four "\255\255\255\255")
entry("em0", BROAD, four "\10\0\0\1", address(16, 255, "\255\255\255\255"), four "\10\0\0\1")
entry("em0", BROAD, four "\192\0\2\6", address(5, 0, "\255"), four "\192\255\255\255")
entry("em0", BROAD, four "\192\0\2\5", address(7, 0, "\255\255\255"), four "\192\0\2\255")

local other = standin.load({ RTM_GETLINK = false, SIOCGIFNAME = false }, {
  llsocket2_getifaddrs = function(cell) cell[0] = list return 0 end,
  llsocket2_freeifaddrs = function() end,
  llsocket2_if_nametoindex = function() ffi.errno(L.ENXIO) return 0 end,
}, structs)

local told = {}
for i, e in ipairs(assert(other.device.getifaddrs())) do told[i] = show(e.family, e.addr, e.netmask, e.broadaddr) end
T.is(told[1], show(V4, "192.0.2.5", "255.255.255.0", "192.0.2.255"), "a netmask without family and last byte is read")
T.is(told[2], show(V4, "192.0.2.6", "255.0.0.0", "192.255.255.255"), "bytes after its length are not read")
T.is(told[3], show(V4, "10.0.0.1", "255.255.255.255", nil), "its family is never looked at")
T.is(told[4], show(V4, "10.0.0.2", "0.0.0.0", "255.255.255.255"), "one of no bytes is 0.0.0.0")
T.is(told[5], show(V4, "10.0.0.3", nil, nil), "an interface without a netmask has none")
T.is(told[6], show(V6, "fd00::1", "ffff:ffff:ffff:ffff::", nil), "an IPv6 netmask may be cut, too")
T.is(told[7], show(V6, "fd00::2", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", nil), "or be whole, without a family")
T.is(told[8], show(V6, "fd00::3", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", nil), "or with one")
T.is(show(other.device.index "nosuch"), show(nil, require("llsocket.errno").text(L.ENODEV), L.ENODEV),
  "an unknown name is ENODEV, where if_nametoindex says ENXIO")
T.is(leak.count(), before, "no descriptor is left")
T.done()
