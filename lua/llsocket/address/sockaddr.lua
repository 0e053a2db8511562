-- sockaddr.lua -- socket addresses: bytes to text and back, without a system call.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local min, concat = math.min, table.concat

local AF_INET, AF_INET6, AF_UNIX = const.AF_INET, const.AF_INET6, const.AF_UNIX
local EINVAL, ENAMETOOLONG = const.EINVAL, const.ENAMETOOLONG

-- One address of any family; as long as sockaddr_storage, which is longer than what any kernel writes.
local name_t = ffi.typeof("union { $ any; $ in4; $ in6; $ un; }",
  layout.sockaddr_storage, layout.sockaddr_in, layout.sockaddr_in6, layout.sockaddr_un)

local SIZE = ffi.sizeof(name_t)
local PATH_AT = ffi.offsetof(layout.sockaddr_un, "sun_path")
local PATH_MAX = ffi.sizeof(layout.sockaddr_un) - PATH_AT

local HAS_LENGTH = ffi.offsetof(layout.sockaddr_storage, "ss_len") ~= nil

local text_t = ffi.typeof "char[64]"

local M = { type = name_t, SIZE = SIZE }

-- The BSDs keep the length in the first byte; kernels fill it in for addresses that are arguments of
-- their own, not for those inside another struct.
local function set_length(name, length)
  if HAS_LENGTH then name.any.ss_len = length end
  return length
end

--- Turns 16 bits between network and host order.
local function ntohs(n)
  if ffi.abi "be" then return n end
  return bit.bor(bit.lshift(bit.band(n, 0xff), 8), bit.rshift(n, 8))
end

--- Writes the address of a unix socket; see unix(7).  The length is exact: no byte is padded.
---@param name ffi.cdata*  of the type of this module
---@param path string  "" is autobind, a leading NUL an abstract name
---@return integer? namelen
---@return integer? errno  ENAMETOOLONG, EINVAL for a NUL inside
function M.from_path(name, path)
  if #path > PATH_MAX then return nil, ENAMETOOLONG end
  if path:find("%z", 2) and path:byte() ~= 0 then return nil, EINVAL end
  name.un.sun_family = AF_UNIX
  ffi.copy(name.un.sun_path, path, #path)
  return set_length(name, PATH_AT + #path)
end

--- Writes a numeric IPv4 or IPv6 address without port; see inet_pton(3).
---@param name ffi.cdata*
---@param family integer  AF_INET or AF_INET6
---@param text string
---@return integer? namelen  nil when `text` is none of `family`
function M.from_text(name, family, text)
  if text:find("\0", 1, true) then return nil end -- a pattern would not compile
  name.any.ss_family = family
  if family == AF_INET then
    if C.llsocket2_inet_pton(family, text, name.in4.sin_addr) ~= 1 then return nil end
    return set_length(name, ffi.sizeof(layout.sockaddr_in))
  end
  if C.llsocket2_inet_pton(family, text, name.in6.sin6_addr) ~= 1 then return nil end
  return set_length(name, ffi.sizeof(layout.sockaddr_in6))
end

local function path(name, namelen)
  if namelen <= PATH_AT then return "" end
  local bytes = ffi.string(name.un.sun_path, min(namelen - PATH_AT, SIZE - PATH_AT))
  if bytes:byte() == 0 then return bytes end
  return bytes:match "^%Z*"
end

--- Answers the length of an address that the kernel wrote: without the NUL that Linux puts after a path, so that an
--- address has one spelling.  Where a path fills sun_path that NUL does not fit, and Linux refuses its own length.
---@param name ffi.cdata*
---@param namelen integer
---@param family integer  AF_*
---@return integer namelen
function M.length(name, namelen, family)
  namelen = min(namelen, SIZE)
  if family ~= AF_UNIX or namelen <= PATH_AT or name.un.sun_path[0] == 0 then return namelen end
  if name.un.sun_path[namelen - PATH_AT - 1] == 0 then return namelen - 1 end
  return namelen
end

--- Cuts a path at its first NUL, as connect(2) reads it.
---@param name ffi.cdata*
---@param namelen integer
---@param family integer  AF_*
---@return integer? namelen  nil for a path that goes on after a NUL
function M.cut(name, namelen, family)
  if family ~= AF_UNIX or namelen <= PATH_AT or name.un.sun_path[0] == 0 then return namelen end
  local bytes = ffi.string(name.un.sun_path, namelen - PATH_AT)
  if bytes:find "%z+%Z" then return nil end
  return PATH_AT + #bytes:match "^%Z*"
end

local function numeric(family, addr)
  local text = text_t() -- its own: the result is boxed, and a finaliser that runs then may ask for another's
  C.llsocket2_inet_ntop(family, addr, text, 64)
  return ffi.string(text)
end

--- Tells the numeric address, without scope, or the unix path; nil for other families.
---@param name ffi.cdata*
---@param namelen integer
---@param family integer  AF_*
---@return string? text
function M.text(name, namelen, family)
  if family == AF_INET then return numeric(family, name.in4.sin_addr) end
  if family == AF_INET6 then return numeric(family, name.in6.sin6_addr) end
  if family == AF_UNIX then return path(name, namelen) end
end

--- Tells a hardware address.
---@param bytes ffi.cdata*
---@param length integer  bytes of it
---@return string mac  "02:00:5e:00:53:01"
function M.mac(bytes, length)
  local out = {}
  for i = 0, length - 1 do out[i + 1] = ("%02x"):format(bytes[i]) end
  return concat(out, ":")
end

--- Tells the port in host order; nil for families without one.
---@param name ffi.cdata*
---@param family integer  AF_*
---@return integer? port
function M.port(name, family)
  if family == AF_INET then return ntohs(name.in4.sin_port) end
  if family == AF_INET6 then return ntohs(name.in6.sin6_port) end
end

--- Writes the port of an IPv4 or IPv6 address.
---@param name ffi.cdata*
---@param family integer  AF_INET or AF_INET6
---@param port integer  0 to 65535
function M.set_port(name, family, port)
  if family == AF_INET then name.in4.sin_port = ntohs(port) else name.in6.sin6_port = ntohs(port) end
end

--- Tells the IPv6 scope, an interface's index; 0 where there is none.
---@param name ffi.cdata*
---@param family integer  AF_*
---@return integer index
function M.scope(name, family)
  return family == AF_INET6 and name.in6.sin6_scope_id or 0
end

--- Writes the scope of an IPv6 address; others have none.
---@param name ffi.cdata*
---@param family integer  AF_*
---@param index integer  0 to 2^32-1
function M.set_scope(name, family, index)
  if family == AF_INET6 then name.in6.sin6_scope_id = index end
end

--- Tells whether an IPv6 address is of one link, fe80::/10 or a group of that scope: of others the resolver takes no name
--- of an interface as scope, only its number.
---@param name ffi.cdata*
---@return boolean
function M.is_of_link(name)
  local bytes = name.in6.sin6_addr.s6_addr
  return bytes[0] == 0xfe and bit.band(bytes[1], 0xc0) == 0x80 or bytes[0] == 0xff and bit.band(bytes[1], 0x0f) == 2
end

return M
