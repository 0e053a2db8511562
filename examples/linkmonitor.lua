-- linkmonitor.lua [COUNT] -- prints what happens to interfaces and their addresses, one event a line, as `ip monitor` does.
--
-- The kernel tells it over netlink: see rtnetlink(7).  COUNT is how many events to print before it ends; without, it goes on
-- for ever.  Nobody has to be root for it.
local ffi = require "ffi"
local L = require "llsocket"

-- The structs of linux/netlink.h and linux/rtnetlink.h: the same on every machine, with numbers in the machine's order.
local header = ffi.typeof "const struct { uint32_t len; uint16_t type, flags; uint32_t seq, pid; } *"
local link = ffi.typeof "const struct { uint8_t family, pad; uint16_t kind; int32_t index; uint32_t flags, change; } *"
local address = ffi.typeof "const struct { uint8_t family, prefix, flags, scope; uint32_t index; } *"
local attribute = ffi.typeof "const struct { uint16_t len, type; } *"

local function aligned(n) return bit.band(n + 3, bit.bnot(3)) end

-- The attributes from `at` to `stop` as strings, by their types.
local function attributes(bytes, at, stop)
  local out = {}
  while at + 4 <= stop do
    local attr = ffi.cast(attribute, bytes + at)
    if attr.len < 4 or at + attr.len > stop then break end
    out[attr.type] = ffi.string(bytes + at + 4, attr.len - 4)
    at = at + aligned(attr.len)
  end
  return out
end

local function mac_of(text) return (text:gsub(".", function(c) return (":%02x"):format(c:byte()) end):sub(2)) end

local function tell_link(event, bytes, at, stop)
  local info, attrs = ffi.cast(link, bytes + at), attributes(bytes, at + 16, stop)
  local state = bit.band(info.flags, L.IFF_UP) == 0 and "down" or bit.band(info.flags, L.IFF_RUNNING) == 0 and "up, no carrier"
    or "up"
  local name, mac = (attrs[L.IFLA_IFNAME] or "?"):match "^%Z*", mac_of(attrs[L.IFLA_ADDRESS] or "")
  return ("link %s %s %s %s"):format(event, name, state, mac)
end

local function tell_address(event, bytes, at, stop)
  local info, attrs = ffi.cast(address, bytes + at), attributes(bytes, at + 8, stop)
  local addr = L.inet.ntop(attrs[L.IFA_LOCAL] or attrs[L.IFA_ADDRESS])
  return ("address %s %s/%d %s"):format(event, addr, info.prefix, L.device.name(info.index) or "interface " .. info.index)
end

local EVENTS = {
  [L.RTM_NEWLINK] = { "is", tell_link }, [L.RTM_DELLINK] = { "gone", tell_link },
  [L.RTM_NEWADDR] = { "is", tell_address }, [L.RTM_DELADDR] = { "gone", tell_address },
}

local left = tonumber(arg[1]) or math.huge

-- Prints the messages of one datagram.
local function print_all(datagram)
  local bytes, at = ffi.cast("const uint8_t *", datagram), 0
  while at + 16 <= #datagram and left > 0 do
    local head = ffi.cast(header, bytes + at)
    local event = EVENTS[head.type]
    if event then
      print(event[2](event[1], bytes, at + 16, at + head.len))
      left = left - 1
    end
    at = at + aligned(head.len)
  end
end

local groups = bit.bor(L.RTMGRP_LINK, L.RTMGRP_IPV4_IFADDR, L.RTMGRP_IPV6_IFADDR)
local sock = assert(L.socket.new(assert(L.addrinfo.netlink(groups))))
local err = sock:bind()
if err then error("bind: " .. err, 0) end
io.stdout:setvbuf "line"
print("listening as " .. tostring(sock:getsockname()))
while left > 0 do
  local datagram, from, problem, again, errno = sock:recvfrom(65536)
  if datagram and from:fields().pid == 0 then print_all(datagram) -- only the kernel is 0: another program may have sent it
  elseif errno == L.ENOBUFS then print "some events were lost: they came too fast"
  elseif problem and not again then error("recvfrom: " .. problem, 0) end
end
sock:close()
