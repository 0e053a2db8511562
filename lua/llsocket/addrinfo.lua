-- addrinfo.lua -- one socket address with the type and protocol that go with it.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local failed = require("llsocket.core.failure").failed
local gai = require "llsocket.gai"
local lazy = require "llsocket.core.lazy"
local interface = require "llsocket.address.interface"
local shortage = require "llsocket.core.shortage"
local sockaddr = require "llsocket.address.sockaddr"
local pairs, require, tonumber, type, typeof, min = pairs, require, tonumber, type, ffi.typeof, math.min

local errno = ffi.errno
local EAI_SYSTEM, EINVAL = const.EAI_SYSTEM, const.EINVAL
local HOST_SIZE, SERV_SIZE = 1025, 256 -- NI_MAXHOST; more than NI_MAXSERV, because libc writes a unix path there

---@class llsocket.addrinfo
local Addrinfo = check.methods()

-- Answers "AF_NETLINK", or "family 99" where no constant has that number.  Where two constants have the same number, the first in
-- the alphabet counts: on Linux AF_ROUTE is AF_NETLINK.
local function family_name(domain)
  local found
  for name, value in pairs(const) do
    if value == domain and name:find "^AF_" and name ~= "AF_MAX" and not (found and found < name) then found = name end
  end
  return found or "family " .. domain
end

-- Answers an abstract name as ss(8) shows it, any other address as it is.  No pattern, because LuaJIT compiles none.
local function shown(addr)
  if addr:byte() == 0 then return "@" .. addr:sub(2) end
  return addr
end

-- The address comes first, so that the object itself is the pointer that a call wants.
local decl = "struct { $ name; uint32_t namelen; int domain, type, proto; }"
local addrinfo_t, is_object
addrinfo_t = ffi.metatype(ffi.typeof(decl, sockaddr.type), {
  __eq = function(a, b)
    if not (is_object(a) and is_object(b)) then return false end
    return a.domain == b.domain and a.type == b.type and a:bytes() == b:bytes()
  end,
  __index = Addrinfo,
  __tostring = function(ai)
    if not is_object(ai) then return "llsocket.addrinfo: a pointer" end -- it may be NULL
    local show = sockaddr.families[ai.domain].show
    if type(show) == "string" then return (show:format(shown(ai:addr()), (ai:port()))) end
    local text = show and show(ai.name, ai.namelen)
    if text then return text end
    return ("llsocket.addrinfo: %s, %d bytes"):format(family_name(ai.domain), ai.namelen)
  end,
})

is_object = check.is(addrinfo_t)
local is_self, arg = check.class(addrinfo_t, "llsocket.addrinfo")

local own = tonumber(addrinfo_t)

--- Raises unless `value` is an address that can be kept beyond the call.  A reference into an array or struct of the caller
--- looks like an address, but does not keep that memory alive.
---@param value any
---@param position integer  of the argument, self not counted
---@param method string  the caller's name, for the message
local function kept(value, position, method)
  arg(value, position, method)
  if tonumber(typeof(value)) ~= own then
    check.bad(position, method, "llsocket.addrinfo that is no part of another object", value)
  end
end

-- Canonical names stand in a table of their own, because only the first address of a list has one, and only with AI_CANONNAME.
local canonnames = setmetatable({}, { __mode = "k" })

--- Makes an object without an address yet; other modules fill it in.
---@param domain integer  AF_*
---@param socktype integer  SOCK_*
---@param proto integer  IPPROTO_*
---@return llsocket.addrinfo ai
local function blank(domain, socktype, proto)
  local ai = addrinfo_t()
  ai.domain, ai.type, ai.proto = domain, socktype, proto
  return ai
end

--- Completes an address that the kernel, or libc, wrote into `ai`.  The family is the one in its bytes: dup's address or
--- IPV6_ADDRFORM may have given the socket another.  Where nothing was written, the caller sets the family of the bytes.
---@param ai llsocket.addrinfo
---@param namelen integer  bytes, as the kernel told it: more than sockaddr.SIZE where it cut the address
---@param socktype integer  SOCK_*
---@param proto integer  IPPROTO_*
---@return llsocket.addrinfo ai
local function received(ai, namelen, socktype, proto)
  local family = ai.name.any.ss_family
  ai.domain, ai.type, ai.proto = family, socktype, proto
  ai.namelen = sockaddr.length(ai.name, namelen, family)
  return ai
end

--- Makes an object of an address that the kernel, or libc, wrote elsewhere; see `received`.
---@param bytes ffi.cdata*|string  of a struct sockaddr
---@param namelen integer  bytes
---@param socktype integer  SOCK_*
---@param proto integer  IPPROTO_*
---@return llsocket.addrinfo ai
local function copied(bytes, namelen, socktype, proto)
  local ai = addrinfo_t()
  ffi.copy(ai, bytes, min(namelen, sockaddr.SIZE))
  return received(ai, namelen, socktype, proto)
end

