-- inet.lua -- lists of internet addresses, from the system's resolver.
package.loaded[...] = nil -- see later.lua
setfenv(1, require "llsocket.later")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.libc"
local const = require "llsocket.const"
local layout = require "llsocket.layout"
local check = require "llsocket.check"
local gai = require "llsocket.gai"
local addrinfo = require "llsocket.addrinfo"
local sockaddr = require "llsocket.sockaddr"
local type = type

local errno, band, bor, bnot, min, floor = ffi.errno, bit.band, bit.bor, bit.bnot, math.min, math.floor
local tonumber, tostring = tonumber, tostring
local AF_UNSPEC, AF_INET, AF_INET6 = const.AF_UNSPEC, const.AF_INET, const.AF_INET6
local EAI_SYSTEM, EINVAL, SOCK_STREAM = const.EAI_SYSTEM, const.EINVAL, const.SOCK_STREAM

-- Scratch cells: filled and read inside one call.  `hints` is made for the first: a numeric address needs none.
local hints, list_cell = nil, ffi.new "void *[1]"

-- libc reads as far as the first NUL, takes "65537" for 1 and allows a sign or blanks before a port; glibc takes "*" for
-- the loopback or no port, and "" for port 0.
local function misread(host, port)
  if host and (host:find "%z" or host == "*") then return true end
  if not port then return false end
  if port:find "%z" or port == "*" or port == "" then return true end
  if port:find "^%d+$" then return tonumber(port) > 65535 end
  return port:find "^[%s+-]*%d+%s*$" ~= nil
end

local function to_addrinfo(node)
  local ai = addrinfo.blank(node.ai_family, node.ai_socktype, node.ai_protocol)
  ai.namelen = min(node.ai_addrlen, sockaddr.SIZE)
  ffi.copy(ai, node.ai_addr, ai.namelen)
  return ai
end

