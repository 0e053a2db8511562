-- device.lua -- the network interfaces of this machine and their addresses.
package.loaded[...] = nil -- see later.lua
setfenv(1, require "llsocket.later")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.libc"
local shim = require "llsocket.shim"
local const = require "llsocket.const"
local layout = require "llsocket.layout"
local failed = require("llsocket.errno").failed
local addrinfo = require "llsocket.addrinfo"
local interface = require "llsocket.interface"
local shortage = require "llsocket.shortage"
local ipairs, tonumber, concat, insert = ipairs, tonumber, table.concat, table.insert

ffi.cdef "int llsocket2_linkaddr(const void *name, const uint8_t **bytes, uint32_t *index);"

local errno, band = ffi.errno, bit.band
local any_ptr = ffi.typeof("$ *", layout.sockaddr_storage) -- only its family is read
local NAMELEN = {
  [const.AF_INET] = ffi.sizeof(layout.sockaddr_in),
  [const.AF_INET6] = ffi.sizeof(layout.sockaddr_in6),
}

local list_cell = ffi.new "void *[1]"
local bytes_cell, index_cell = ffi.new "const uint8_t *[1]", ffi.new "uint32_t[1]"

-- The text of an internet address, and its family; nil for any other.
local function address(name)
  if name == nil then return end
  local family = ffi.cast(any_ptr, name).ss_family
  local namelen = NAMELEN[family]
  if not namelen then return end
  local ai = addrinfo.blank(family, 0, 0)
  ai.namelen = namelen
  ffi.copy(ai, name, namelen)
  return ai:addr(), family
end

local function hex(bytes, length)
  local out = {}
  for i = 0, length - 1 do out[#out + 1] = ("%02x"):format(bytes[i]) end
  return concat(out, ":")
end

-- Of a broadcast interface only: others have their peer's address there.  And where no broadcast address
-- was set, glibc puts the address itself there, or the peer's, to which alone the netmask then belongs.
local function broadcast(flags, family, addr, netmask, name)
  if band(flags, const.IFF_BROADCAST) == 0 or family ~= const.AF_INET then return end
  local broad = address(name)
  if broad ~= addr and netmask ~= "255.255.255.255" then return broad end
end

-- The mac, nil where the interface has none, and the index, from its link-layer entry; nothing from others.
local function link(name)
  if name == nil then return end
  local length, index, bytes = shim.llsocket2_linkaddr(name, bytes_cell, index_cell), index_cell[0], bytes_cell[0]
  if length < 0 then return end
  return index, length > 0 and hex(bytes, length) or nil
end

-- Linux lets an IPv4 address have a label, such as "eth0:1", and tells that; no interface's name has a colon.
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
  if not state.links[name] then state.order[#state.order + 1] = name end
  state.links[name] = { index = index, mac = mac, flags = tonumber(node.ifa_flags), entries = {} }
end

local function add_address(state, name, node)
  local addr, family = address(node.ifa_addr)
  if not addr then return end
  local common = state.links[name]
  local netmask = address(node.ifa_netmask)
  local broad = broadcast(common.flags, family, addr, netmask, node.ifa_broadaddr)
  insert(common.entries, { family = family, addr = addr, netmask = netmask, broadaddr = broad })
end

-- Of an interface that has no hardware address, such as tun, glibc tells no link-layer entry, hence no index.
local function complete(state)
  local arr = {}
  for _, name in ipairs(state.order) do
    local common = state.links[name]
    common.index = common.index or interface.index(name)
    if #common.entries == 0 then common.entries[1] = {} end
    for _, entry in ipairs(common.entries) do
      entry.name, entry.index, entry.mac, entry.flags = name, common.index, common.mac, common.flags
      arr[#arr + 1] = entry
    end
  end
  return arr
end

local M = {}

---@class llsocket.ifaddr
---@field name string  of the interface
---@field index integer  of the interface
---@field flags integer  bitwise-or of IFF_*
---@field mac? string  "02:00:5e:00:53:01"; nil where the interface has no hardware address
---@field family? integer  AF_INET or AF_INET6; nil where the interface has no address
---@field addr? string  numeric, with %scope where there is one
---@field netmask? string
---@field broadaddr? string  nil where none is set

--- Lists the addresses of all interfaces, and each interface that has none once; see getifaddrs(3).  Allocates the
--- list; never waits for the network.
---@return llsocket.ifaddr[]? arr
---@return string? err
---@return integer? errno  ENOMEM, EMFILE
function M.getifaddrs()
  local rc, e, head = C.llsocket2_getifaddrs(list_cell), errno(), list_cell[0]
  if rc ~= 0 then
    if shortage.collected(e) then return M.getifaddrs() end
    return failed(e)
  end
  local list = ffi.gc(head, C.llsocket2_freeifaddrs) -- should memory run out on the way
  local state = { links = {}, order = {} }
  each(list, add_link, state)
  each(list, add_address, state)
  C.llsocket2_freeifaddrs(ffi.gc(list, nil))
  return complete(state)
end

--- Lists the hardware addresses of all interfaces that have one; see getifaddrs(3), packet(7).
---@return table<string, string>? macs  by interface name: `{ eth0 = "02:00:5e:00:53:01" }`
---@return string? err
---@return integer? errno  ENOMEM, EMFILE
function M.macaddrs()
  local arr, err, e = M.getifaddrs()
  if not arr then return nil, err, e end
  local macs = {}
  for _, entry in ipairs(arr) do macs[entry.name] = entry.mac end
  return macs
end

--- Tells the interface that has an address.
---@param family integer  AF_INET or AF_INET6
---@param addr string  numeric, as getifaddrs has it
---@return string? ifname
---@return integer? errno  ENODEV where none has
function M.of(family, addr)
  local arr, _, e = M.getifaddrs()
  if not arr then return nil, e end
  for _, entry in ipairs(arr) do
    if entry.family == family and entry.addr == addr then return entry.name end
  end
  return nil, const.ENODEV
end

return M
