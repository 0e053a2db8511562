-- supports.lua -- asks what the running kernel takes: options of a socket, and kinds of sockets.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.core.libc"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local failed = require("llsocket.core.failure").failed
local multicast = require "llsocket.socket.multicast"
local option = require "llsocket.socket.option"
local optionkind = require "llsocket.socket.optionkind"
local shortage = require "llsocket.core.shortage"
local sockets = require "llsocket.socket.object"
local ipairs, type = ipairs, type

local errno, bor = ffi.errno, bit.bor
local AF_INET6, EBADF, EINVAL = const.AF_INET6, const.EBADF, const.EINVAL

---@class llsocket.socket
local Socket = {}

local size_cell = ffi.new "uint32_t[1]" -- set it just before a call

-- The kernel's answers for an option that it does not have, or not on such a socket.
local LACKS = { [const.ENOPROTOOPT] = true, [const.EOPNOTSUPP] = true, [const.ENOTTY or -1] = true }

-- Asks for an option without a place for the value: EFAULT tells that the kernel has it.  A true read would take a saved SYN
-- away, and SO_PEERPIDFD would make a descriptor.
local function asks(sd, level, opt)
  size_cell[0] = 4
  local rc, e = C.llsocket2_getsockopt(sd, level, opt, nil, size_cell), errno()
  return rc == 0 or not LACKS[e]
end

local function has_queue(sd, _, request)
  local _, _, e = option.kind_of "queue".read(sd, nil, request)
  return not LACKS[e]
end

local function has_option(sock, level, opt, kind)
  local number = const[opt]
  if not number then return false end
  if opt == "SO_ERROR" then return true end -- every socket has it, and asking would clear it
  if kind == "queue" then return has_queue(sock.sd, level, number) end
  local asked = kind and option.kind_of(kind).asked -- what is set only is asked for by another option
  return asks(sock.sd, const[level], asked and asked[number] or number)
end

-- Of two rows at IPPROTO_IP and IPPROTO_IPV6 an IPv6 socket's is the second.  Of two at one level the first that is known counts.
local function choose(rows, six)
  local level, opt, kind
  for _, row_level, row_opt, row_kind in rows do
    local second = six and level == "IPPROTO_IP" and row_level == "IPPROTO_IPV6"
    if not (opt and const[opt]) or second and const[row_opt] then level, opt, kind = row_level, row_opt, row_kind end
  end
  return { level, opt, kind }
end

-- Methods that are no rows, and the option that each needs; of two the second is that of IPv6 sockets.
local NEEDS = {
  peerpidfd = { { "SOL_SOCKET", "SO_PEERPIDFD" } },
  originaldst = { { "IPPROTO_IP", "SO_ORIGINAL_DST" }, { "IPPROTO_IPV6", "IP6T_SO_ORIGINAL_DST" } },
}

local function needs(method, six)
  local options = NEEDS[method]
  return options and (six and options[2] or options[1])
end

-- What is asked for, by method: to find it among the rows takes 24,000 instructions.
local found4, found6 = {}, {}

local function row_of(sock, method)
  local found = sock.home == AF_INET6 and found6 or found4
  if not found[method] then
    local rows, six = option.rows_of(method), found == found6
    found[method] = rows and choose(rows, six) or needs(method, six) -- names of no option are not kept: there are too many
  end
  return found[method]
end

-- The options of multicast's methods that are no memberships; those are set only, and asked for by the number of hops.
local GROUPS = {
  mcastif = { "IP_MULTICAST_IF", "IPV6_MULTICAST_IF" }, mcastloop = { "IP_MULTICAST_LOOP", "IPV6_MULTICAST_LOOP" },
  mcastfilter = { "MCAST_MSFILTER", "MCAST_MSFILTER" },
}
local HOPS = { "IP_MULTICAST_TTL", "IPV6_MULTICAST_HOPS" }

local function has_groups(sock, method)
  local level = multicast.level_of(sock)
  if not level then return false end
  local opts = GROUPS[method] or HOPS
  local six = level == const.IPPROTO_IPV6
  return has_option(sock, six and "IPPROTO_IPV6" or "IPPROTO_IP", opts[six and 2 or 1], "int")
end

local INTERNET = { [const.AF_INET] = true, [AF_INET6] = true }
local SHARED = { [const.SOCK_STREAM] = true, [const.SOCK_DGRAM] = true } -- types whose sockets share a port's packets

-- FITS[method]: whether a socket is of a kind that the method takes.
local FITS = {
  recvfd = function(sock) return sock.home == const.AF_UNIX end,
  sendzerocopy = function(sock) return INTERNET[sock.home] and const.MSG_ZEROCOPY end,
  splice = function(sock) return sock.about.kind == const.SOCK_STREAM and const.SPLICE_F_MOVE end,
  steer = function(sock) return INTERNET[sock.home] and SHARED[sock.about.kind] end,
}
FITS.sendfd = FITS.recvfd

