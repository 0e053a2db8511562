-- cmsghdr.lua -- makes ancillary data to be sent; see cmsg(3).  message/ancillary.lua has the object.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local check = require "llsocket.core.check"
local failed = require("llsocket.core.failure").failed
local ancillary = require "llsocket.message.ancillary"
local interface = require "llsocket.address.interface"
local rights = require "llsocket.message.rights"
local sockaddr = require "llsocket.address.sockaddr"
local ipairs, select, luatype = ipairs, select, type
local floor, max = math.floor, math.max

local sizeof, make, int_bytes, rights_bytes = ffi.sizeof, ancillary.make, ancillary.int_bytes, ancillary.rights_bytes
local EINVAL, ENODEV, ENOPROTOOPT = const.EINVAL, const.ENODEV, const.ENOPROTOOPT
local AF_INET, AF_INET6 = const.AF_INET, const.AF_INET6
local SOL_SOCKET, IPPROTO_IP, IPPROTO_IPV6 = const.SOL_SOCKET, const.IPPROTO_IP, const.IPPROTO_IPV6
local SCM_RIGHTS = const.SCM_RIGHTS

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
  { "priority",     "SOL_SOCKET",   "SO_PRIORITY",     2^32 - 1, "Sets the priority of one message; see socket(7)." },
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

--- Tells whether a message with this ancillary data passes descriptors.
---@param cmsg llsocket.cmsghdr
---@return boolean is_rights
function M.is_rights(cmsg) return cmsg.cmsg_level == SOL_SOCKET and cmsg.cmsg_type == SCM_RIGHTS end

M.methods, M.arg, M.NUMBERS = ancillary.methods, ancillary.arg, NUMBERS

return require("llsocket.core.lazy").keep("llsocket.cmsghdr", M)
