-- decode.lua -- reads ancillary data: for each kind of message, what its bytes say.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local addrinfo = require "llsocket.addrinfo"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local named = require("llsocket.core.named").named
local sockaddr = require "llsocket.address.sockaddr"
local ipairs, tonumber, sizeof, copy, band = ipairs, tonumber, ffi.sizeof, ffi.copy, bit.band

local AF_INET, AF_INET6, SOCK_DGRAM = const.AF_INET, const.AF_INET6, const.SOCK_DGRAM
local SOL_SOCKET, SCM_TIMESTAMPNS, SCM_TIMESTAMPING = const.SOL_SOCKET, const.SCM_TIMESTAMPNS, const.SCM_TIMESTAMPING

local M = {}

-- READERS[method][level][type]: the struct's name, and the function that tells its content.
local READERS = {}

-- Does nothing on a system without the constant: the kind cannot arrive there.
local function reads(method, level, kind, struct, tell)
  local level_number, number = named(level), named(kind)
  if not (level_number and number) then return end
  local levels = READERS[method] or {}
  local kinds = levels[level_number] or {}
  READERS[method], levels[level_number], kinds[number] = levels, kinds, { struct = struct, tell = tell }
end

-- Answers the text of an in_addr or in6_addr, by way of a socket address.
local function text_of(family, addr)
  local name = sockaddr.type()
  copy(sockaddr.place(name, family), addr, sizeof(addr))
  return sockaddr.text(name, sockaddr.SIZE, family)
end

