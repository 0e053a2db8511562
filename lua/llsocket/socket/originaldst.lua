-- originaldst.lua -- where a connection went before a firewall redirected it here.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local addrinfo = require "llsocket.addrinfo"
local failed = require("llsocket.core.failure").failed
local sockaddr = require "llsocket.address.sockaddr"
local sockets = require "llsocket.socket.object"

local errno = ffi.errno
local EBADF, ENOPROTOOPT, AF_INET6 = const.EBADF, const.ENOPROTOOPT, const.AF_INET6

---@class llsocket.socket
local Socket = {}

local size_cell = ffi.new "uint32_t[1]" -- set it just before a call, and read it in the statement of the call

local function ask(sock, level, opt)
  if not opt then return nil, ENOPROTOOPT end
  local ai = addrinfo.blank(0, 0, 0)
  size_cell[0] = sockaddr.SIZE
  local rc, e = C.llsocket2_getsockopt(sock.sd, level, opt, ai, size_cell), errno()
  if rc ~= 0 then return nil, e end
  -- The kernel tells the size of the buffer, not that of the address.
  return addrinfo.received(ai, sockaddr.families[ai.name.any.ss_family].size, sock.about.type, sock.about.proto)
end

-- An IPv6 socket may carry IPv4: then the kernel knows the connection as one of IPv4.
local function ask_both(sock)
  local ai, e = ask(sock, const.IPPROTO_IPV6, const.IP6T_SO_ORIGINAL_DST)
  return ai or ask(sock, const.IPPROTO_IP, const.SO_ORIGINAL_DST), e
end

--- Tells the address that the client of a TCP connection had connected to, before a firewall redirected the connection to this
--- socket by REDIRECT or DNAT; see SO_ORIGINAL_DST in netfilter.  Where nothing redirected it, it is the socket's own address.
--- Of a connection over IPv4 it is an IPv4 address, on IPv6 sockets too.
---@return llsocket.addrinfo? ai
---@return string? err
---@return integer? errno  ENOENT: the firewall tracks no such connection; ENOPROTOOPT: not TCP, or no NAT in this network
---namespace; EOPNOTSUPP; EBADF once closed
function Socket:originaldst()
  sockets.self(self, "originaldst")
  if self.sd < 0 then return failed(EBADF) end
  local ai, e
  if self.home == AF_INET6 then ai, e = ask_both(self) else ai, e = ask(self, const.IPPROTO_IP, const.SO_ORIGINAL_DST) end
  if not ai then return failed(e) end
  return ai
end

return { methods = Socket }
