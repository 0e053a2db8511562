-- device.lua -- the network interfaces of this machine and their addresses.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local failed = require("llsocket.core.failure").failed
local interface = require "llsocket.address.interface"
local ipairs, insert = ipairs, table.insert

local list = (const.RTM_GETLINK and require "llsocket.address.links" or require "llsocket.address.ifaddrs").list

-- Makes the list: one entry for each address, and one for each interface without an address.
local function entries(order)
  local arr = {}
  for _, link in ipairs(order) do
    if #link.entries == 0 then link.entries[1] = {} end
    for _, entry in ipairs(link.entries) do
      entry.name, entry.index, entry.mac, entry.flags = link.name, link.index, link.mac, link.flags
      insert(arr, entry)
    end
  end
  return arr
end

---@class llsocket.device.module
local M = {}

---@class llsocket.ifaddr
---@field name string  of the interface
---@field index integer  of the interface
---@field flags integer  bitwise-or of IFF_*
---@field mac? string  "02:00:5e:00:53:01"; nil where the interface has no hardware address
---@field family? integer  AF_INET or AF_INET6; nil where the interface has no address
---@field addr? string  numeric, with %zone where there is one
---@field netmask? string
---@field broadaddr? string  nil where none is set

--- Lists the addresses of all interfaces; an interface without an address is listed once.  See rtnetlink(7), getifaddrs(3).
--- Opens a descriptor during the call; allocates the list; never waits for the network.
---@return llsocket.ifaddr[]? arr
---@return string? err
---@return integer? errno  EMFILE, ENFILE, ENOMEM, ENOBUFS; EAFNOSUPPORT, EPERM, EACCES where a sandbox refuses netlink
function M.getifaddrs()
  local order, e = list()
  if not order then return failed(e) end
  return entries(order)
end

--- Lists the hardware addresses of all interfaces that have one; see rtnetlink(7), packet(7).
---@return table<string, string>? macs  by interface name: `{ eth0 = "02:00:5e:00:53:01" }`
---@return string? err
---@return integer? errno  EMFILE, ENFILE, ENOMEM, ENOBUFS; EAFNOSUPPORT, EPERM, EACCES where a sandbox refuses netlink
function M.macaddrs()
  local order, e = list()
  if not order then return failed(e) end
  local macs = {}
  for _, link in ipairs(order) do macs[link.name] = link.mac end
  return macs
end

---@class llsocket.interface
---@field name string
---@field index integer
---@field flags integer  bitwise-or of IFF_*
---@field mac? string  "02:00:5e:00:53:01"; nil where the interface has no hardware address

--- Lists the interfaces; see rtnetlink(7).  Opens a descriptor during the call; allocates the list.
---@return llsocket.interface[]? arr  in the kernel's order
---@return string? err
---@return integer? errno  EMFILE, ENFILE, ENOMEM, ENOBUFS; EAFNOSUPPORT, EPERM, EACCES where a sandbox refuses netlink
function M.list()
  local order, e = list()
  if not order then return failed(e) end
  for _, link in ipairs(order) do link.entries = nil end
  return order
end

--- Tells an interface's index; see if_nametoindex(3).  Opens a descriptor during the call.
---@param name string  at most 15 bytes
---@return integer? index  1 to 2^31-1
---@return string? err
---@return integer? errno  ENODEV: there is no such interface, or the name is longer; EMFILE, ENFILE
function M.index(name)
  check.string(name, 1, "index")
  local index, e = interface.index(name)
  if not index then return failed(e) end
  return index
end

--- Tells an interface's name; see if_indextoname(3).  Opens a descriptor during the call.
---@param index integer  0 to 2^31-1
---@return string? name
---@return string? err
---@return integer? errno  ENXIO: no such interface; EINVAL for a number out of range; EMFILE, ENFILE
function M.name(index)
  if not check.int(index, 1, "name") or index < 0 then return failed(const.EINVAL) end
  local name, e = interface.name(index)
  if not name then return failed(e) end
  return name
end

--- Tells the interface that has an address.
---@param family integer  AF_INET or AF_INET6
---@param addr string  numeric, in the form that getifaddrs answers
---@return string? ifname
---@return integer? errno  ENODEV where no interface has it
function M.of(family, addr)
  local order, e = list()
  if not order then return nil, e end
  for _, link in ipairs(order) do
    for _, entry in ipairs(link.entries) do
      if entry.family == family and entry.addr == addr then return link.name end
    end
  end
  return nil, const.ENODEV
end

return M
