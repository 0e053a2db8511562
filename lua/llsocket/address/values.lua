-- values.lua -- addresses of every family from their parts, and back into these.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local failed = require("llsocket.core.failure").failed
local gai = require "llsocket.gai"
local families = require "llsocket.address.families"
local interface = require "llsocket.address.interface"
local sockaddr = require "llsocket.address.sockaddr"
local type = type

local AF_INET, AF_INET6, AF_UNIX, EINVAL = const.AF_INET, const.AF_INET6, const.AF_UNIX, const.EINVAL
local SOCK_STREAM, SOCK_RAW = const.SOCK_STREAM, const.SOCK_RAW
local IPPROTO = { [SOCK_STREAM] = const.IPPROTO_TCP, [const.SOCK_DGRAM] = const.IPPROTO_UDP }

local blank -- makes the object: addrinfo.lua, which stands above this module, hands it in

-- Raises unless type and protocol are numbers or nil; answers whether they are 32-bit integers.
local function are_ints(position, name, socktype, protocol)
  local type_ok = type(socktype) == "nil" or check.int(socktype, position, name)
  local protocol_ok = type(protocol) == "nil" or check.int(protocol, position + 1, name)
  return type_ok and protocol_ok
end

-- Raises unless `value` is a number; answers whether it is an integer from 0 to `last`.
local function is_unsigned(value, position, name, last)
  return check.word(value, position, name) and value >= 0 and value <= last
end

local function internet(family, addr, port, socktype, protocol)
  socktype = socktype or SOCK_STREAM
  local ai = blank(family, socktype, protocol or IPPROTO[socktype] or 0)
  local namelen = sockaddr.from_text(ai.name, family, addr, port)
  if not namelen then return failed(EINVAL) end
  ai.namelen = namelen
  return ai
end

--- Makes the address of an IPv4 socket; see ip(7).
---@param addr string  numeric, as inet_pton(3) takes it
---@param port integer  0 to 65535
---@param socktype? integer  SOCK_*; the default is SOCK_STREAM
---@param protocol? integer  IPPROTO_*; the default is TCP's for a stream, UDP's for datagrams, else 0
---@return llsocket.addrinfo? ai
---@return string? err
---@return integer? errno  EINVAL for what is no address, port, type or protocol
local function inet(addr, port, socktype, protocol)
  check.string(addr, 1, "inet")
  local port_ok = is_unsigned(port, 2, "inet", 65535)
  if not (are_ints(3, "inet", socktype, protocol) and port_ok) then return failed(EINVAL) end
  return internet(AF_INET, addr, port, socktype, protocol)
end

--- Makes the address of an IPv6 socket; see ipv6(7).  A zone that is a name opens a descriptor during the call.
---@param addr string  numeric, as inet_pton(3) takes it; with %zone: the name of an interface, or else its index
---@param port integer  0 to 65535
---@param socktype? integer  SOCK_*; the default is SOCK_STREAM
---@param protocol? integer  IPPROTO_*; the default is TCP's for a stream, UDP's for datagrams, else 0
---@return llsocket.addrinfo? ai
---@return string? err
---@return integer? errno  EINVAL for what is no address, port, type or protocol; ENODEV for a zone that no interface has;
---EMFILE, ENFILE
local function inet6(addr, port, socktype, protocol)
  check.string(addr, 1, "inet6")
  local port_ok = is_unsigned(port, 2, "inet6", 65535)
  if not (are_ints(3, "inet6", socktype, protocol) and port_ok) then return failed(EINVAL) end
  local host, zone = addr:match "^([^%%]*)%%(.+)$"
  local ai, err, errno = internet(AF_INET6, host or addr, port, socktype, protocol)
  if not (ai and zone) then return ai, err, errno end
  local index, e = interface.zone(zone)
  if not index then return failed(e) end
  sockaddr.set_scope(ai.name, AF_INET6, index)
  return ai
end

