-- resolver.lua -- lists of internet addresses from the system's resolver; see getaddrinfo(3).
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local gai = require "llsocket.gai"
local addrinfo = require "llsocket.addrinfo"
local interface = require "llsocket.address.interface"
local numeric = require "llsocket.address.numeric"
local shortage = require "llsocket.core.shortage"
local sockaddr = require "llsocket.address.sockaddr"
local values = require "llsocket.address.values"
local check = require "llsocket.core.check"
local ipairs, tonumber, type = ipairs, tonumber, type

local errno, band, bor = ffi.errno, bit.band, bit.bor
local protocol_of = numeric.protocol_of
local AF_INET, AF_INET6, EAI_SYSTEM, EINVAL, ENODEV = const.AF_INET, const.AF_INET6, const.EAI_SYSTEM, const.EINVAL, const.ENODEV
local SOCK_STREAM, IPPROTO_TCP = const.SOCK_STREAM, const.IPPROTO_TCP
local SERVED = { [SOCK_STREAM] = IPPROTO_TCP, [const.SOCK_DGRAM] = const.IPPROTO_UDP }

-- Each call has a cell of its own for the list: a debug hook that looks up a name, too, would leave its freed list in a
-- shared one.
local hints, list_t = layout.addrinfo(), ffi.typeof "void *[1]"
local node_ptr = ffi.typeof("$ *", layout.addrinfo)

-- libc reads as far as the first NUL, takes "65537" for 1 and allows a sign or blanks before a port; glibc takes "*" for
-- the loopback or no port, and "" for port 0.
local function misread(host, port)
  if host and (host:find "%z" or host == "*") then return true end
  if not port then return false end
  if port:find "%z" or port == "*" or port == "" then return true end
  if port:find "^%d+$" then return tonumber(port) > 65535 end
  return port:find "^[%s+-]*%d+%s*$" ~= nil
end

