-- cmsghdr.lua -- one piece of ancillary data, received or to be sent; see cmsg(3).
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local C = require "llsocket.core.libc"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local check = require "llsocket.core.check"
local failed = require("llsocket.core.failure").failed
local decode = require "llsocket.message.decode"
local interface = require "llsocket.address.interface"
local rights = require "llsocket.message.rights"
local sockaddr = require "llsocket.address.sockaddr"
local ipairs, select, setmetatable, luatype = ipairs, select, setmetatable, type
local floor, max, concat = math.floor, math.max, table.concat

local sizeof, struct = ffi.sizeof, decode.struct
local EINVAL, ENODEV, ENOPROTOOPT = const.EINVAL, const.ENODEV, const.ENOPROTOOPT
local AF_INET, AF_INET6 = const.AF_INET, const.AF_INET6
local SOL_SOCKET, IPPROTO_IP, IPPROTO_IPV6 = const.SOL_SOCKET, const.IPPROTO_IP, const.IPPROTO_IPV6
local SCM_RIGHTS = const.SCM_RIGHTS

---@class llsocket.cmsghdr
local Cmsghdr = {}
local meta = { __index = Cmsghdr }

local is_self, arg = check.object(meta, "llsocket.cmsghdr")

-- Do not store descriptor numbers: an object may be closed before the send, and its number reused.  `bytes` is the content;
-- a cmsghdr that carries descriptors has `objects` instead, and reads their numbers at the time of the send.
local function make(level, kind, bytes, objects)
  return (setmetatable({ cmsg_level = level, cmsg_type = kind, bytes = bytes, objects = objects }, meta))
end

local int_cell = ffi.new "int[1]"

local function int_bytes(n)
  int_cell[0] = n
  return (ffi.string(int_cell, 4))
end

-- Answers the descriptors' numbers in the kernel's form; nil and EBADF where one is closed.
local function rights_bytes(objects)
  local out = {}
  for i, object in ipairs(objects) do
    local fd, e = rights.number_of(object)
    if not fd then return nil, e end
    out[i] = int_bytes(fd)
  end
  return concat(out)
end

-- Answers the bytes that a message puts into its control buffer; or nil and the errno.
local function encode(cmsg)
  if cmsg.objects then return rights_bytes(cmsg.objects) end
  return cmsg.bytes
end

-- NUMBERS makes more constructors, whose @field lines are in meta.lua.  They answer EINVAL for a number that is too large,
-- below 0 or not whole, ENOPROTOOPT where the system has none.
---@class llsocket.cmsghdr.module
local M = {}

--- Makes ancillary data of any kind, to be sent.
---@param level integer  SOL_SOCKET, IPPROTO_IP, IPPROTO_IPV6, ...
---@param type integer  SCM_*, IP_*, IPV6_*, ...
---@param data string  bytes in the kernel's form
---@return llsocket.cmsghdr? cmsg
---@return string? err
---@return integer? errno  EINVAL
function M.new(level, type, data)
  local level_ok, type_ok = check.int(level, 1, "new"), check.int(type, 2, "new")
  check.string(data, 3, "new")
  if not (level_ok and type_ok) then return failed(EINVAL) end
  return make(level, type, data)
end

--- Makes ancillary data that passes descriptors to another process; see SCM_RIGHTS in unix(7).  It keeps the objects, and
--- reads their numbers when the message is sent.
---@param fd integer|llsocket.socket|llsocket.descriptor|file*  still belongs to the caller
---@param ... integer|llsocket.socket|llsocket.descriptor|file*  more; Linux takes 253 at most
---@return llsocket.cmsghdr? cmsg
---@return string? err
---@return integer? errno  EBADF for a closed object, EINVAL
function M.rights(fd, ...)
  local objects = { fd, ... }
  for i = 1, max(1, select("#", fd, ...)) do rights.check_owner(objects[i], i, "rights") end
  for _, object in ipairs(objects) do
    local e = rights.refusal(object)
    if e then return failed(e) end
  end
  local bytes, e = rights_bytes(objects)
  if not bytes then return failed(e) end
  return make(SOL_SOCKET, SCM_RIGHTS, nil, objects)
end

local function credential(value, own, position, most)
  if luatype(value) == "nil" then return own() end
  check.number(value, position, "credentials")
  return value >= 0 and value <= most and floor(value) == value and value or nil
end

