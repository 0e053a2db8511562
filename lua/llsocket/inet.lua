-- inet.lua -- lists of internet addresses.  Numeric addresses are read without the resolver, which is asked for all others.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local lazy = require "llsocket.core.lazy"
local gai = require "llsocket.gai"
local numeric = require("llsocket.address.numeric").numeric
local require, type, floor = require, type, math.floor

local EAI_SYSTEM, EINVAL, SOCK_STREAM = const.EAI_SYSTEM, const.EINVAL, const.SOCK_STREAM

---@class llsocket.inet.module
local M = {}

local lookup -- loaded by its first use: a numeric address needs no resolver

-- Raises unless a port is a string, a number or nil; answers whether a number is in the range of ports.
local function check_port(port, name)
  if type(port) == "number" then return port >= 0 and port <= 65535 and floor(port) == port end
  if type(port) ~= "string" and type(port) ~= "nil" then check.bad(2, name, "string or number", port) end
  return true
end

local function getaddrinfo(name, family, host, port, socktype, protocol, flag, f2, f3, f4, f5, f6, f7, f8, f9)
  check.optional_string(host, 1, name)
  local port_ok = check_port(port, name)
  local type_ok = type(socktype) == "nil" or check.int(socktype, 3, name)
  local protocol_ok = type(protocol) == "nil" or check.int(protocol, 4, name)
  local flags = check.flags(5, name, flag, f2, f3, f4, f5, f6, f7, f8, f9)
  if not (port_ok and type_ok and protocol_ok and flags) then return gai.failed(EAI_SYSTEM, EINVAL) end
  if not socktype and not protocol then socktype = SOCK_STREAM end
  socktype, protocol = socktype or 0, protocol or 0
  local arr = numeric(host, port, socktype, protocol, flags, family)
  if arr then return arr end
  lookup = lookup or require("llsocket.address.resolver").lookup
  return lookup(host, port, socktype, protocol, flags, family)
end

--- Lists the addresses of a host, of any family; see getaddrinfo(3).  Blocks while it asks the resolver;
--- a numeric host with a decimal port, without zone and AI_ADDRCONFIG, makes no system call.  Allocates an
--- object for each address.
---@param host? string  a name or a numeric address; nil is the loopback, with AI_PASSIVE the wildcard
---@param port? string|integer  "0" to "65535" or a name of services(5); 0 to 65535
---@param socktype? integer  SOCK_*, 0 for all; the default is SOCK_STREAM unless a protocol is given
---@param protocol? integer  IPPROTO_*; the default is 0, any
---@param flag? integer  AI_*
---@param f2? integer  more flags, up to f8
---@return llsocket.addrinfo[]? arr
---@return string? err
---@return integer? code  EAI_NONAME, EAI_AGAIN, EAI_SERVICE, EAI_BADFLAGS, EAI_SYSTEM
---@return integer? errno  after EAI_SYSTEM only; EINVAL for what is no host, port or flag; EMFILE, ENFILE
function M.getaddrinfo(host, port, socktype, protocol, flag, f2, f3, f4, f5, f6, f7, f8, f9)
  return getaddrinfo("getaddrinfo", const.AF_UNSPEC, host, port, socktype, protocol, flag, f2, f3, f4, f5, f6, f7, f8, f9)
end

--- Lists the IPv4 addresses of a host, as getaddrinfo does; see getaddrinfo(3).  Blocks likewise.
---@param host? string  a name or a numeric address; nil is the loopback, with AI_PASSIVE the wildcard
---@param port? string|integer  "0" to "65535" or a name of services(5); 0 to 65535
---@param socktype? integer  SOCK_*, 0 for all; the default is SOCK_STREAM unless a protocol is given
---@param protocol? integer  IPPROTO_*; the default is 0, any
---@param flag? integer  AI_*
---@param f2? integer  more flags, up to f8
---@return llsocket.addrinfo[]? arr
---@return string? err
---@return integer? code  EAI_NONAME, EAI_ADDRFAMILY, EAI_AGAIN, EAI_SERVICE, EAI_BADFLAGS, EAI_SYSTEM
---@return integer? errno  after EAI_SYSTEM only; EINVAL for what is no host, port or flag; EMFILE, ENFILE
function M.getaddrinfo4(host, port, socktype, protocol, flag, f2, f3, f4, f5, f6, f7, f8, f9)
  return getaddrinfo("getaddrinfo4", const.AF_INET, host, port, socktype, protocol, flag, f2, f3, f4, f5, f6, f7, f8, f9)
end

--- Lists the IPv6 addresses of a host, as getaddrinfo does; see getaddrinfo(3).  Blocks likewise.
---@param host? string  a name or a numeric address; nil is the loopback, with AI_PASSIVE the wildcard
---@param port? string|integer  "0" to "65535" or a name of services(5); 0 to 65535
---@param socktype? integer  SOCK_*, 0 for all; the default is SOCK_STREAM unless a protocol is given
---@param protocol? integer  IPPROTO_*; the default is 0, any
---@param flag? integer  AI_*
---@param f2? integer  more flags, up to f8
---@return llsocket.addrinfo[]? arr
---@return string? err
---@return integer? code  EAI_NONAME, EAI_ADDRFAMILY, EAI_AGAIN, EAI_SERVICE, EAI_BADFLAGS, EAI_SYSTEM
---@return integer? errno  after EAI_SYSTEM only; EINVAL for what is no host, port or flag; EMFILE, ENFILE
function M.getaddrinfo6(host, port, socktype, protocol, flag, f2, f3, f4, f5, f6, f7, f8, f9)
  return getaddrinfo("getaddrinfo6", const.AF_INET6, host, port, socktype, protocol, flag, f2, f3, f4, f5, f6, f7, f8, f9)
end

return lazy.completed("llsocket.inet", M, "llsocket.address.resolver")
