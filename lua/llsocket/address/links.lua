-- links.lua -- the network interfaces and their addresses by netlink(7); see rtnetlink(7).
--
-- Do not use getifaddrs(3) on Linux: glibc names an IPv4 address by its label, which need not be an interface's name, and
-- reports a peer's address as the broadcast address.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local netlink = require "llsocket.address.netlink"
local families = require "llsocket.address.families"
local sockaddr = require "llsocket.address.sockaddr"
local insert, max, min = table.insert, math.max, math.min

local cast, sizeof, find, text, NAME = ffi.cast, ffi.sizeof, netlink.find, sockaddr.text, sockaddr.SIZE
local AF_INET, AF_INET6 = const.AF_INET, const.AF_INET6
local RTM_NEWLINK, RTM_NEWADDR = const.RTM_NEWLINK, const.RTM_NEWADDR
local IFLA_IFNAME, IFLA_ADDRESS = const.IFLA_IFNAME, const.IFLA_ADDRESS
local IFA_LOCAL, IFA_ADDRESS, IFA_BROADCAST = const.IFA_LOCAL, const.IFA_ADDRESS, const.IFA_BROADCAST

local LINK, ADDR = sizeof(layout.ifinfomsg), sizeof(layout.ifaddrmsg)
local link_ptr, addr_ptr = ffi.typeof("$ *", layout.ifinfomsg), ffi.typeof("$ *", layout.ifaddrmsg)

-- Without a mask Linux makes datagrams of a fixed size, and leaves out an interface that does not fit, such as one with 300
-- long names beside its own.  Without statistics a link takes 700 bytes instead of 1,400.
local function mask()
  local bits = const.RTEXT_FILTER_SKIP_STATS
  return bits and netlink.attribute(const.IFLA_EXT_MASK, ffi.string(ffi.new("uint32_t[1]", bits), 4)) or ""
end

local REQUESTS = { { const.RTM_GETLINK, ("\0"):rep(LINK) .. mask() }, { const.RTM_GETADDR, ("\0"):rep(ADDR) } }
local SIZE = { [AF_INET] = sizeof(layout.in_addr), [AF_INET6] = sizeof(layout.in6_addr) }

local function place(name, family) return cast("uint8_t *", sockaddr.place(name, family)) end

local function netmask(family, prefix)
  local name = sockaddr.type()
  local bytes = place(name, family)
  for i = 0, SIZE[family] - 1 do bytes[i] = 256 - 2 ^ (8 - max(0, min(8, prefix - 8 * i))) end
  return text(name, NAME, family)
end

-- Answers the text of an attribute that is an address; nil if it is absent or has another length.
local function address(link, family, bytes, at, length)
  if not at or length ~= SIZE[family] then return nil end
  local name = sockaddr.type()
  ffi.copy(place(name, family), bytes + at, length)
  local addr = text(name, NAME, family)
  if family == AF_INET6 and sockaddr.is_of_link(name) then return addr .. "%" .. link.name end
  return addr
end

local function add_link(state, bytes, at, stop)
  local info, from = cast(link_ptr, bytes + at), at + LINK
  local index, name_at, name_length = info.ifi_index, find(bytes, from, stop, IFLA_IFNAME)
  if not name_at or state.links[index] then return end
  local link = { index = index, flags = info.ifi_flags, entries = {} }
  link.name = ffi.string(bytes + name_at, name_length):match "^%Z*"
  local mac_at, mac_length = find(bytes, from, stop, IFLA_ADDRESS)
  if mac_at and mac_length > 0 then link.mac = families.mac(bytes + mac_at, mac_length) end
  state.links[index] = link
  insert(state.order, link)
end

-- Answers this side's address.  If there is a peer, IFA_ADDRESS is the peer's.
local function own_address(link, family, bytes, from, stop)
  local at, length = find(bytes, from, stop, IFA_LOCAL)
  if not at then at, length = find(bytes, from, stop, IFA_ADDRESS) end
  return address(link, family, bytes, at, length)
end

-- If an address names an interface that came after the links were read, the dump is tried again.
local function add_address(state, bytes, at, stop)
  local info, from = cast(addr_ptr, bytes + at), at + ADDR
  local family, prefix, link = info.ifa_family, info.ifa_prefixlen, state.links[info.ifa_index]
  if not link then state.torn = true end
  local addr = link and own_address(link, family, bytes, from, stop)
  if not addr then return end
  local broad = address(link, family, bytes, find(bytes, from, stop, IFA_BROADCAST))
  insert(link.entries, { family = family, addr = addr, netmask = netmask(family, prefix), broadaddr = broad })
end

local function begin() return { links = {}, order = {} } end

local function take(state, kind, bytes, at, stop)
  if kind == RTM_NEWLINK and stop - at >= LINK then return add_link(state, bytes, at, stop) end
  if kind == RTM_NEWADDR and stop - at >= ADDR then return add_address(state, bytes, at, stop) end
end

local M = {}

--- Lists the interfaces.
---@return table[]? order  name, index, flags, mac and entries of each
---@return integer? errno  see netlink.dump
function M.list()
  local state, e = netlink.dump(const.NETLINK_ROUTE, REQUESTS, begin, take)
  if not state then return nil, e end
  return state.order
end

return M