-- The options that these methods set, and that the kernel does not tell.
local SETS = {
  filter = { "SOL_SOCKET", "SO_ATTACH_FILTER" }, sendzerocopy = { "SOL_SOCKET", "SO_ZEROCOPY" },
  steer = { "SOL_SOCKET", "SO_ATTACH_REUSEPORT_CBPF" }, tcpmd5sig = { "IPPROTO_TCP", "TCP_MD5SIG" },
}
local wrong = ffi.new("int[1]", 2)

-- Sets an option to a 2 of 4 bytes, which none of SETS takes: a kernel that has the option refuses that and changes nothing.
-- Do not make it shorter: to less than an int Linux answers EINVAL whether it has the option or not.
local function is_refused(sd, level, opt)
  local number = const[opt]
  return number ~= nil and not LACKS[optionkind.set(sd, const[level], number, wrong, 4)]
end

--- Tells whether the running kernel has what a method asks for, on a socket such as this; see getsockopt(2).  Options are
--- asked for without changing anything.  Setting one may still be refused: for want of a privilege, or by a value.
---@param method string  a name of a method: "tcprtomax".  A method that asks the kernel for nothing of its own is there
---everywhere: close, send, ...
---@return boolean? yes  false also for an unknown name
---@return string? err
---@return integer? errno  EBADF once closed
function Socket:supports(method)
  sockets.self(self, "supports")
  check.string(method, 1, "supports")
  if self.sd < 0 then return failed(EBADF) end
  local row = row_of(self, method)
  if row then return has_option(self, row[1], row[2], row[3]) end
  if multicast.methods[method] then return has_groups(self, method) end
  local fits, option_set = FITS[method], SETS[method]
  if fits and not fits(self) then return false end
  if option_set then return is_refused(self.sd, option_set[1], option_set[2]) end
  return sockets.methods[method] ~= nil
end

local TYPES = { const.SOCK_STREAM, const.SOCK_DGRAM, const.SOCK_SEQPACKET, const.SOCK_RAW }

-- What socket(2) answers for a family, type or protocol that the kernel does not have.
local UNKNOWN = {}
for _, name in ipairs { "EAFNOSUPPORT", "EPFNOSUPPORT", "EPROTONOSUPPORT", "ESOCKTNOSUPPORT", "EPROTOTYPE", "EOPNOTSUPP",
  "ENOPROTOOPT", "EINVAL" } do
  if const[name] then UNKNOWN[const[name]] = true end
end
local REFUSED = { [const.EPERM] = true, [const.EACCES] = true }

local owner_t, finalize = ffi.typeof "int[1]", shim.llsocket2_finalize

-- Makes a socket and closes it; answers whether the kernel has such ones, or nil and the errno.
local function made(family, socktype, protocol)
  local owner = ffi.gc(owner_t(-1), finalize)
  local e
  owner[0], e = C.llsocket2_socket(family, bor(socktype, const.SOCK_CLOEXEC or 0), protocol), errno()
  local yes = owner[0] >= 0
  finalize(owner)
  if yes then return true end
  if shortage.collected(e) then return made(family, socktype, protocol) end
  if REFUSED[e] then return true end
  if UNKNOWN[e] then return false end
  return nil, e
end

local function any_type(family, protocol)
  for _, socktype in ipairs(TYPES) do
    local yes, e = made(family, socktype, protocol)
    if yes ~= false then return yes, e end
  end
  return false
end

local function optional_int(value, position)
  if type(value) == "nil" then return true end
  return check.int(value, position, "supports")
end

--- Tells whether the running kernel makes sockets of a kind, by making one; see socket(2).  What it has but denies to this
--- process counts, too.  Linux may load a module for it.  Never blocks.
---@param family integer  AF_*
---@param socktype? integer  SOCK_*; the default is any
---@param protocol? integer  IPPROTO_*; the default is the type's own
---@return boolean? yes
---@return string? err
---@return integer? errno  EMFILE, ENFILE, ENOBUFS: it cannot be told now; EINVAL for a number out of range
local function supports(family, socktype, protocol)
  local ok = check.int(family, 1, "supports")
  local ok2, ok3 = optional_int(socktype, 2), optional_int(protocol, 3)
  if not (ok and ok2 and ok3) then return failed(EINVAL) end
  local yes, e
  if socktype then yes, e = made(family, socktype, protocol or 0) else yes, e = any_type(family, protocol or 0) end
  if e then return failed(e) end
  return yes
end

return { methods = Socket, supports = supports }