-- Answers the address at the beginning of `bytes`; nil where there is none, or a part of one.
local function address(bytes, socktype)
  if #bytes < sizeof(layout.sockaddr_in) then return nil end
  local ai = addrinfo.copied(bytes, #bytes, socktype, 0)
  ai.namelen = sockaddr.families[ai.domain].size or 0
  if ai.namelen > 0 and ai.namelen <= #bytes then return ai end
end

reads("credentials", "SOL_SOCKET", "SCM_CREDENTIALS", "ucred", function(cred)
  return { pid = cred.pid, uid = cred.uid, gid = cred.gid }
end)

reads("pktinfo", "IPPROTO_IP", "IP_PKTINFO", "in_pktinfo", function(info)
  return { addr = text_of(AF_INET, info.ipi_addr), specdst = text_of(AF_INET, info.ipi_spec_dst), index = info.ipi_ifindex }
end)
reads("pktinfo", "IPPROTO_IPV6", "IPV6_PKTINFO", "in6_pktinfo", function(info)
  return { addr = text_of(AF_INET6, info.ipi6_addr), index = info.ipi6_ifindex }
end)

local function destination(_, bytes) return address(bytes, SOCK_DGRAM) end
reads("origdst", "IPPROTO_IP", "IP_ORIGDSTADDR", "sockaddr_in", destination)
reads("origdst", "IPPROTO_IPV6", "IPV6_ORIGDSTADDR", "sockaddr_in6", destination)

reads("pathmtu", "IPPROTO_IPV6", "IPV6_PATHMTU", "ip6_mtuinfo", function(info, bytes)
  return { mtu = info.ip6m_mtu, dest = address(bytes, SOCK_DGRAM) }
end)

-- The tag's fields are zeroes unless the status says that there is one.
local VLAN, TPID = named "TP_STATUS_VLAN_VALID" or 0, named "TP_STATUS_VLAN_TPID_VALID" or 0
reads("auxdata", "SOL_PACKET", "PACKET_AUXDATA", "tpacket_auxdata", function(aux)
  local status = aux.tp_status
  return { status = status, len = aux.tp_len, snaplen = aux.tp_snaplen, mac = aux.tp_mac, net = aux.tp_net,
    vlantci = band(status, VLAN) ~= 0 and aux.tp_vlan_tci or nil, vlantpid = band(status, TPID) ~= 0 and aux.tp_vlan_tpid or nil }
end)

reads("optpktinfo", "SOL_SOCKET", "SCM_TIMESTAMPING_PKTINFO", "scm_ts_pktinfo", function(info)
  return { index = info.if_index, length = info.pkt_length }
end)

local function exterr(err, bytes)
  local told = { errno = err.ee_errno, origin = err.ee_origin, type = err.ee_type, code = err.ee_code, info = err.ee_info,
    data = err.ee_data, offender = address(bytes:sub(sizeof(layout.sock_extended_err) + 1), 0) }
  if told.origin == const.SO_EE_ORIGIN_TIMESTAMPING then told.stage, told.id = told.info, told.data end
  return told
end
reads("exterr", "IPPROTO_IP", "IP_RECVERR", "sock_extended_err", exterr)
reads("exterr", "IPPROTO_IPV6", "IPV6_RECVERR", "sock_extended_err", exterr)
reads("exterr", "SOL_PACKET", "PACKET_TX_TIMESTAMP", "sock_extended_err", exterr)
reads("exterr", "SOL_VSOCK", "VSOCK_RECVERR", "sock_extended_err", exterr)

-- Linux puts the lengths in the place of ee_data, for errors that an ICMP message brought.
local ICMP = { [const.SO_EE_ORIGIN_ICMP or -1] = true, [const.SO_EE_ORIGIN_ICMP6 or -1] = true }

local function rfc4884(err)
  local ctype = layout.sock_ee_data_rfc4884
  if not (ctype and ICMP[err.ee_origin]) or err.ee_data == 0 then return nil end
  local cell = ctype()
  copy(cell, ffi.cast("uint8_t *", err) + ffi.offsetof(err, "ee_data"), sizeof(cell))
  return { length = cell.len, invalid = band(cell.flags, const.SO_EE_RFC4884_FLAG_INVALID) ~= 0 }
end
reads("rfc4884", "IPPROTO_IP", "IP_RECVERR", "sock_extended_err", rfc4884)
reads("rfc4884", "IPPROTO_IPV6", "IPV6_RECVERR", "sock_extended_err", rfc4884)

-- Finds the row of a kind in a table of levels.
local function row_of(levels, cmsg)
  local kinds = levels[cmsg.cmsg_level]
  return kinds and kinds[cmsg.cmsg_type]
end

--- Reads ancillary data that is a struct.
---@param cmsg llsocket.cmsghdr
---@param method string  one of the names in READERS
---@return any value  nil where it is of another kind or too short
function M.struct(cmsg, method)
  local row, bytes = row_of(READERS[method], cmsg), cmsg.bytes
  local ctype = row and layout[row.struct]
  if not (ctype and bytes and #bytes >= sizeof(ctype)) then return nil end
  local cell = ctype()
  copy(cell, bytes, sizeof(ctype))
  return row.tell(cell, bytes)
end

for _, method in ipairs { "credentials", "pktinfo", "origdst", "pathmtu", "auxdata", "exterr", "rfc4884", "optpktinfo" } do
  READERS[method] = READERS[method] or {}
end

-- The kinds that carry one number: level and type, and how it is read where that is not an unsigned number in the machine's
-- order.  The kernel passes a type of service as a byte, the others as an int.
local NUMBERS = {
  { "IPPROTO_IP", "IP_TTL" }, { "IPPROTO_IP", "IP_TOS" }, { "IPPROTO_IP", "IP_RECVFRAGSIZE" }, { "IPPROTO_IP", "IP_CHECKSUM" },
  { "IPPROTO_IPV6", "IPV6_HOPLIMIT" }, { "IPPROTO_IPV6", "IPV6_TCLASS" }, { "IPPROTO_IPV6", "IPV6_RECVFRAGSIZE" },
  { "IPPROTO_IPV6", "IPV6_FLOWINFO", "network" },
  { "IPPROTO_UDP", "UDP_SEGMENT" }, { "IPPROTO_UDP", "UDP_GRO" }, { "IPPROTO_TCP", "TCP_INQ" },
  { "SOL_SOCKET", "SO_RXQ_OVFL" }, { "SOL_SOCKET", "SO_MARK" }, { "SOL_SOCKET", "SO_PRIORITY" }, { "SOL_SOCKET", "SCM_INQ" },
  { "SOL_SOCKET", "SCM_WIFI_STATUS" }, { "SOL_SOCKET", "SO_TIMESTAMPING" }, { "SOL_SOCKET", "SCM_TS_OPT_ID" },
  { "SOL_NETLINK", "NETLINK_PKTINFO" }, { "SOL_NETLINK", "NETLINK_LISTEN_ALL_NSID", "signed" },
  { "SOL_TLS", "TLS_GET_RECORD_TYPE" },
}

-- INTEGERS[level][type]: how the number is read.
local PLAIN, INTEGERS = "plain", {}
for _, row in ipairs(NUMBERS) do
  local level, kind = named(row[1]), named(row[2])
  if level and kind then
    INTEGERS[level] = INTEGERS[level] or {}
    INTEGERS[level][kind] = row[3] or PLAIN
  end
end

-- POINTER[bytes].  A string's bytes are aligned to 8, so a number is read where it is: copied, it costs ten times as much.
local POINTER = { [1] = ffi.typeof "const uint8_t *", [2] = ffi.typeof "const uint16_t *", [4] = ffi.typeof "const uint32_t *" }

local HOW = {
  signed = function(n) return (bit.tobit(n)) end,
  network = function(n)
    if ffi.abi "be" then return n end
    local swapped = bit.bswap(n)
    return swapped < 0 and swapped + 2^32 or swapped
  end,
}

--- Reads ancillary data that is one number, of one, two or four bytes.
---@param cmsg llsocket.cmsghdr
---@return integer? n  nil where it is of another kind
function M.integer(cmsg)
  local how, bytes = row_of(INTEGERS, cmsg), cmsg.bytes
  local pointer = how and bytes and POINTER[#bytes]
  if not pointer then return nil end
  local n = ffi.cast(pointer, bytes)[0]
  if how == PLAIN then return n end
  return (HOW[how](n))
end

-- The numbers of SCM_TIMESTAMPING_OPT_STATS, by the names of their constants without TCP_NLA_.
local STATS = {
  "BUSY", "RWND_LIMITED", "SNDBUF_LIMITED", "DATA_SEGS_OUT", "TOTAL_RETRANS", "PACING_RATE", "DELIVERY_RATE", "SND_CWND",
  "REORDERING", "MIN_RTT", "RECUR_RETRANS", "DELIVERY_RATE_APP_LMT", "SNDQ_SIZE", "CA_STATE", "SND_SSTHRESH", "DELIVERED",
  "DELIVERED_CE", "BYTES_SENT", "BYTES_RETRANS", "DSACK_DUPS", "REORD_SEEN", "SRTT", "TIMEOUT_REHASH", "BYTES_NOTSENT", "EDT",
  "TTL",
}
local stat_names -- by number, once asked for
local WORD = { [1] = ffi.typeof "struct { uint8_t n; }", [4] = ffi.typeof "struct { uint32_t n; }",
  [8] = ffi.typeof "struct { uint64_t n; }" }

local function names_of_stats()
  local names = {}
  for _, name in ipairs(STATS) do
    local number = named("TCP_NLA_" .. name)
    if number then names[number] = name:lower() end
  end
  return names
end

-- Answers the number of an attribute; nil for a size that none of them has.
local function number_of(bytes)
  local ctype = WORD[#bytes]
  if not ctype then return nil end
  local cell = ctype()
  copy(cell, bytes, #bytes)
  return tonumber(cell.n)
end

--- Reads the attributes of SCM_TIMESTAMPING_OPT_STATS.  One that claims more bytes than there are ends the list.
---@param cmsg llsocket.cmsghdr
---@return table<string, integer>? stats  nil where it is of another kind
function M.optstats(cmsg)
  local bytes, head = cmsg.bytes, layout.nlattr
  local is_kind = cmsg.cmsg_level == SOL_SOCKET and cmsg.cmsg_type == const.SCM_TIMESTAMPING_OPT_STATS
  if not (is_kind and bytes and head) then return nil end
  stat_names = stat_names or names_of_stats()
  local at, stats, cell = 0, {}, head()
  while #bytes - at >= sizeof(head) do
    copy(cell, bytes:sub(at + 1, at + sizeof(head)), sizeof(head))
    local length, name = cell.nla_len, stat_names[cell.nla_type]
    if length < sizeof(head) or length > #bytes - at then break end
    if name then stats[name] = number_of(bytes:sub(at + sizeof(head) + 1, at + length)) end
    at = at + band(length + 3, -4)
  end
  return stats
end

--- Reads a label of SELinux, Smack or AppArmor.
---@param cmsg llsocket.cmsghdr
---@return string? label  without the NUL at its end; nil where it is of another kind
function M.security(cmsg)
  local level, kind = cmsg.cmsg_level, cmsg.cmsg_type
  if not (kind == const.SCM_SECURITY and (level == SOL_SOCKET or level == const.IPPROTO_IP) and cmsg.bytes) then return nil end
  return (cmsg.bytes:match "^%Z*")
end

-- A message's time: a timeval, a timespec, or three timespecs: of the kernel, unused, of the network card.  One cell is kept: it
-- is read over several statements, so each call takes it away and gives it back.
local times_t = ffi.typeof("union { $ usec; $ nsec[3]; }", layout.timeval, layout.timespec)
local spare

-- STAMPS[type]: bytes of the data, at SOL_SOCKET.
local STAMPS = {}
for kind, size in pairs {
  SCM_TIMESTAMP = sizeof(layout.timeval), SCM_TIMESTAMPNS = sizeof(layout.timespec),
  SCM_TIMESTAMPING = 3 * sizeof(layout.timespec),
} do
  if const[kind] then STAMPS[const[kind]] = size end
end

local function read(cell, i)
  local time = cell.nsec[i]
  return tonumber(time.tv_sec), tonumber(time.tv_nsec)
end

-- A time of 0 means that there is none.
local function read_both(cell)
  local sec, nsec = read(cell, 0)
  local hwsec, hwnsec = read(cell, 2)
  if sec == 0 and nsec == 0 then sec, nsec = nil, nil end
  if hwsec == 0 and hwnsec == 0 then return sec, nsec end
  return sec, nsec, hwsec, hwnsec
end

local function read_times(cell, kind)
  if kind == SCM_TIMESTAMPING then return read_both(cell) end
  if kind == SCM_TIMESTAMPNS then return read(cell, 0) end
  return tonumber(cell.usec.tv_sec), tonumber(cell.usec.tv_usec) * 1000
end

--- Tells whether data of a kind, at SOL_SOCKET, is a time.
---@param kind integer  SCM_*
---@param length integer  bytes
---@return boolean is_time
function M.is_time(kind, length)
  local size = STAMPS[kind]
  return size ~= nil and length >= size
end

--- Reads a time; is_time must have said that it is one.  Allocates nothing.
---@param kind integer  SCM_TIMESTAMP, SCM_TIMESTAMPNS, SCM_TIMESTAMPING
---@param at ffi.cdata*|string  the data
---@return integer? sec
---@return integer? nsec
---@return integer? hwsec
---@return integer? hwnsec
function M.time(kind, at)
  local cell = spare or times_t()
  spare = nil
  copy(cell, at, STAMPS[kind])
  local sec, nsec, hwsec, hwnsec = read_times(cell, kind)
  spare = cell
  if hwsec then return sec, nsec, hwsec, hwnsec end
  return sec, nsec
end

return M
