-- ancillary.lua -- one piece of ancillary data as an object, received or to be sent, and what can be read from it; see cmsg(3).
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local decode = require "llsocket.message.decode"
local rights = require "llsocket.message.rights"
local ipairs, setmetatable = ipairs, setmetatable
local floor, concat = math.floor, table.concat

local struct, SOL_SOCKET = decode.struct, const.SOL_SOCKET

---@class llsocket.cmsghdr
local Cmsghdr = {}
local meta = { __index = Cmsghdr }

local is_self, arg = check.object(meta, "llsocket.cmsghdr")

--- Makes an object.  Do not store descriptor numbers: an object may be closed before the send, and its number reused.
---@param level integer  SOL_SOCKET, ...
---@param kind integer  SCM_*, ...
---@param bytes? string  the content
---@param objects? any[]  in its place where it carries descriptors: their numbers are read at the time of the send
---@return llsocket.cmsghdr cmsg
local function make(level, kind, bytes, objects)
  return (setmetatable({ cmsg_level = level, cmsg_type = kind, bytes = bytes, objects = objects }, meta))
end

local int_cell = ffi.new "int[1]"

--- Answers the bytes of an int.
---@param n integer  32 bits, signed
---@return string bytes
local function int_bytes(n)
  int_cell[0] = n
  return (ffi.string(int_cell, 4))
end

--- Answers the descriptors' numbers in the kernel's form.
---@param objects any[]
---@return string? bytes
---@return integer? errno  EBADF where one is closed
local function rights_bytes(objects)
  local out = {}
  for i, object in ipairs(objects) do
    local fd, e = rights.number_of(object)
    if not fd then return nil, e end
    out[i] = int_bytes(fd)
  end
  return concat(out)
end

--- Answers the bytes that a message puts into its control buffer.
---@param cmsg llsocket.cmsghdr
---@return string? bytes
---@return integer? errno  EBADF where a descriptor is closed
local function encode(cmsg)
  if cmsg.objects then return rights_bytes(cmsg.objects) end
  return cmsg.bytes
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

--- Tells how a TCP connection was doing when the time of a message was taken; see SOF_TIMESTAMPING_OPT_STATS and the option
--- timestamping.
---@return table<string, integer>? stats  TCP_NLA_* as busy, rwnd_limited, delivery_rate, srtt, ...: what this kernel tells; nil
---where it is of another kind
function Cmsghdr:optstats()
  is_self(self, "optstats")
  return decode.optstats(self)
end

---@class llsocket.optpktinfo
---@field index integer  of the interface whose network card has stamped; device.name(index) tells its name
---@field length integer  bytes that the packet had there

--- Tells where the network card's time comes from; see SOF_TIMESTAMPING_OPT_PKTINFO and the option timestamping.
---@return llsocket.optpktinfo? info  nil where it is of another kind
function Cmsghdr:optpktinfo()
  is_self(self, "optpktinfo")
  return struct(self, "optpktinfo")
end

local fd_ptr = ffi.typeof "int32_t *"

--- Makes an object from received ancillary data.
---@param level integer  SOL_SOCKET, ...
---@param kind integer  SCM_*, ...
---@param bytes ffi.cdata*  of a control buffer
---@param offset integer  where the data begins in it, bytes
---@param length integer  of the data, bytes
---@return llsocket.cmsghdr cmsg
local function received(level, kind, bytes, offset, length)
  local at = ffi.cast("uint8_t *", bytes) + offset
  if shim.llsocket2_cmsg_owns(level, kind) == 0 then return make(level, kind, ffi.string(at, length)) end
  local fds, objects = ffi.cast(fd_ptr, at), {}
  for i = 0, floor(length / 4) - 1 do
    if fds[i] >= 0 then objects[#objects + 1] = rights.own(fds, i) end -- -1: an earlier try took it and then ran out of memory
  end
  return make(level, kind, nil, objects)
end

return {
  methods = Cmsghdr, arg = arg, make = make, int_bytes = int_bytes, rights_bytes = rights_bytes, encode = encode,
  received = received,
}
