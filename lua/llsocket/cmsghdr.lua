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
local addrinfo = require "llsocket.addrinfo"
local interface = require "llsocket.address.interface"
local rights = require "llsocket.message.rights"
local sockaddr = require "llsocket.address.sockaddr"
local ipairs, select, setmetatable, tonumber, luatype = ipairs, select, setmetatable, tonumber, type
local floor, max, concat = math.floor, math.max, table.concat

local sizeof = ffi.sizeof
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

-- NUMBERS makes more constructors, whose @field lines are in meta.lua.  They take 0 to 255 and answer EINVAL for other numbers.
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
  { "ttl",      "IPPROTO_IP",   "IP_TTL",        255, "Sets the time to live of one datagram; see ip(7)." },
  { "tos",      "IPPROTO_IP",   "IP_TOS",        255, "Sets the type of service of one datagram; see ip(7)." },
  { "hoplimit", "IPPROTO_IPV6", "IPV6_HOPLIMIT", 255, "Sets the hop limit of one datagram; see ipv6(7)." },
  { "tclass",   "IPPROTO_IPV6", "IPV6_TCLASS",   255, "Sets the traffic class of one datagram; see ipv6(7)." },
}

for _, row in ipairs(NUMBERS) do
  local name, level, kind, most = row[1], const[row[2]], const[row[3]], row[4]
  M[name] = function(n)
    if not check.int(n, 1, name) or n < 0 or n > most then return failed(EINVAL) end
    return make(level, kind, int_bytes(n))
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

-- Whether it is of this kind and has at least `size` bytes.
local function fits(cmsg, level, kind, size)
  return kind and cmsg.cmsg_level == level and cmsg.cmsg_type == kind and #cmsg.bytes >= size
end

-- Reads the bytes as a struct, or nil where it is of another kind or too short.
local function as(cmsg, level, kind, ctype)
  if not (ctype and fits(cmsg, level, kind, sizeof(ctype))) then return nil end
  local cell = ctype()
  ffi.copy(cell, cmsg.bytes, sizeof(ctype))
  return cell
end

--- Tells the credentials of the sender; see SCM_CREDENTIALS in unix(7) and the option passcred.
---@return { pid: integer, uid: integer, gid: integer }? ucred  nil where it is of another kind
function Cmsghdr:credentials()
  is_self(self, "credentials")
  local cred = as(self, SOL_SOCKET, const.SCM_CREDENTIALS, layout.ucred)
  if cred then return { pid = cred.pid, uid = cred.uid, gid = cred.gid } end
end

-- Answers the text of an in_addr or in6_addr, by way of a socket address.
local function text_of(family, addr)
  local name = sockaddr.type()
  ffi.copy(sockaddr.place(name, family), addr, sizeof(addr))
  return sockaddr.text(name, sockaddr.SIZE, family)
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
  local info = as(self, IPPROTO_IP, const.IP_PKTINFO, layout.in_pktinfo)
  if info then
    return { addr = text_of(AF_INET, info.ipi_addr), specdst = text_of(AF_INET, info.ipi_spec_dst), index = info.ipi_ifindex }
  end
  info = as(self, IPPROTO_IPV6, const.IPV6_PKTINFO, layout.in6_pktinfo)
  if info then return { addr = text_of(AF_INET6, info.ipi6_addr), index = info.ipi6_ifindex } end
end

--- Tells when the message arrived, from SO_TIMESTAMP or SO_TIMESTAMPNS; see socket(7).
---@return integer? sec  seconds since 1970; nil where it is of another kind
---@return integer? nsec  nanoseconds, 0 to 999999999
function Cmsghdr:timestamp()
  is_self(self, "timestamp")
  local time = as(self, SOL_SOCKET, const.SCM_TIMESTAMP, layout.timeval)
  if time then return tonumber(time.tv_sec), tonumber(time.tv_usec) * 1000 end
  time = as(self, SOL_SOCKET, const.SCM_TIMESTAMPNS, layout.timespec)
  if time then return tonumber(time.tv_sec), tonumber(time.tv_nsec) end
end

-- INTEGERS[level][type]: the kinds that carry one number.  The kernel passes a type of service as a byte, the others as an int.
local INTEGERS = {}

local function integer_kind(level, kind)
  if not kind then return end
  INTEGERS[level] = INTEGERS[level] or {}
  INTEGERS[level][kind] = true
end

integer_kind(IPPROTO_IP, const.IP_TTL)
integer_kind(IPPROTO_IP, const.IP_TOS)
integer_kind(IPPROTO_IPV6, const.IPV6_HOPLIMIT)
integer_kind(IPPROTO_IPV6, const.IPV6_TCLASS)
integer_kind(const.IPPROTO_UDP, const.UDP_SEGMENT)
integer_kind(const.IPPROTO_UDP, const.UDP_GRO)
integer_kind(SOL_SOCKET, const.SO_RXQ_OVFL)

local UNSIGNED = { [1] = ffi.typeof "struct { uint8_t n; }", [2] = ffi.typeof "struct { uint16_t n; }",
  [4] = ffi.typeof "struct { uint32_t n; }" }

--- Tells the number that it carries: TTL, TOS, hop limit, traffic class, UDP_GRO's segment size, RXQ_OVFL's drops.
---@return integer? n  nil where it is of another kind
function Cmsghdr:integer()
  is_self(self, "integer")
  local level, kind = INTEGERS[self.cmsg_level], self.cmsg_type
  if not (level and level[kind]) then return nil end
  local cell = as(self, self.cmsg_level, kind, UNSIGNED[#self.bytes])
  return cell and cell.n
end

-- Reads the address after the error: the node that reported the error.
local function offender(bytes)
  local rest = bytes:sub(sizeof(layout.sock_extended_err) + 1)
  if #rest < sizeof(layout.sockaddr_in) then return nil end
  local ai = addrinfo.copied(rest, #rest, 0, 0)
  ai.namelen = sockaddr.families[ai.domain].size or 0
  if ai.namelen > 0 and ai.namelen <= #rest then return ai end
end

---@class llsocket.exterr
---@field errno integer  ECONNREFUSED, EMSGSIZE, EHOSTUNREACH, ...
---@field origin integer  SO_EE_ORIGIN_*
---@field type integer  of the ICMP message
---@field code integer  of the ICMP message
---@field info integer  with EMSGSIZE the path MTU, bytes
---@field data integer
---@field offender? llsocket.addrinfo  the node that reported the error; nil for this machine

--- Tells an error from the error queue; see IP_RECVERR in ip(7) and the option recverr.
---@return llsocket.exterr? exterr  nil where it is of another kind
function Cmsghdr:exterr()
  is_self(self, "exterr")
  local ctype = layout.sock_extended_err
  local err = as(self, IPPROTO_IP, const.IP_RECVERR, ctype) or as(self, IPPROTO_IPV6, const.IPV6_RECVERR, ctype)
  if not err then return nil end
  return { errno = err.ee_errno, origin = err.ee_origin, type = err.ee_type, code = err.ee_code,
    info = err.ee_info, data = err.ee_data, offender = offender(self.bytes) }
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