--- Makes the address of a unix socket; see unix(7).
---@param path string  at most 108 bytes, 104 on the BSDs; a leading NUL makes it abstract, "" autobinds
---@param socktype? integer  SOCK_*; the default is SOCK_STREAM
---@param protocol? integer  the default is 0
---@return llsocket.addrinfo? ai
---@return string? err
---@return integer? errno  ENAMETOOLONG; EINVAL for a NUL inside a path, or a number out of range
local function unix(path, socktype, protocol)
  check.string(path, 1, "unix")
  if not are_ints(2, "unix", socktype, protocol) then return failed(EINVAL) end
  local ai = blank(AF_UNIX, socktype or SOCK_STREAM, protocol or 0)
  local namelen, e = sockaddr.from_path(ai.name, path)
  if not namelen then return failed(e) end
  ai.namelen = namelen
  return ai
end

-- Makes an address of a family that this system may lack.
local function other(family, socktype, protocol, write, a, b, c)
  if not (family and families.rows[family]) then return failed(const.EAFNOSUPPORT) end
  local ai = blank(family, socktype, protocol)
  local namelen = write(ai.name, a, b, c)
  if not namelen then return failed(EINVAL) end
  ai.namelen = namelen
  return ai
end

--- Makes the address of a virtual machine's socket; see vsock(7).
---@param cid integer  0 to 2^32-1: VMADDR_CID_HOST, VMADDR_CID_LOCAL, VMADDR_CID_ANY or a machine's number
---@param port integer  0 to 2^32-1; VMADDR_PORT_ANY lets the kernel choose
---@param socktype? integer  SOCK_*; the default is SOCK_STREAM
---@param protocol? integer  the default is 0
---@return llsocket.addrinfo? ai
---@return string? err
---@return integer? errno  EINVAL for a number out of range; EAFNOSUPPORT where the system has no such sockets
local function vsock(cid, port, socktype, protocol)
  local cid_ok, port_ok = is_unsigned(cid, 1, "vsock", 2^32), is_unsigned(port, 2, "vsock", 2^32)
  if not (are_ints(3, "vsock", socktype, protocol) and cid_ok and port_ok) then return failed(EINVAL) end
  return other(const.AF_VSOCK, socktype or SOCK_STREAM, protocol or 0, families.vsock, cid, port)
end

--- Makes the address of a netlink socket; see netlink(7).
---@param groups integer  RTMGRP_*, a mask of 32 bits; 0 for none
---@param pid? integer  0 to 2^32-1; the default, 0, is the kernel, and lets bind choose a number
---@param socktype? integer  the default is SOCK_RAW; SOCK_DGRAM is the same
---@param protocol? integer  NETLINK_*; the default is NETLINK_ROUTE
---@return llsocket.addrinfo? ai
---@return string? err
---@return integer? errno  EINVAL for a number out of range; EAFNOSUPPORT where the system has no such sockets
local function netlink(groups, pid, socktype, protocol)
  local mask = check.word(groups, 1, "netlink")
  local pid_ok = type(pid) == "nil" or is_unsigned(pid, 2, "netlink", 2^32)
  if not (are_ints(3, "netlink", socktype, protocol) and mask and pid_ok) then return failed(EINVAL) end
  return other(const.AF_NETLINK, socktype or SOCK_RAW, protocol or const.NETLINK_ROUTE, families.netlink, mask, pid or 0)
end

--- Makes the address of a packet socket; see packet(7).  Opens a descriptor during the call unless `ifname` is nil.
---@param ifname? string  at most 15 bytes; nil for all interfaces
---@param ethertype integer  ETH_P_*, 0 to 65535, host order
---@param mac? string  a hardware address to send to, "02:00:5e:00:53:01", 1 to 32 bytes
---@param socktype? integer  the default is SOCK_RAW: packets with their link-layer header; SOCK_DGRAM: without
---@param protocol? integer  the default is `ethertype` in network order; 0 receives nothing until bind
---@return llsocket.addrinfo? ai
---@return string? err
---@return integer? errno  ENODEV: no such interface; EINVAL for what is no hardware address and for a number out of range;
---EAFNOSUPPORT where the system has no such sockets; EMFILE, ENFILE
local function packet(ifname, ethertype, mac, socktype, protocol)
  check.optional_string(ifname, 1, "packet")
  local ethertype_ok = is_unsigned(ethertype, 2, "packet", 65535)
  check.optional_string(mac, 3, "packet")
  if not (are_ints(4, "packet", socktype, protocol) and ethertype_ok) then return failed(EINVAL) end
  local index, e = 0, nil
  if ifname then index, e = interface.index(ifname) end
  if not index then return failed(e) end
  return other(const.AF_PACKET, socktype or SOCK_RAW, protocol or families.swap16(ethertype), families.packet, index, ethertype,
    mac)