-- Only the first address gets a canonical name, and only if one was asked for.  musl gives one to each address, always.
local function to_array(list, named)
  local arr, node = {}, ffi.cast(node_ptr, list)
  local name = named and node.ai_canonname ~= nil and ffi.string(node.ai_canonname) or nil
  while node ~= nil do
    arr[#arr + 1] = addrinfo.copied(node.ai_addr, node.ai_addrlen, node.ai_socktype, node.ai_protocol)
    node = ffi.cast(node_ptr, node.ai_next)
  end
  addrinfo.canonnames[arr[1]] = name
  return arr
end

-- Without a free descriptor glibc cannot read its files and says that it knows no such host; errno alone tells the reason.
local SHORT = { [const.EMFILE] = true, [const.ENFILE] = true }

local function resolve(host, port, socktype, protocol, flags, family)
  hints.ai_flags, hints.ai_family, hints.ai_socktype, hints.ai_protocol = flags, family, socktype, protocol
  local cell = list_t()
  errno(0)
  local code, e, head = C.llsocket2_getaddrinfo(host, port, hints, cell), errno(), cell[0]
  if code ~= 0 and shortage.collected(e) then return resolve(host, port, socktype, protocol, flags, family) end
  if code ~= 0 then return gai.failed(SHORT[e] and EAI_SYSTEM or code, e) end
  local list = ffi.gc(head, C.llsocket2_freeaddrinfo) -- should memory run out on the way
  local arr = to_array(list, band(flags, const.AI_CANONNAME) ~= 0)
  C.llsocket2_freeaddrinfo(ffi.gc(list, nil))
  return arr
end

-- If address and port are numeric and the resolver would refuse the type and protocol, asks for TCP instead.  Nothing is looked
-- up for numbers, so the addresses are the same.
local function as_tcp(host, port, socktype, protocol, flags, family)
  local known = protocol_of(socktype, protocol)
  if not known or known == SERVED[socktype] or port and not port:find "^%d+$" then return nil end
  local arr = resolve(host, port, SOCK_STREAM, IPPROTO_TCP, bor(flags, const.AI_NUMERICHOST), family)
  if not arr then return nil end
  for _, ai in ipairs(arr) do ai.type, ai.proto = socktype, known end
  return arr
end

local function ask(host, port, socktype, protocol, flags, family)
  local arr = as_tcp(host, port, socktype, protocol, flags, family)
  if arr then return arr end
  return resolve(host, port, socktype, protocol, flags, family)
end

-- Answers address and zone of a numeric IPv6 host with a zone; nothing for others.
local function zoned(host)
  if not host then return end
  local addr, zone = host:match "^([^%%]+)%%(.+)$"
  if zone and sockaddr.from_text(sockaddr.type(), AF_INET6, addr) then return addr, zone end
end

-- Writes the zone into the addresses that a call answered.  If the call failed, answers its error.
local function scoped(host, scope, arr, ...)
  if not arr then return nil, ... end
  for _, ai in ipairs(arr) do sockaddr.set_scope(ai.name, ai.domain, scope) end
  if addrinfo.canonnames[arr[1]] then addrinfo.canonnames[arr[1]] = host end
  return arr
end

-- Zones are read here, because the resolver takes the name of an interface as zone only for addresses of one link.
local function with_zone(host, addr, zone, port, socktype, protocol, flags, family)
  local scope, why = interface.zone(zone)
  if not scope and why == ENODEV then return gai.failed(const.EAI_NONAME) end
  if not scope then return gai.failed(EAI_SYSTEM, why) end
  local arr = numeric.numeric(addr, port, socktype, protocol, flags, family)
  if arr then return scoped(host, scope, arr) end
  return scoped(host, scope, ask(addr, port, socktype, protocol, flags, family))
end

local M = {}

--- Answers the list of addresses for the arguments of inet.getaddrinfo.
---@param host? string
---@param port? string|integer
---@param socktype integer
---@param protocol integer
---@param flags integer
---@param family integer
---@return llsocket.addrinfo[]? arr
---@return string? err
---@return integer? code
---@return integer? errno
function M.lookup(host, port, socktype, protocol, flags, family)
  if type(port) == "number" then port = ("%d"):format(port) end
  if misread(host, port) then return gai.failed(EAI_SYSTEM, EINVAL) end
  local addr, zone = zoned(host)
  if addr then return with_zone(host, addr, zone, port, socktype, protocol, flags, family) end
  return ask(host, port, socktype, protocol, flags, family)
end

local SERVICES = { -- what the resolver is asked for, by the name of a protocol
  tcp = { SOCK_STREAM, IPPROTO_TCP, 0 }, udp = { const.SOCK_DGRAM, const.IPPROTO_UDP, const.NI_DGRAM },
}

local function first_port(arr, ...)
  if not arr then return nil, ... end
  return arr[1]:port()
end

-- A name may begin with a digit, as 3com-tsmux does.
local function port_of(name, socktype, protocol)
  if misread(nil, name) or name:find "^%d+$" then return gai.failed(EAI_SYSTEM, EINVAL) end
  return first_port(resolve(nil, name, socktype, protocol, const.AI_PASSIVE, AF_INET))
end

local serv_t = ffi.typeof "char[256]"

-- getnameinfo(3) answers the number where the port has no name, also where it could not look: only errno tells that.
local function name_of(port, flags)
  local name, serv = sockaddr.type(), serv_t()
  local namelen = sockaddr.from_text(name, AF_INET, "0.0.0.0", port)
  errno(0)
  local code, e = C.llsocket2_getnameinfo(name, namelen, nil, 0, serv, 256, flags), errno()
  if SHORT[e] and shortage.collected(e) then return name_of(port, flags) end
  if code ~= 0 then return gai.failed(code, e) end
  local text = ffi.string(serv)
  if text ~= ("%d"):format(port) then return text end
  if SHORT[e] then return gai.failed(EAI_SYSTEM, e) end
  return gai.failed(const.EAI_SERVICE)
end

--- Tells the port of a service, or the name of the service at a port; see services(5), getservbyname(3).  Opens a
--- descriptor during the call, and may wait for a name service other than files.
---@param what string|integer  a name; a port, 0 to 65535
---@param protocol? "tcp"|"udp"  the default is "tcp"
---@return integer|string|nil answer  the port of a name, the name of a port
---@return string? err
---@return integer? code  EAI_SERVICE: there is none; EAI_SYSTEM
---@return integer? errno  after EAI_SYSTEM only; EINVAL for what is no name, port or protocol; EMFILE, ENFILE
local function service(what, protocol)
  local is_port = type(what) == "number"
  if not is_port and type(what) ~= "string" then check.bad(1, "service", "string or number", what) end
  check.optional_string(protocol, 2, "service")
  local how = SERVICES[protocol or "tcp"]
  local in_range = not is_port or check.int(what, 1, "service") and what >= 0 and what <= 65535
  if not (how and in_range) then return gai.failed(EAI_SYSTEM, EINVAL) end
  if is_port then return name_of(what, how[3]) end
  return port_of(what, how[1], how[2])
end

--- Adds functions to the module inet.
---@param inet llsocket.inet.module
function M.complete(inet)
  inet.service, inet.pton, inet.ntop = service, values.pton, values.ntop
end

return M
