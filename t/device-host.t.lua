-- device: the interfaces of this machine, compared with ip(8) and /sys; a call leaves no descriptor behind.
local L = require "llsocket"
local bit = require "bit"
local ifaces = require "ifaces"
local leak = require "leak"
local netns = require "netns"
local proc = require "proc"
local T = require("tap").plan(17)
local before = leak.count()
local device = L.device

local arr = assert(device.getifaddrs())
T.is(select("#", device.getifaddrs()), 1, "a list comes alone")
T.ok(#arr > 0, "there is an interface")

-- The names of the entries for which the test fails.
local function faults(fits)
  local out = {}
  for _, entry in ipairs(arr) do if not fits(entry) then out[#out + 1] = entry.name end end
  return table.concat(out, " ")
end
T.is(faults(function(e) return type(e.name) == "string" and #e.name > 0 and #e.name < L.IFNAMSIZ end), "",
  "every entry has a name")
T.is(faults(function(e) return e.index > 0 and e.index == require("llsocket.address.interface").index(e.name) end), "",
  "every entry has the index of its name")
T.is(faults(function(e) return type(e.flags) == "number" and e.flags % 1 == 0 end), "", "every entry has flags")
T.is(faults(function(e) return (e.family == nil) == (e.addr == nil) end), "", "an entry has family and address, or neither")
T.is(faults(function(e) return not e.addr or L.inet.getaddrinfo(e.addr, "0")[1]:family() == e.family end), "",
  "every address is one of its family, with the scope that it needs")
T.is(faults(function(e) return not e.addr or e.netmask end), "", "every address has a netmask")
T.is(faults(function(e) return e.broadaddr == nil or bit.band(e.flags, L.IFF_BROADCAST) ~= 0 and e.family == L.AF_INET end), "",
  "only an IPv4 address of a broadcast interface has a broadcast address")
local KEYS = { name = 1, family = 1, addr = 1, netmask = 1, broadaddr = 1, flags = 1, index = 1, mac = 1 }
T.is(faults(function(e)
  for key in pairs(e) do if not KEYS[key] then return false end end
  return true
end), "", "an entry has no other field")

local macs = assert(device.macaddrs())
T.is(faults(function(e) return macs[e.name] == e.mac end), "", "macaddrs has the same hardware addresses")
local function unknown()
  local known = {}
  for _, entry in ipairs(device.getifaddrs()) do known[entry.name] = true end
  for name in pairs(device.macaddrs()) do if not known[name] then return name end end
end
T.is(unknown() and unknown(), nil, "macaddrs has no other interface")

if netns.has_ip() then
  T.is(ifaces.difference(), "", "interfaces and addresses are those that ip(8) lists")
else
  T.skip(1, "ip(8) is missing")
end

-- /sys has one file for each fact of each interface.
local function file(name, fact)
  local handle = io.open(("/sys/class/net/%s/%s"):format(name, fact))
  if not handle then return end
  local text = handle:read "*l"
  handle:close()
  return text
end
if file(arr[1].name, "ifindex") then
  T.is(faults(function(e)
    local index, mac = file(e.name, "ifindex"), file(e.name, "address")
    return not index or tonumber(index) == e.index and (mac == nil or mac == "" or #mac ~= 17 or mac == e.mac)
  end), "", "index and hardware address are those of /sys")
else
  T.skip(1, "/sys/class/net is missing")
end

-- Failure, and what is left behind.
local text = proc.lua [[
local L, sys, show = require "llsocket", require "sys", require("show").show
sys.limit_descriptors(0)
print(show(L.device.getifaddrs()))
print(show(L.device.macaddrs()))
]]
local EMFILE = ("nil, %s, %d\n"):format(require("llsocket.errno").text(L.EMFILE), L.EMFILE)
T.is(text, EMFILE .. EMFILE, "without descriptors both calls answer EMFILE")

for _ = 1, 200 do device.getifaddrs(); device.macaddrs() end
collectgarbage()
local used = collectgarbage "count"
for _ = 1, 200 do device.getifaddrs(); device.macaddrs() end
collectgarbage()
T.ok(collectgarbage "count" - used < 256, "hundreds of calls leave nothing behind")

T.is(leak.count(), before, "no descriptor is left")
T.done()
