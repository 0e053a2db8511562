-- device: labels, peers, broadcast addresses and many interfaces, in a new network namespace.
local L = require "llsocket"
local ifaces = require "ifaces"
local leak = require "leak"
local netns = require "netns"
local show = require("show").show
local PLAN = 19
local T = require("tap").plan(PLAN)
local before = leak.count()
local device, ip = L.device, netns.ip

local entered, why = netns.enter()
if not L.RTM_GETLINK then entered, why = nil, "getifaddrs(3) takes labels for interfaces" end
if not entered then
  T.skip(PLAN, why)
  T.done()
end

local function of(name)
  local out = {}
  for i, e in ipairs(ifaces.of(name)) do out[i] = show(e.index, e.addr, e.netmask, e.broadaddr) end
  return table.concat(out, "; ")
end
local function index(name) return tonumber(ip("-o link show " .. name):match "^%d+") end

-- A label is no interface: Linux lets it be any text, and cuts long ones itself.
netns.batch {
  "link set lo up",
  "link add d5 type veth peer name d5x",
  "link add d5foo type veth peer name d5foox",
  "addr add 10.6.0.1/24 dev d5 label d5foo",
  "addr add 10.6.1.1/24 dev d5 label d5ghost",
  "addr add 10.6.2.1/24 dev d5 label d5:1",
}
local five = index "d5"
T.is(of "d5", ("%d, 10.6.0.1, 255.255.255.0, nil; %d, 10.6.1.1, 255.255.255.0, nil; %d, 10.6.2.1, 255.255.255.0, nil"):format(
  five, five, five), "addresses with labels belong to their interface")
T.is(of "d5foo", ("%d, nil, nil, nil"):format(index "d5foo"), "an interface that is called as a label has none of them")
T.is(of "d5ghost", "", "a label alone makes no interface")
T.is(device.macaddrs().d5ghost, nil, "nor a hardware address")
T.is(show(device.of(L.AF_INET, "10.6.0.1")), "d5", "the interface of such an address is found")
local udp = assert(L.socket.new(assert(L.inet.getaddrinfo("10.6.0.1", "0", L.SOCK_DGRAM))[1]))
assert(udp:setsockopt(L.IPPROTO_IP, L.IP_MULTICAST_IF, "bytes", "\10\6\0\1"))
T.is(show(udp:mcastif()), "d5", "mcastif tells it, too, when another program's code had set the address")
udp:close()

-- Peers and broadcast addresses.
netns.batch {
  "link add p0 type veth peer name p0x",
  "addr add 10.3.0.1 peer 10.3.0.2/24 dev p0",
  "addr add 10.3.1.1 peer 10.3.1.2/24 brd 10.3.1.255 dev p0",
  "addr add 10.3.2.1/32 brd 10.3.2.255 dev p0",
  "addr add 10.3.3.1/31 dev p0",
  "addr add 10.3.4.1/0 dev p0",
  "addr add fd00:3::1 peer fd00:3::2/64 nodad dev p0",
}
local function p0(addr)
  for _, e in ipairs(ifaces.of "p0") do if e.addr == addr then return show(e.netmask, e.broadaddr) end end
end
T.is(p0 "10.3.0.1", "255.255.255.0, nil", "a peer's address is no broadcast address")
T.is(p0 "10.3.1.1", "255.255.255.0, 10.3.1.255", "beside a peer there may be one")
T.is(p0 "10.3.2.1", "255.255.255.255, 10.3.2.255", "a host address keeps its broadcast address")
T.is(p0 "10.3.3.1", "255.255.255.254, nil", "a network of two has none")
T.is(p0 "10.3.4.1", "0.0.0.0, nil", "a netmask may be empty")
T.is(p0 "fd00:3::1", "ffff:ffff:ffff:ffff::, nil", "an IPv6 address with a peer is this side's")
T.is(p0 "10.3.0.2" or p0 "fd00:3::2", nil, "a peer's address is not listed as one of this machine")
T.is(ifaces.difference(), "", "all of them are as ip(8) lists them")

-- A message longer than any buffer, and many interfaces.
local lines = {}
for i = 1, 300 do lines[i] = ("link property add dev p0 altname a%03d%s"):format(i, ("x"):rep(120)) end
if pcall(netns.batch, lines) then
  T.is(#ifaces.of "p0", 6, "an interface with 300 more names is listed")
else
  T.skip(1, "interfaces have one name here")
end
lines = {}
for i = 1, 150 do
  lines[#lines + 1] = ("link add m%d type veth peer name n%d"):format(i, i)
  lines[#lines + 1] = ("addr add 10.7.%d.1/24 brd + dev m%d label m%d:x"):format(i, i, i)
  lines[#lines + 1] = ("addr add fd00:7::%d/64 nodad dev n%d"):format(i, i)
end
netns.batch(lines)
local names, count = {}, 0
for _, e in ipairs(device.getifaddrs()) do
  if e.name:find "^[mn]%d+$" then names[e.name], count = e, count + 1 end
end
T.is(count, 300, "each of three hundred interfaces is listed once")
T.is(show(names.m77.addr, names.m77.broadaddr, names.n77.addr), "10.7.77.1, 10.7.77.255, fd00:7::77", "with its own address")
T.is(ifaces.difference(), "", "all of the many are as ip(8) lists them")

collectgarbage()
T.is(leak.count(), before, "no descriptor is left")
T.done()
