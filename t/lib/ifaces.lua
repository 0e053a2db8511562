-- ifaces.lua -- the interfaces and addresses as ip(8) tells them and as llsocket.device does, as sorted lines:
-- "3 ve0 02:00:5e:00:53:01 BROADCAST,MULTICAST,UP 10.9.0.1/24 10.9.0.255".
local bit = require "bit"
local L = require "llsocket"
local netns = require "netns"

local M = {}

local FLAGS = { "BROADCAST", "LOOPBACK", "MULTICAST", "NOARP", "POINTOPOINT", "UP" }

-- Ethernet and InfiniBand have one that both write alike; tunnels have none, or an address that ip(8) writes as such.
local function mac_of(text) return text and (#text == 17 or #text == 59) and text:match "^[%x:]+$" or "-" end

local function sorted(lines)
  table.sort(lines)
  return table.concat(lines, "\n")
end

-- From "2: ve1@ve0: <BROADCAST,MULTICAST> mtu 1500 ...\    link/ether c6:f2:3f:15:1d:11 brd ..." the index and the
-- words before an address, by name.
local function links()
  local out = {}
  for line in netns.ip("-o link"):gmatch "[^\n]+" do
    local index, name, flags = line:match "^(%d+): ([^:@%s]+)[^<]*<([^>]*)>"
    local set = {}
    for flag in flags:gmatch "[^,]+" do set[flag] = true end
    local words = {}
    for _, flag in ipairs(FLAGS) do if set[flag] then words[#words + 1] = flag end end
    out[name] = ("%s %s %s %s"):format(index, name, mac_of(line:match "link/%S+ (%S+)"), table.concat(words, ","))
  end
  return out
end

-- From "3: ve0    inet 10.9.2.1 peer 10.9.2.2/32 brd 10.9.2.255 scope global ve0\ ..." name, address and broadcast.
local function address(line)
  local name, addr = line:match "^%d+: (%S+)%s+inet6? (%S+)"
  local prefix = addr and (addr:match "/(%d+)" or line:match " peer [^%s/]+/(%d+)")
  if addr then return name, ("%s/%s"):format(addr:match "^[^/]+", prefix), line:match " brd (%S+)" or "-" end
end

function M.seen()
  local lines, common, found = {}, links(), {}
  for line in netns.ip("-o addr"):gmatch "[^\n]+" do
    local name, addr, broad = address(line)
    if name then
      found[name] = true
      lines[#lines + 1] = ("%s %s %s"):format(common[name], addr, broad)
    end
  end
  for name, words in pairs(common) do if not found[name] then lines[#lines + 1] = words .. " -" end end
  return sorted(lines)
end

local BITS = { f = 4, e = 3, c = 2, ["8"] = 1 }

local function prefix(netmask)
  local n = 0
  if netmask:find(":", 1, true) then
    for digit in netmask:gmatch "[fec8]" do n = n + BITS[digit] end
    return n
  end
  for byte in netmask:gmatch "%d+" do
    byte = tonumber(byte)
    while byte > 0 do byte, n = bit.band(byte * 2, 255), n + 1 end
  end
  return n
end

local function words(entry)
  local set = {}
  for _, flag in ipairs(FLAGS) do if bit.band(entry.flags, L["IFF_" .. flag]) ~= 0 then set[#set + 1] = flag end end
  local text = ("%d %s %s %s"):format(entry.index, entry.name, mac_of(entry.mac), table.concat(set, ","))
  if not entry.addr then return text .. " -" end
  local addr = entry.addr:gsub("%%" .. entry.name:gsub("%p", "%%%0") .. "$", "") -- ip(8) shows no scope
  return ("%s %s/%d %s"):format(text, addr, prefix(entry.netmask), entry.broadaddr or "-")
end

function M.told()
  local lines = {}
  for _, entry in ipairs(assert(L.device.getifaddrs())) do lines[#lines + 1] = words(entry) end
  return sorted(lines)
end

-- What one of the two has and the other has not; tries again, since interfaces may come and go meanwhile.
function M.difference()
  local seen, told
  for _ = 1, 10 do
    seen, told = M.seen(), M.told()
    if seen == told then return "" end
  end
  return "ip(8):\n" .. seen .. "\ngetifaddrs:\n" .. told
end

-- The entries of one interface.
function M.of(name)
  local out = {}
  for _, entry in ipairs(assert(L.device.getifaddrs())) do if entry.name == name then out[#out + 1] = entry end end
  return out
end

return M