--- Makes ancillary data that tells the sender's credentials, which the kernel checks; see SCM_CREDENTIALS in unix(7).
---@param pid? integer  0 to 2^31-1; the default is this process
---@param uid? integer  0 to 2^32-1; the default is the real user
---@param gid? integer  0 to 2^32-1; the default is the real group
---@return llsocket.cmsghdr? cmsg
---@return string? err
---@return integer? errno  EINVAL; ENOPROTOOPT where the system has none
function M.credentials(pid, uid, gid)
  pid = credential(pid, C.llsocket2_getpid, 1, 2^31 - 1)
  uid = credential(uid, C.llsocket2_getuid, 2, 2^32 - 1)
  gid = credential(gid, C.llsocket2_getgid, 3, 2^32 - 1)
  if not layout.ucred then return failed(ENOPROTOOPT) end
  if not (pid and uid and gid) then return failed(EINVAL) end
  local cell = layout.ucred()
  cell.pid, cell.uid, cell.gid = pid, uid, gid
  return make(SOL_SOCKET, const.SCM_CREDENTIALS, ffi.string(cell, sizeof(cell)))
end

local function pktinfo4(name, index)
  if not layout.in_pktinfo then return failed(ENOPROTOOPT) end
  local info = layout.in_pktinfo()
  info.ipi_ifindex, info.ipi_spec_dst = index, name.in4.sin_addr
  return make(IPPROTO_IP, const.IP_PKTINFO, ffi.string(info, sizeof(info)))
end

local function pktinfo6(name, index)
  local info = layout.in6_pktinfo()
  info.ipi6_ifindex, info.ipi6_addr = index, name.in6.sin6_addr
  return make(IPPROTO_IPV6, const.IPV6_PKTINFO, ffi.string(info, sizeof(info)))
end

-- Writes a numeric address into `name`; answers its family, or a false value where `text` is not an address.
local function read_address(name, text)
  if sockaddr.from_text(name, AF_INET, text) then return AF_INET end
  return sockaddr.from_text(name, AF_INET6, text) and AF_INET6
end

--- Makes ancillary data that sets the source address of a datagram and the interface that it leaves by; see IP_PKTINFO in
--- ip(7), IPV6_PKTINFO in ipv6(7).  Opens a descriptor during the call where an interface is given.
---@param source string  numeric; with "0.0.0.0" or "::" the routing table chooses.  A `%zone` names the interface
---@param ifname? string  a name, or an index as a decimal number; by default the routing table chooses
---@return llsocket.cmsghdr? cmsg
---@return string? err
---@return integer? errno  ENODEV, EMFILE, ENFILE; EINVAL for an invalid address; ENOPROTOOPT where the system has none;
--- EAFNOSUPPORT, EPERM, EACCES where a sandbox refuses sockets
function M.pktinfo(source, ifname)
  check.string(source, 1, "pktinfo")
  check.optional_string(ifname, 2, "pktinfo")
  local addr, zone = source:match "^([^%%]*)%%(.+)$"
  local name, index, e = sockaddr.type(), 0, nil
  local family = read_address(name, addr or source)
  if not family then return failed(EINVAL) end
  if ifname or zone then index, e = interface.zone(ifname or zone) end
  if not index or index >= 2^31 then return failed(e or ENODEV) end
  if family == AF_INET then return pktinfo4(name, index) end
  return pktinfo6(name, index)
end

-- One row for each kind whose value is a number: constructor, level, type, the largest value, description.
local NUMBERS = {
  { "ttl",          "IPPROTO_IP",   "IP_TTL",          255,      "Sets the time to live of one datagram; see ip(7)." },
  { "tos",          "IPPROTO_IP",   "IP_TOS",          255,      "Sets the type of service of one datagram; see ip(7)." },
  { "hoplimit",     "IPPROTO_IPV6", "IPV6_HOPLIMIT",   255,      "Sets the hop limit of one datagram; see ipv6(7)." },
  { "tclass",       "IPPROTO_IPV6", "IPV6_TCLASS",     255,      "Sets the traffic class of one datagram; see ipv6(7)." },
  { "mark",         "SOL_SOCKET",   "SO_MARK",         2^32 - 1, "Marks one message for routing; see socket(7)." },
  { "priority",     "SOL_SOCKET",   "SO_PRIORITY",     2^31 - 1, "Sets the priority of one message; see socket(7)." },
  { "timestamping", "SOL_SOCKET",   "SO_TIMESTAMPING", 2^31 - 1, "Asks when one message goes out; see socket(7)." },
  { "timestampid",  "SOL_SOCKET",   "SCM_TS_OPT_ID",   2^32 - 1, "Sets the id of one message's times; see socket(7)." },
}

