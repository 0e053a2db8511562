-- ifaddrs.lua -- the network interfaces and their addresses by getifaddrs(3), for systems without netlink(7).
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.core.libc"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local interface = require "llsocket.address.interface"
local addrinfo = require "llsocket.addrinfo"
local shortage = require "llsocket.core.shortage"
local families = require "llsocket.address.families"
local sockaddr = require "llsocket.address.sockaddr"
local ipairs, tonumber, insert, min = ipairs, tonumber, table.insert, math.min

local errno, band = ffi.errno, bit.band
local any_ptr = ffi.typeof("$ *", layout.sockaddr_storage) -- only its family and length are read
local HAS_LENGTH = ffi.offsetof(layout.sockaddr_storage, "ss_len") ~= nil

-- One of each for each call: a debug hook that asks, too, would leave what is freed in shared ones.
local list_t, bytes_t, index_t = ffi.typeof "void *[1]", ffi.typeof "const uint8_t *[1]", ffi.typeof "uint32_t[1]"

-- The family of an internet address; nil for any other.
local function family_of(name)
  local family = name ~= nil and ffi.cast(any_ptr, name).ss_family
  return sockaddr.families[family].size and family
end

-- The text of an address.  The BSDs leave the family of a netmask 0, and cut its bytes behind the last that is not 0.
local function address(name, family)
  if name == nil then return end
  local ai = addrinfo.blank(0, 0, 0)
  local length = sockaddr.families[family].size
  ffi.copy(ai, name, HAS_LENGTH and min(ffi.cast(any_ptr, name).ss_len, length) or length)
  ai.name.any.ss_family = family
  return addrinfo.received(ai, length, 0, 0):addr()
end

-- Answers the broadcast address.  Only a broadcast interface has one: others have the address of their peer in this field.
-- Where no broadcast address was set, glibc puts the address itself there, or that of the peer; with a peer the netmask is
-- 255.255.255.255.
local function broadcast(flags, family, addr, netmask, name)
  if band(flags, const.IFF_BROADCAST) == 0 or family ~= const.AF_INET then return end
  local broad = address(name, family)
  if broad ~= addr and netmask ~= "255.255.255.255" then return broad end
end

-- Answers index and mac from the link-layer entry of an interface; the mac is nil where it has none.  Answers nothing for other
-- entries.
local function link(name)
  if name == nil then return end
  local bytes, index = bytes_t(), index_t()
  local length = shim.llsocket2_linkaddr(name, bytes, index)
  if length < 0 then return end
  return index[0], length > 0 and families.mac(bytes[0], length) or nil
end

-- The option `fallbacks` runs this on Linux, where an IPv4 address may have a label, such as "eth0:1", in place of the name.
local function each(list, fn, state)
  local node_ptr = ffi.typeof("$ *", layout.ifaddrs) -- the same type each time
  local node = ffi.cast(node_ptr, list)
  while node ~= nil do
    fn(state, ffi.string(node.ifa_name):match "^[^:]*", node)
    node = ffi.cast(node_ptr, node.ifa_next)
  end
end

-- First the links: `state.links` is what each interface's entries have in common, in their order.
local function add_link(state, name, node)
  if state.links[name] and state.links[name].index then return end
  local index, mac = link(node.ifa_addr)
  local common = state.links[name] or { name = name, flags = tonumber(node.ifa_flags), entries = {} }
  if not state.links[name] then insert(state.order, common) end
  state.links[name], common.index, common.mac = common, index, mac
end

local function add_address(state, name, node)
  local family = family_of(node.ifa_addr)
  if not family then return end
  local addr, netmask, common = address(node.ifa_addr, family), address(node.ifa_netmask, family), state.links[name]
  local broad = broadcast(common.flags, family, addr, netmask, node.ifa_broadaddr)
  insert(common.entries, { family = family, addr = addr, netmask = netmask, broadaddr = broad })
end

local M = {}

--- Lists the interfaces; see getifaddrs(3).
---@return table[]? order  name, index, flags, mac and entries of each
---@return integer? errno  ENOMEM, EMFILE
function M.list()
  local cell = list_t()
  local rc, e, head = C.llsocket2_getifaddrs(cell), errno(), cell[0]
  if rc ~= 0 and shortage.collected(e) then return M.list() end
  if rc ~= 0 then return nil, e end
  local list = ffi.gc(head, C.llsocket2_freeifaddrs) -- should memory run out on the way
  local state = { links = {}, order = {} }
  each(list, add_link, state)
  each(list, add_address, state)
  C.llsocket2_freeifaddrs(ffi.gc(list, nil))
  -- glibc gives no link-layer entry, and so no index, for an interface without a hardware address, such as tun.
  for _, common in ipairs(state.order) do common.index = common.index or interface.index(common.name) end
  return state.order
end

return M