-- The first alone has a canonical name, and only where one was asked for; musl gives one to each, always.
local function to_array(list, named)
  local node_ptr = ffi.typeof("$ *", layout.addrinfo) -- the same type each time
  local arr, node = {}, ffi.cast(node_ptr, list)
  local name = named and node.ai_canonname ~= nil and ffi.string(node.ai_canonname) or nil
  while node ~= nil do
    arr[#arr + 1] = to_addrinfo(node)
    node = ffi.cast(node_ptr, node.ai_next)
  end
  addrinfo.canonnames[arr[1]] = name
  return arr
end

local function resolve(host, port, socktype, protocol, flags, family)
  hints = hints or layout.addrinfo()
  hints.ai_flags, hints.ai_family, hints.ai_socktype, hints.ai_protocol = flags, family, socktype, protocol
  local code, e, head = C.llsocket2_getaddrinfo(host, port, hints, list_cell), errno(), list_cell[0]
  if code ~= 0 then return gai.failed(code, e) end
  local list = ffi.gc(head, C.llsocket2_freeaddrinfo) -- should memory run out on the way
  local arr = to_array(list, band(flags, const.AI_CANONNAME) ~= 0)
  C.llsocket2_freeaddrinfo(ffi.gc(list, nil))
  return arr
end

-- What the resolver would answer to a plain numeric address and port takes a sixth of its instructions, and compiles.
-- All else is the resolver's: names, short forms and leading zeros, scopes, other flags, types and protocols.
local PROTOCOL = { [SOCK_STREAM] = const.IPPROTO_TCP, [const.SOCK_DGRAM] = const.IPPROTO_UDP }
local OTHER_FLAGS = bnot(bor(const.AI_PASSIVE, const.AI_NUMERICHOST, const.AI_NUMERICSERV or 0))

local function family_of(host)
  if host:find(":", 1, true) then return AF_INET6 end
  local first = host:byte()
  return first and first >= 48 and first <= 57 and AF_INET
end

-- The number of a port that is written as tostring writes it.
local function port_of(port)
  if not port then return 0 end
  local n = #port <= 5 and tonumber(port)
  return n and n >= 0 and n <= 65535 and floor(n) == n and tostring(n + 0) == port and n -- "-0" is none
end

local function from_text(host, number, family, socktype)
  local ai = addrinfo.blank(family, socktype, PROTOCOL[socktype])
  local namelen = sockaddr.from_text(ai.name, family, host)
  if not namelen then return nil end
  sockaddr.set_port(ai.name, family, number)
  ai.namelen = namelen
  return { ai }
end

-- Answers nil where the resolver has to be asked.
local function numeric(host, port, socktype, protocol, flags, family)
  local usual = PROTOCOL[socktype]
  if not (host and usual) or protocol ~= 0 and protocol ~= usual or band(flags, OTHER_FLAGS) ~= 0 then return nil end
  local found, number = family_of(host), port_of(port)
  if not (found and number) or family ~= AF_UNSPEC and family ~= found then return nil end
  return from_text(host, number, found, socktype)
end

local function getaddrinfo(name, family, host, port, socktype, protocol, ...)
  check.optional_string(host, 1, name)
  check.optional_string(port, 2, name)
  local type_ok = type(socktype) == "nil" or check.int(socktype, 3, name)
  local protocol_ok = type(protocol) == "nil" or check.int(protocol, 4, name)
  local flags = check.flags(5, name, ...)
  if not (type_ok and protocol_ok and flags) then return gai.failed(EAI_SYSTEM, EINVAL) end
  if not socktype and not protocol then socktype = SOCK_STREAM end
  socktype, protocol = socktype or 0, protocol or 0
  local arr = numeric(host, port, socktype, protocol, flags, family)
  if arr then return arr end
  if misread(host, port) then return gai.failed(EAI_SYSTEM, EINVAL) end
  return resolve(host, port, socktype, protocol, flags, family)
end

local M = {}

--- Lists the addresses of a host, of any family; see getaddrinfo(3).  Blocks while it asks the resolver;
--- a numeric host with a decimal port, without scope and AI_ADDRCONFIG, makes no system call.  Allocates an
--- object for each address.
---@param host? string  a name or a numeric address; nil is the loopback, with AI_PASSIVE the wildcard
---@param port? string  "0" to "65535" or a name of services(5)
---@param socktype? integer  SOCK_*, 0 for all; the default is SOCK_STREAM unless a protocol is given
---@param protocol? integer  IPPROTO_*; the default is 0, any
---@param flag? integer  AI_*
---@param ... integer  more flags
---@return llsocket.addrinfo[]? arr
---@return string? err
---@return integer? code  EAI_NONAME, EAI_AGAIN, EAI_SERVICE, EAI_BADFLAGS, EAI_SYSTEM
---@return integer? errno  after EAI_SYSTEM only; EINVAL for what is no host, port or flag
function M.getaddrinfo(host, port, socktype, protocol, flag, ...)
  return getaddrinfo("getaddrinfo", const.AF_UNSPEC, host, port, socktype, protocol, flag, ...)
end

--- Lists the IPv4 addresses of a host, as getaddrinfo does; see getaddrinfo(3).  Blocks likewise.
---@param host? string  a name or a numeric address; nil is the loopback, with AI_PASSIVE the wildcard
---@param port? string  "0" to "65535" or a name of services(5)
---@param socktype? integer  SOCK_*, 0 for all; the default is SOCK_STREAM unless a protocol is given
---@param protocol? integer  IPPROTO_*; the default is 0, any
---@param flag? integer  AI_*
---@param ... integer  more flags
---@return llsocket.addrinfo[]? arr
---@return string? err
---@return integer? code  EAI_NONAME, EAI_ADDRFAMILY, EAI_AGAIN, EAI_SERVICE, EAI_BADFLAGS, EAI_SYSTEM
---@return integer? errno  after EAI_SYSTEM only; EINVAL for what is no host, port or flag
function M.getaddrinfo4(host, port, socktype, protocol, flag, ...)
  return getaddrinfo("getaddrinfo4", const.AF_INET, host, port, socktype, protocol, flag, ...)
end

--- Lists the IPv6 addresses of a host, as getaddrinfo does; see getaddrinfo(3).  Blocks likewise.
---@param host? string  a name or a numeric address; nil is the loopback, with AI_PASSIVE the wildcard
---@param port? string  "0" to "65535" or a name of services(5)
---@param socktype? integer  SOCK_*, 0 for all; the default is SOCK_STREAM unless a protocol is given
---@param protocol? integer  IPPROTO_*; the default is 0, any
---@param flag? integer  AI_*
---@param ... integer  more flags
---@return llsocket.addrinfo[]? arr
---@return string? err
---@return integer? code  EAI_NONAME, EAI_ADDRFAMILY, EAI_AGAIN, EAI_SERVICE, EAI_BADFLAGS, EAI_SYSTEM
---@return integer? errno  after EAI_SYSTEM only; EINVAL for what is no host, port or flag
function M.getaddrinfo6(host, port, socktype, protocol, flag, ...)
  return getaddrinfo("getaddrinfo6", const.AF_INET6, host, port, socktype, protocol, flag, ...)
end

return M
