-- families.lua -- address families beyond the internet's and unix sockets': netlink(7), packet(7), vsock(7).
--
-- sockaddr.lua takes these rows on first use: building three more structs at load would cost 0.1 of 15 million instructions.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local interface = require "llsocket.address.interface"
local ipairs, min, max, concat, tonumber = ipairs, math.min, math.max, table.concat, tonumber
local sizeof, offsetof, copy, cast = ffi.sizeof, ffi.offsetof, ffi.copy, ffi.cast

local MAC_MAX = 32 -- the longest hardware address that Linux has; InfiniBand's 20 bytes go beyond the end of sockaddr_ll

local M = { rows = {} }

--- Turns 16 bits from host order to network order, or back.
---@param n integer  0 to 65535
---@return integer n
function M.swap16(n)
  if ffi.abi "be" then return n end
  return (bit.rshift(bit.bswap(n), 16))
end

--- Turns 32 bits from network order to host order.
---@param n integer  0 to 2^32-1
---@return integer n  0 to 2^32-1
function M.swap32(n)
  if ffi.abi "be" then return n end
  return bit.bswap(n) % 2^32
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

-- Reads a hardware address into bytes; answers their number, or nil where the text is none.
local function read_mac(text, bytes)
  local count = (#text + 1) / 3
  if count > MAC_MAX or count % 1 ~= 0 then return nil end
  for i = 0, count - 1 do
    local digits, colon = text:match("^(%x%x)(.?)", 3 * i + 1)
    if not digits or colon ~= (i < count - 1 and ":" or "") then return nil end
    bytes[i] = tonumber(digits, 16)
  end
  return count
end

-- Answers the struct of an address; nil where the address is cut, so that nothing behind its end is told.
local function view(row, name, namelen) return namelen >= row.least and cast(row.pointer, name) or nil end

-- Writes a struct to the beginning of an address; answers its length.
local function write(row, name, struct)
  copy(name, struct, row.bytes)
  return row.bytes
end

local netlink = { family = const.AF_NETLINK, struct = layout.sockaddr_nl }

local function netlink_show(name, namelen)
  local nl = view(netlink, name, namelen)
  return nl and ("netlink:%d"):format(nl.nl_pid) .. (nl.nl_groups ~= 0 and ("/0x%x"):format(nl.nl_groups) or "")
end

local function netlink_fields(name, namelen)
  local nl = view(netlink, name, namelen)
  return nl and { pid = nl.nl_pid, groups = nl.nl_groups }
end

--- Writes an address of netlink(7).
---@param name ffi.cdata*
---@param groups integer  a mask, signed or unsigned
---@param pid integer
---@return integer namelen
function M.netlink(name, groups, pid)
  local nl = netlink.struct()
  nl.nl_family, nl.nl_groups, nl.nl_pid = netlink.family, groups % 2^32, pid -- a negative number has no defined conversion
  return write(netlink, name, nl)
end

local packet = { family = const.AF_PACKET, struct = layout.sockaddr_ll }
local MAC_AT = packet.struct and offsetof(packet.struct, "sll_addr")
packet.least = MAC_AT -- the kernel cuts an address behind its hardware address

-- The hardware address; nil where there is none.
local function packet_text(name, namelen)
  local ll = view(packet, name, namelen)
  local length = ll and min(ll.sll_halen, namelen - MAC_AT) or 0
  return length > 0 and M.mac(cast("const uint8_t *", name) + MAC_AT, length) or nil
end

local function packet_fields(name, namelen)
  local ll = view(packet, name, namelen)
  if not ll then return nil end
  local index = ll.sll_ifindex
  return { ifname = index > 0 and interface.name(index) or nil, index = index, ethertype = M.swap16(ll.sll_protocol),
    hatype = ll.sll_hatype, pkttype = ll.sll_pkttype, mac = packet_text(name, namelen) }
end

local function packet_show(name, namelen)
  local fields = packet_fields(name, namelen)
  local text = fields and ("packet:%s:0x%04x"):format(fields.ifname or fields.index, fields.ethertype)
  return text and fields.mac and text .. "/" .. fields.mac or text
end

--- Writes an address of packet(7).
---@param name ffi.cdata*
---@param index integer  of an interface; 0 for all
---@param ethertype integer  0 to 65535, host order
---@param mac? string
---@return integer? namelen  nil where `mac` is no hardware address
function M.packet(name, index, ethertype, mac)
  local ll = packet.struct()
  local length = mac and read_mac(mac, cast("uint8_t *", name) + MAC_AT) or 0
  if mac and length == 0 then return nil end
  ll.sll_family, ll.sll_protocol, ll.sll_ifindex, ll.sll_halen = packet.family, M.swap16(ethertype), index, length
  copy(name, ll, MAC_AT)
  return max(packet.bytes, MAC_AT + length)
end

local vsock = { family = const.AF_VSOCK, struct = layout.sockaddr_vm }

local function vsock_text(name, namelen)
  local vm = view(vsock, name, namelen)
  return vm and ("%d"):format(vm.svm_cid)
end

local function vsock_number(name, namelen)
  local vm = view(vsock, name, namelen)
  return vm and vm.svm_port
end

local function vsock_show(name, namelen)
  local vm = view(vsock, name, namelen)
  return vm and ("vsock:%d:%d"):format(vm.svm_cid, vm.svm_port)
end

local function vsock_fields(name, namelen)
  local vm = view(vsock, name, namelen)
  return vm and { cid = vm.svm_cid, port = vm.svm_port }
end

--- Writes an address of vsock(7).
---@param name ffi.cdata*
---@param cid integer  0 to 2^32-1
---@param port integer  0 to 2^32-1
---@return integer namelen
function M.vsock(name, cid, port)
  local vm = vsock.struct()
  vm.svm_family, vm.svm_cid, vm.svm_port = vsock.family, cid, port
  return write(vsock, name, vm)
end

netlink.show, netlink.fields = netlink_show, netlink_fields
packet.show, packet.fields, packet.text = packet_show, packet_fields, packet_text
vsock.show, vsock.fields, vsock.text, vsock.number = vsock_show, vsock_fields, vsock_text, vsock_number

-- What the fields of a row are is told in sockaddr.lua.
for _, row in ipairs { netlink, packet, vsock } do
  if row.family and row.struct then
    row.bytes, row.pointer, M.rows[row.family] = sizeof(row.struct), ffi.typeof("const $ *", row.struct), row
    row.least = row.least or row.bytes
  end
end

return M