for _, row in ipairs(NUMBERS) do
  local name, level, kind, most = row[1], const[row[2]], const[row[3]], row[4]
  M[name] = function(n)
    local word = check.word(n, 1, name)
    if not word or n < 0 or n > most then return failed(EINVAL) end
    if not kind then return failed(ENOPROTOOPT) end
    return make(level, kind, int_bytes(word))
  end
end

local short_cell = ffi.new "uint16_t[1]"

--- Makes ancillary data that makes the kernel cut one send into datagrams; see UDP_SEGMENT in udp(7).
---@param size integer  bytes of each datagram, 1 to 65535
---@return llsocket.cmsghdr? cmsg
---@return string? err
---@return integer? errno  EINVAL; ENOPROTOOPT where the system has none
function M.segment(size)
  if not check.int(size, 1, "segment") or size < 1 or size > 65535 then return failed(EINVAL) end
  if not const.UDP_SEGMENT then return failed(ENOPROTOOPT) end
  short_cell[0] = size
  return make(const.IPPROTO_UDP, const.UDP_SEGMENT, ffi.string(short_cell, 2))
end

--- Tells the level.
---@return integer level  SOL_SOCKET, IPPROTO_IP, ...
function Cmsghdr:level()
  is_self(self, "level")
  return self.cmsg_level
end

--- Tells the type.
---@return integer type  SCM_*, IP_*, ...
function Cmsghdr:type()
  is_self(self, "type")
  return self.cmsg_type
end

--- Tells the content, in the kernel's form.  For descriptors these are their numbers as ints, or "" once one is closed.
---@return string data
function Cmsghdr:data()
  is_self(self, "data")
  return encode(self) or ""
end

--- Tells the descriptors that it carries.  Received ones belong to the caller: each is a socket, or an llsocket.descriptor
--- where it is not a socket, and is closed when it is collected.
---@return (llsocket.socket|llsocket.descriptor)[]? objects  nil where it carries none
function Cmsghdr:rights()
  is_self(self, "rights")
  return self.objects
end

--- Tells the process that sent the message; see SCM_PIDFD in unix(7) and the option passpidfd.  It belongs to the caller, and is
--- closed when it is collected.
---@return llsocket.descriptor? pidfd  the same object with each call; nil where it is of another kind, and where the kernel could
---make none
function Cmsghdr:pidfd()
  is_self(self, "pidfd")
  return self.objects and self.cmsg_type == const.SCM_PIDFD and self.objects[1] or nil
end

--- Tells the credentials of the sender; see SCM_CREDENTIALS in unix(7) and the option passcred.
---@return { pid: integer, uid: integer, gid: integer }? ucred  nil where it is of another kind
function Cmsghdr:credentials()
  is_self(self, "credentials")
  return struct(self, "credentials")
end

--- Tells the security label of the sender; see SCM_SECURITY in unix(7) and the option passsec.
---@return string? label  nil where it is of another kind
function Cmsghdr:security()
  is_self(self, "security")
  return decode.security(self)
end

---@class llsocket.pktinfo
---@field addr string  the destination in the packet's header
---@field specdst? string  IPv4 only: the address of this machine to answer from
---@field index integer  of the interface; device.name(index) tells its name

--- Tells the destination of a datagram and the interface that it came in by; see IP_PKTINFO in ip(7) and the option pktinfo.
--- Makes no system call.
---@return llsocket.pktinfo? info  nil where it is of another kind
function Cmsghdr:pktinfo()
  is_self(self, "pktinfo")
  return struct(self, "pktinfo")
end

--- Tells where a datagram was sent to before a firewall redirected it here; see IP_RECVORIGDSTADDR in ip(7) and the option
--- recvorigdst.
---@return llsocket.addrinfo? ai  of type SOCK_DGRAM; nil where it is of another kind
function Cmsghdr:origdst()
  is_self(self, "origdst")
  return struct(self, "origdst")
end

---@class llsocket.pathmtu
---@field mtu integer  bytes
---@field dest? llsocket.addrinfo  where the datagrams go that were too long

--- Tells the path MTU; see IPV6_RECVPATHMTU in RFC 3542 and the option recvpathmtu.
---@return llsocket.pathmtu? info  nil where it is of another kind
function Cmsghdr:pathmtu()
  is_self(self, "pathmtu")
  return struct(self, "pathmtu")
end

