-- tcpmd5sig.lua -- keys that sign TCP's segments with MD5, as BGP wants them; see TCP_MD5SIG in tcp(7), RFC 2385.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local check = require "llsocket.core.check"
local addrinfo = require "llsocket.addrinfo"
local refused = require("llsocket.core.failure").refused
local sockets = require "llsocket.socket.object"
local set = require("llsocket.socket.optionkind").set
local type, min = type, math.min

local EINVAL, ENOPROTOOPT, IPPROTO_TCP = const.EINVAL, const.ENOPROTOOPT, const.IPPROTO_TCP
local TCP_MD5SIG, TCP_MD5SIG_EXT, PREFIX = const.TCP_MD5SIG, const.TCP_MD5SIG_EXT, const.TCP_MD5SIG_FLAG_PREFIX

---@class llsocket.socket
local Socket = {}

-- Writes address and key into the kernel's struct, all of which is 0 before.  A key of no bytes takes the key away.
local function fill(sig, ai, key, prefix)
  ffi.copy(sig.tcpm_addr, ai.name, min(ai.namelen, ffi.sizeof(sig.tcpm_addr)))
  sig.tcpm_keylen = #key
  ffi.copy(sig.tcpm_key, key, #key)
  if prefix then sig.tcpm_flags, sig.tcpm_prefixlen = PREFIX, prefix end
  return sig
end

-- Whether a key may be set: one of the kernel's length, or false.
local function is_key(key, position)
  if key == false then return true end
  if type(key) ~= "string" then check.bad(position, "tcpmd5sig", "string or false", key) end
  return #key >= 1 and #key <= const.TCP_MD5SIG_MAXKEYLEN
end

local function is_prefix(prefix, position)
  if type(prefix) == "nil" then return true end
  return check.int(prefix, position, "tcpmd5sig") and prefix >= 0 and prefix <= 128
end

--- Signs all segments to a peer with a key, and drops those of the peer that are not signed with it; see tcp(7).  For a
--- listener, set it before the peer connects; for a client, before connect.  Never blocks.
---@param ai llsocket.addrinfo  the peer; its port does not count.  On an IPv6 socket an IPv4 peer is ::ffff:192.0.2.1
---@param key string|false  1 to 80 bytes; false takes the key away
---@param prefix? integer  how many bits of the address count, 0 to 32 or 128; the default is all
---@return string? err
---@return integer? errno  EINVAL for a key or prefix out of range, and an address of another family; ENOENT: no key to take away;
---ENOPROTOOPT where the system has no such option, EOPNOTSUPP on unix sockets; EBADF once closed
function Socket:tcpmd5sig(ai, key, prefix)
  sockets.self(self, "tcpmd5sig")
  addrinfo.arg(ai, 1, "tcpmd5sig")
  local key_ok, prefix_ok = is_key(key, 2), is_prefix(prefix, 3)
  if not layout.tcp_md5sig then return refused(ENOPROTOOPT) end
  if not (key_ok and prefix_ok) then return refused(EINVAL) end
  local sig = fill(layout.tcp_md5sig(), ai, key or "", prefix)
  local e = set(self.sd, IPPROTO_TCP, prefix and TCP_MD5SIG_EXT or TCP_MD5SIG, sig, ffi.sizeof(sig))
  if e then return refused(e) end
end

return { methods = Socket }