end

local M = {}

--- Adds the functions that make addresses to the module addrinfo.
---@param addrinfo llsocket.addrinfo.module
function M.complete(addrinfo)
  blank = addrinfo.blank
  addrinfo.inet, addrinfo.inet6, addrinfo.unix = inet, inet6, unix
  addrinfo.vsock, addrinfo.netlink, addrinfo.packet = vsock, netlink, packet
end

--- Tells the parts of an address; see ai:fields().
---@param name ffi.cdata*
---@param namelen integer
---@param family integer  AF_*
---@return table? fields  nil for a family without a row
function M.fields(name, namelen, family)
  local row = sockaddr.families[family]
  if row.fields then return row.fields(name, namelen) end
  local text = sockaddr.text(name, namelen, family)
  if row.is_path then return { path = text } end
  local fields = text and { addr = text, port = sockaddr.port(name, namelen, family) }
  if row.scope then fields.scope, fields.flowinfo = sockaddr.scope(name, family), families.swap32(name.in6.sin6_flowinfo) end
  return fields
end

local MAPPED = ("\0"):rep(10) .. "\255\255" -- ::ffff:0:0/96; see RFC 4291, 2.5.5.2

--- Makes the IPv4 address that an IPv4-mapped IPv6 address stands for; see ai:unmapped().
---@param ai llsocket.addrinfo
---@param make fun(domain: integer, socktype: integer, proto: integer): llsocket.addrinfo  this module may not be complete yet
---@return llsocket.addrinfo? unmapped  nil for an address that is none, or cut
function M.unmapped(ai, make)
  if ai.namelen < sockaddr.families[AF_INET6].size then return nil end
  local place = sockaddr.place(ai.name, AF_INET6).s6_addr
  if ffi.string(place, 12) ~= MAPPED then return nil end
  local v4 = make(AF_INET, ai.type, ai.proto)
  v4.namelen = sockaddr.from_text(v4.name, AF_INET, "0.0.0.0")
  v4.name.in4.sin_port = ai.name.in6.sin6_port
  ffi.copy(sockaddr.place(v4.name, AF_INET), place + 12, 4)
  return v4
end

--- Answers ai:nameinfo() for a family with addresses and ports that libc does not know.
---@param ai llsocket.addrinfo
---@param flags integer
---@return { host: string, serv: string }? ni
---@return string? err
---@return integer? code
function M.nameinfo(ai, flags)
  if bit.band(flags, const.NI_NAMEREQD) ~= 0 then return gai.failed(const.EAI_NONAME) end
  if not ai:port() then return gai.failed(const.EAI_FAMILY) end -- the address is cut
  return { host = ai:addr(), serv = ("%d"):format(ai:port()) }
end

--- Turns a numeric address into its bytes; see inet_pton(3).
---@param text string  of IPv4 or IPv6, without zone
---@return string? bytes  4 or 16
---@return string? err
---@return integer? errno  EINVAL for what is no address
local function pton(text)
  check.string(text, 1, "pton")
  local family = text:find(":", 1, true) and AF_INET6 or AF_INET
  local name = sockaddr.type()
  if not sockaddr.from_text(name, family, text) then return failed(EINVAL) end
  local place = sockaddr.place(name, family)
  return (ffi.string(place, ffi.sizeof(place)))
end

local FAMILY = { [4] = AF_INET, [16] = AF_INET6 }
local text_t = ffi.typeof "char[64]"

--- Turns the bytes of an address into its text; see inet_ntop(3).
---@param bytes string  4 or 16, network order
---@return string? text
---@return string? err
---@return integer? errno  EINVAL for another length
local function ntop(bytes)
  check.string(bytes, 1, "ntop")
  local family = FAMILY[#bytes]
  if not family then return failed(EINVAL) end
  local text = text_t()
  C.llsocket2_inet_ntop(family, bytes, text, 64)
  return (ffi.string(text))
end

M.pton, M.ntop = pton, ntop

return M
