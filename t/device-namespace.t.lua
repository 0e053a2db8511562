-- device: every kind of interface and address, made in a new network namespace.
local L = require "llsocket"
local bit = require "bit"
local ifaces = require "ifaces"
local leak = require "leak"
local netns = require "netns"
local show = require("show").show
local PLAN = 39
local T = require("tap").plan(PLAN)
local before = leak.count()
local device, ip, of = L.device, netns.ip, ifaces.of

local entered, why = netns.enter()
if not entered then
  T.skip(PLAN, why)
  T.done()
end

local function text(e)
  return e and show(e.name, e.index, e.family, e.addr, e.netmask, e.broadaddr, e.mac)
end
local function is_up(e) return bit.band(e.flags, L.IFF_UP) ~= 0 end
local MAC = { [0] = "02:00:5e:00:53:00", "02:00:5e:00:53:01", "02:00:5e:00:53:02" }

-- Loopback: down and bare in a new namespace.
T.is(#of "lo", 1, "an interface without an address has one entry")
local lo = of("lo")[1]
T.is(text(lo), show("lo", 1, nil, nil, nil, nil, lo.mac), "which has neither address nor netmask")
T.ok(not is_up(lo) and bit.band(lo.flags, L.IFF_LOOPBACK) ~= 0, "and flags: a loopback that is down")
ip "link set lo up"
T.ok(is_up(of("lo")[1]), "when it is up its flags say so")
T.is(of("lo")[1].addr, "127.0.0.1", "and it has its address")
T.is(of("lo")[1].broadaddr, nil, "but no broadcast address")

-- A pair: one without, one with many addresses.
ip(("link add index 1234567 ve0 address %s type veth peer name ve1 address %s"):format(MAC[0], MAC[1]))
T.is(text(of("ve0")[1]), show("ve0", 1234567, nil, nil, nil, nil, MAC[0]), "an index above 1000 is told")
T.is(device.macaddrs().ve0, MAC[0], "its hardware address is listed under its name")
T.is(device.macaddrs().ve1, MAC[1], "so is its peer's")
netns.batch {
  "addr add 10.9.0.1/24 brd + dev ve0",
  "addr add 10.9.0.2/24 brd + dev ve0",
  "addr add 10.9.1.1/25 dev ve0",
  "addr add 10.9.2.1/24 brd 10.9.2.99 label ve0:alias dev ve0",
  "addr add 10.9.3.1 peer 10.9.3.2/32 dev ve0",
  "addr add 10.9.4.1/31 dev ve0",
  "addr add fd00:9::1/64 nodad dev ve0",
  "addr add fd00:9::2/128 nodad dev ve0",
  "addr add fe80::9/64 nodad dev ve0",
  "addr add fe80::9/64 nodad dev ve1",
}
local by_addr = {}
for _, entry in ipairs(of "ve0") do by_addr[entry.addr] = entry end
local function ve0(addr, family, netmask, broadaddr, name)
  T.is(text(by_addr[addr]), show("ve0", 1234567, family, addr, netmask, broadaddr, MAC[0]), name)
end
T.is(#of "ve0", 9, "an interface has one entry for each of its addresses")
ve0("10.9.0.1", L.AF_INET, "255.255.255.0", "10.9.0.255", "an address has its netmask and broadcast address")
ve0("10.9.0.2", L.AF_INET, "255.255.255.0", "10.9.0.255", "a second address of one network has too")
ve0("10.9.1.1", L.AF_INET, "255.255.255.128", nil, "an address without broadcast address tells none, not its own")
ve0("10.9.2.1", L.AF_INET, "255.255.255.0", "10.9.2.99", "an address with a label belongs to its interface")
ve0("10.9.3.1", L.AF_INET, "255.255.255.255", nil, "a peer's address is no broadcast address")
ve0("10.9.4.1", L.AF_INET, "255.255.255.254", nil, "a network of two has no broadcast address")
ve0("fd00:9::1", L.AF_INET6, "ffff:ffff:ffff:ffff::", nil, "an IPv6 address has its netmask")
ve0("fd00:9::2", L.AF_INET6, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", nil, "an IPv6 host address has too")
ve0("fe80::9%ve0", L.AF_INET6, "ffff:ffff:ffff:ffff::", nil, "a link-local address has its interface for scope")
T.is(of("ve1")[1].addr, "fe80::9%ve1", "the same address on another interface has that for scope")
T.is(show(device.of(L.AF_INET, "10.9.2.1")), "ve0", "the interface of a labelled address is found")
T.is(show(device.of(L.AF_INET, "10.9.9.9")), show(nil, L.ENODEV), "that of a foreign address is not")

-- Interfaces without hardware address; other names.
local tun = select(2, netns.try "tuntap add dev tun0 mode tun")
if tun then
  local index = tonumber(ip("-o link show tun0"):match "^%d+")
  T.is(text(of("tun0")[1]), show("tun0", index, nil, nil, nil, nil, nil),
    "a tun interface has neither address nor hardware address")
  T.is(device.macaddrs().tun0, nil, "it is not among the hardware addresses")
  ip "addr add 10.8.0.1 peer 10.8.0.2 dev tun0"
  local e = of("tun0")[1]
  T.is(text(e), show("tun0", index, L.AF_INET, "10.8.0.1", "255.255.255.255", nil, nil),
    "a point-to-point address has no broadcast")
  T.ok(bit.band(e.flags, L.IFF_POINTOPOINT) ~= 0, "its flags say that it is point-to-point")
else
  T.skip(4, "no tun interface may be made here")
end
ip "link add a-name-of.15byt type veth peer name x"
T.is(#of "a-name-of.15byt", 1, "a name of 15 bytes is whole")
T.is(ifaces.difference(), "", "all of them are as ip(8) lists them")

-- Many.
local lines = {}
for i = 1, 100 do lines[i] = ("link add m%d type veth peer name n%d"):format(i, i) end
netns.batch(lines)
local count, names = 0, {}
for _, entry in ipairs(device.getifaddrs()) do
  if entry.name:find "^[mn]%d+$" then count, names[entry.name] = count + 1, entry end
end
T.is(count, 200, "of two hundred interfaces each has an entry")
T.ok(names.m1 and names.n100 and names.m57.index ~= names.n57.index, "and an index of its own")
local macs, n = device.macaddrs(), 0
for name in pairs(macs) do if names[name] then n = n + 1 end end
T.is(n, 200, "each has a hardware address")
T.is(macs.m33, names.m33.mac, "which is the same in both lists")
lines = {}
for i = 1, 100 do lines[i] = ("addr add 10.7.%d.1/24 dev m%d"):format(i, i) end
netns.batch(lines)
T.is(of("m77")[1].addr, "10.7.77.1", "each gets the address that is its own")
T.is(ifaces.difference(), "", "all of the many are as ip(8) lists them")

-- Gone.
ip "link del m77"
T.is(#of "m77", 0, "a removed interface is gone")
T.is(device.macaddrs().n77, nil, "and its peer with it")
ip "link set ve0 name renamed"
T.is(#of "renamed", 9, "a renamed interface has its new name")
T.is(#of "ve0", 0, "and not its old one")

collectgarbage()
T.is(leak.count(), before, "no descriptor is left")
T.done()
