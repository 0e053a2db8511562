-- unix.lua -- addresses of unix sockets; no system call.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local failed = require("llsocket.core.failure").failed
local addrinfo = require "llsocket.addrinfo"
local sockaddr = require "llsocket.address.sockaddr"
local type = type

local check_string, flags_of, blank, from_path = check.string, check.flags, addrinfo.blank, sockaddr.from_path
local AF_UNIX, SOCK_STREAM, EINVAL = const.AF_UNIX, const.SOCK_STREAM, const.EINVAL

---@class llsocket.unix.module
local M = {}

--- Makes the address of a unix socket; see unix(7).  Makes no system call; allocates the list and its object.
---@param path string  at most 108 bytes, 104 on the BSDs; a leading NUL makes it abstract, "" autobinds
---@param socktype? integer  SOCK_*; the default is SOCK_STREAM
---@param protocol? integer  the default is 0
---@param flag? integer  AI_*, checked and not used
---@param f2? integer  more flags, up to f8
---@return llsocket.addrinfo[]? arr  of one
---@return string? err
---@return integer? errno  ENAMETOOLONG; EINVAL for a NUL inside a path, or a number out of range
function M.getaddrinfo(path, socktype, protocol, flag, f2, f3, f4, f5, f6, f7, f8, f9)
  check_string(path, 1, "getaddrinfo")
  local type_ok = type(socktype) == "nil" or check.int(socktype, 2, "getaddrinfo")
  local protocol_ok = type(protocol) == "nil" or check.int(protocol, 3, "getaddrinfo")
  local flags = flags_of(4, "getaddrinfo", flag, f2, f3, f4, f5, f6, f7, f8, f9)
  if not (flags and type_ok and protocol_ok) then return failed(EINVAL) end
  local ai = blank(AF_UNIX, socktype or SOCK_STREAM, protocol or 0)
  local namelen, e = from_path(ai.name, path)
  if not namelen then return failed(e) end
  ai.namelen = namelen
  return { ai }
end

return M