--- Makes an address of any family from its bytes: AF_PACKET, AF_NETLINK, AF_VSOCK, ...
---@param bytes string  a struct sockaddr, 2 to 128 bytes
---@param socktype? integer  SOCK_*; the default is SOCK_STREAM
---@param protocol? integer  the default is 0
---@return llsocket.addrinfo? ai
---@return string? err
---@return integer? errno  EINVAL
local function new(bytes, socktype, protocol)
  check.string(bytes, 1, "new")
  local type_ok = type(socktype) == "nil" or check.int(socktype, 2, "new")
  local protocol_ok = type(protocol) == "nil" or check.int(protocol, 3, "new")
  if not (type_ok and protocol_ok and #bytes >= 2 and #bytes <= sockaddr.SIZE) then return failed(EINVAL) end
  local ai = copied(bytes, #bytes, socktype or const.SOCK_STREAM, protocol or 0)
  local namelen = sockaddr.cut(ai.name, #bytes, ai.domain)
  if not namelen then return failed(EINVAL) end
  ai.namelen = namelen
  return ai
end

--- Tells the address as the kernel has it, a struct sockaddr: fit for a table's key, and for addrinfo.new.
---@return string bytes
function Addrinfo:bytes()
  is_self(self, "bytes")
  return (ffi.string(self, self.namelen))
end

--- Tells the address family; see getaddrinfo(3).
---@return integer af  AF_*
function Addrinfo:family()
  is_self(self, "family")
  return self.domain
end

--- Tells the socket type; see getaddrinfo(3).
---@return integer socktype  SOCK_*, 0 for any
function Addrinfo:socktype()
  is_self(self, "socktype")
  return self.type
end

--- Tells the protocol; see getaddrinfo(3).
---@return integer protocol  IPPROTO_*, 0 for the family's default
function Addrinfo:protocol()
  is_self(self, "protocol")
  return self.proto
end

--- Tells the canonical host name; see AI_CANONNAME in getaddrinfo(3).
---@return string? canonname  nil except on the first of a list that was asked for with AI_CANONNAME
function Addrinfo:canonname()
  is_self(self, "canonname")
  return canonnames[self]
end

--- Tells the address: numeric, with `%zone` where there is one, in the form that getaddrinfo takes, or the path of a
--- unix socket, where an abstract name keeps its leading NUL and an unnamed socket's is empty; see inet_ntop(3), unix(7).
---@return string? addr  the hardware address of AF_PACKET, the number of a machine of AF_VSOCK; nil for other families
function Addrinfo:addr()
  is_self(self, "addr")
  local text = sockaddr.text(self.name, self.namelen, self.domain)
  local scope = sockaddr.scope(self.name, self.domain)
  if scope == 0 then return text end
  return text .. "%" .. interface.zone_text(scope, sockaddr.is_of_link(self.name))
end

--- Tells the port; see ip(7), ipv6(7).
---@return integer? port  0 to 65535, host order, of AF_VSOCK 0 to 2^32-1; nil for families without ports
function Addrinfo:port()
  is_self(self, "port")
  return (sockaddr.port(self.name, self.namelen, self.domain))
end

--- Tells the parts of the address that its family has; see ip(7), ipv6(7), unix(7), vsock(7), netlink(7), packet(7).
---@return table? fields  a new table; nil for other families
function Addrinfo:fields()
  is_self(self, "fields")
  return (require("llsocket.address.values").fields(self.name, self.namelen, self.domain))
end

--- Tells the IPv4 address that an IPv4-mapped IPv6 address stands for, as dual-stack sockets have them: [::ffff:192.0.2.1]:80 is
--- 192.0.2.1:80.  Type and protocol stay.
---@return llsocket.addrinfo ai  a new object; for any other address the object itself
function Addrinfo:unmapped()
  is_self(self, "unmapped")
  if self.domain ~= const.AF_INET6 then return self end
  return require("llsocket.address.values").unmapped(self, blank) or self
end

-- libc reads the path of a unix socket up to a NUL.  Where a path fills all its bytes, it would read beyond the address; where
-- a shorter address was written over a longer one, it would read what is left of that.  So libc gets a copy that ends in a NUL.
local terminated_t = ffi.typeof("struct { $ name; char nul; }", sockaddr.type)

local function for_libc(ai)
  if not sockaddr.families[ai.domain].is_path then return ai end
  local copy = terminated_t()
  ffi.copy(copy, ai, ai.namelen)
  return copy
end

local host_t, serv_t = ffi.typeof "char[1025]", ffi.typeof "char[256]"

--- Looks up host and service name; see getnameinfo(3).  Blocks while it asks the resolver, unless
--- NI_NUMERICHOST is given.
---@param flag? integer  NI_*
---@param f2? integer  more flags, up to f8
---@return { host: string, serv: string }? ni  new strings
---@return string? err
---@return integer? code  EAI_NONAME, EAI_AGAIN, EAI_FAMILY, EAI_SYSTEM
---@return integer? errno  after EAI_SYSTEM only; EMFILE, ENFILE; EINVAL for a flag that is no 32-bit integer
function Addrinfo:nameinfo(flag, f2, f3, f4, f5, f6, f7, f8, f9)
  is_self(self, "nameinfo")
  local flags = check.flags(1, "nameinfo", flag, f2, f3, f4, f5, f6, f7, f8, f9)
  if not flags then return gai.failed(EAI_SYSTEM, EINVAL) end
  local host_cell, serv_cell = host_t(), serv_t() -- not shared: making a string may run a finaliser that asks, too
  if sockaddr.families[self.domain].number then return require("llsocket.address.values").nameinfo(self, flags) end
  local name = for_libc(self)
  local code, e = C.llsocket2_getnameinfo(name, self.namelen, host_cell, HOST_SIZE, serv_cell, SERV_SIZE, flags), errno()
  if code == EAI_SYSTEM and shortage.collected(e) then return self:nameinfo(flags) end
  if code ~= 0 then return gai.failed(code, e) end
  return { host = ffi.string(host_cell), serv = ffi.string(serv_cell) }
end

---@class llsocket.addrinfo.module
local M = {
  type = addrinfo_t, methods = Addrinfo, new = new, blank = blank, received = received, copied = copied, arg = arg, kept = kept,
  canonnames = canonnames,
}

return lazy.completed("llsocket.addrinfo", M, "llsocket.address.values")
