-- numeric.lua -- internet addresses that are written in numbers, without the resolver and without a system call.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local bit = require "bit"
local const = require "llsocket.core.const"
local addrinfo = require "llsocket.addrinfo"
local sockaddr = require "llsocket.address.sockaddr"
local type, tonumber, tostring = type, tonumber, tostring

local band, bor, bnot, floor = bit.band, bit.bor, bit.bnot, math.floor
local AF_UNSPEC, AF_INET, AF_INET6 = const.AF_UNSPEC, const.AF_INET, const.AF_INET6
local SOCK_STREAM = const.SOCK_STREAM

-- Reading a plain numeric address and port here takes a sixth of the resolver's instructions, and compiles.  The answer is the
-- same.  Everything else goes to the resolver: names, short forms and leading zeros, other flags, and a 0 with several meanings.
local SOCK_RAW, IPPROTO_TCP, IPPROTO_UDP = const.SOCK_RAW, const.IPPROTO_TCP, const.IPPROTO_UDP
local PROTOCOL = { [SOCK_STREAM] = IPPROTO_TCP, [const.SOCK_DGRAM] = IPPROTO_UDP, [SOCK_RAW] = 0 }
local OTHERS = { [SOCK_STREAM] = IPPROTO_UDP, [const.SOCK_DGRAM] = IPPROTO_TCP }
local OTHER_FLAGS = bnot(bor(const.AI_PASSIVE, const.AI_NUMERICHOST, const.AI_NUMERICSERV or 0))

--- Tells the protocol, if it is given or follows from the type.  It may be one that the resolver refuses because it knows no
--- services of it: ping sockets, MPTCP, raw sockets with a port.
---@param socktype integer  0 for any
---@param protocol integer  0 for the type's own
---@return integer? protocol  nil: ask the resolver, which refuses TCP with datagrams, for example
local function protocol_of(socktype, protocol)
  if protocol == 0 then return PROTOCOL[socktype] end
  if socktype ~= 0 and OTHERS[socktype] ~= protocol then return protocol end
end

local function family_of(host)
  if host:find(":", 1, true) then return AF_INET6 end
  local first = host:byte()
  return first and first >= 48 and first <= 57 and AF_INET
end

-- Answers the number of a port, if it is written as tostring would write it.
local function port_of(port)
  if not port then return 0 end
  if type(port) == "number" then return port end
  local n = #port <= 5 and tonumber(port)
  return n and n >= 0 and n <= 65535 and floor(n) == n and tostring(n + 0) == port and n -- "-0" is none
end

local function from_text(host, number, family, socktype, protocol)
  local ai = addrinfo.blank(family, socktype, protocol)
  local namelen = sockaddr.from_text(ai.name, family, host, number)
  if not namelen then return nil end
  ai.namelen = namelen
  return { ai }
end

local M = { protocol_of = protocol_of }

--- Reads an address.
---@param host? string
---@param port? string|integer  an integer is one of 0 to 65535
---@param socktype integer
---@param protocol integer
---@param flags integer  AI_*
---@param family integer  AF_*
---@return llsocket.addrinfo[]? arr  nil where the resolver has to be asked
function M.numeric(host, port, socktype, protocol, flags, family)
  local known = protocol_of(socktype, protocol)
  if not (host and known) or band(flags, OTHER_FLAGS) ~= 0 then return nil end
  local found, number = family_of(host), port_of(port)
  if not (found and number) or family ~= AF_UNSPEC and family ~= found then return nil end
  return from_text(host, number, found, socktype, known)
end

return M