---@class llsocket.auxdata
---@field status integer  bitwise-or of TP_STATUS_*
---@field len integer  bytes that the packet had
---@field snaplen integer  bytes of it that were kept
---@field mac integer  where the link-layer header begins
---@field net integer  where the network header begins
---@field vlantci? integer  the VLAN's tag; nil where the packet had none
---@field vlantpid? integer  the tag's ethertype, in host order; nil where the packet had none

--- Tells what goes with a packet of a packet(7) socket; see PACKET_AUXDATA there.
---@return llsocket.auxdata? aux  nil where it is of another kind
function Cmsghdr:auxdata()
  is_self(self, "auxdata")
  return struct(self, "auxdata")
end

--- Tells when the message arrived, from SO_TIMESTAMP, SO_TIMESTAMPNS or SO_TIMESTAMPING; with the last it may also be when a
--- message was sent.  See socket(7) and the options of these names.
---@return integer? sec  the kernel's time, seconds since 1970; nil where it is of another kind, or has the other time alone
---@return integer? nsec  nanoseconds, 0 to 999999999
---@return integer? hwsec  the network card's time, seconds of its clock; no value where there is none
---@return integer? hwnsec  nanoseconds, 0 to 999999999
function Cmsghdr:timestamp()
  is_self(self, "timestamp")
  local kind, bytes = self.cmsg_type, self.bytes
  if self.cmsg_level ~= SOL_SOCKET or not bytes or not decode.is_time(kind, #bytes) then return nil end
  return decode.time(kind, bytes)
end

--- Tells the number that it carries: TTL, TOS, hop limit, traffic class, UDP_GRO's segment size, RXQ_OVFL's drops, mark,
--- priority, TCP_INQ's bytes that wait, the size of the largest fragment, ...
---@return integer? n  nil where it is of another kind
function Cmsghdr:integer()
  is_self(self, "integer")
  return decode.integer(self)
end

---@class llsocket.exterr
---@field errno integer  ECONNREFUSED, EMSGSIZE, EHOSTUNREACH, ...; ENOMSG for a time
---@field origin integer  SO_EE_ORIGIN_*
---@field type integer  of the ICMP message
---@field code integer  of the ICMP message
---@field info integer  with EMSGSIZE the path MTU, bytes
---@field data integer
---@field offender? llsocket.addrinfo  the node that reported the error; nil for this machine
---@field stage? integer  of a time: SCM_TSTAMP_SCHED, SCM_TSTAMP_SND, SCM_TSTAMP_ACK
---@field id? integer  of a time: which message was sent, with SOF_TIMESTAMPING_OPT_ID

--- Tells an error from the error queue, or what comes back from there of a message that was sent; see IP_RECVERR in ip(7) and the
--- options recverr and timestamping.
---@return llsocket.exterr? exterr  nil where it is of another kind
function Cmsghdr:exterr()
  is_self(self, "exterr")
  return struct(self, "exterr")
end

---@class llsocket.rfc4884
---@field length integer  where in the message's data the extensions of the ICMP message begin, bytes
---@field invalid boolean  true: they are damaged, do not use them

--- Tells of an error of the error queue where the ICMP message has its extensions; see the options recverr and
--- IP_RECVERR_RFC4884, and RFC 4884.
---@return llsocket.rfc4884? lengths  nil where it is of another kind or has no extensions
function Cmsghdr:rfc4884()
  is_self(self, "rfc4884")
  return struct(self, "rfc4884")
end

local fd_ptr = ffi.typeof "int32_t *"

-- Makes a cmsghdr from received ancillary data, at `offset` of a control buffer's bytes.
local function received(level, kind, bytes, offset, length)
  local at = ffi.cast("uint8_t *", bytes) + offset
  if shim.llsocket2_cmsg_owns(level, kind) == 0 then return make(level, kind, ffi.string(at, length)) end
  local fds, objects = ffi.cast(fd_ptr, at), {}
  for i = 0, floor(length / 4) - 1 do
    if fds[i] >= 0 then objects[#objects + 1] = rights.own(fds, i) end -- -1: an earlier try took it and then ran out of memory
  end
  return make(level, kind, nil, objects)
end

--- Tells whether a message with this ancillary data passes descriptors.
---@param cmsg llsocket.cmsghdr
---@return boolean is_rights
function M.is_rights(cmsg) return cmsg.cmsg_level == SOL_SOCKET and cmsg.cmsg_type == SCM_RIGHTS end

M.methods, M.arg, M.encode, M.received, M.NUMBERS = Cmsghdr, arg, encode, received, NUMBERS

return require("llsocket.core.lazy").keep("llsocket.cmsghdr", M)
