-- interface: names and indexes, and the zones of IPv6 addresses, in a new network namespace.
local L = require "llsocket"
local leak = require "leak"
local netns = require "netns"
local show = require("show").show
local text = require("llsocket.errno").text
local PLAN = 16
local T = require("tap").plan(PLAN)
local before = leak.count()
local device, ip = L.device, netns.ip

local entered, why = netns.enter()
if not entered then
  T.skip(PLAN, why)
  T.done()
end

ip "link set lo up"
-- Names and indexes.
ip "link add index 700007 name eth7 type veth peer name eth7x"
ip("link add index 701234 name 700007 type veth peer name sevenx")
local ENODEV, ENXIO = show(nil, text(L.ENODEV), L.ENODEV), show(nil, text(L.ENXIO), L.ENXIO)
local EINVAL = show(nil, text(L.EINVAL), L.EINVAL)
T.is(show(device.index "eth7", device.index "700007", device.index "lo"), "700007, 701234, 1", "index tells an interface's index")
T.is(show(device.name(700007), device.name(701234), device.name(1)), "eth7, 700007, lo", "name tells its name")
local bad = {}
for _, name in ipairs { "", "nosuch", ("x"):rep(16), "eth7" .. ("x"):rep(12), "lo\0", "eth7:1", "8", ("x"):rep(5000) } do
  if show(device.index(name)) ~= ENODEV then bad[#bad + 1] = name end
end
T.is(table.concat(bad, " "), "", "a name that no interface has, or could have, is ENODEV")
T.is(show(device.name(0)) .. show(device.name(2 ^ 31 - 1)), ENXIO .. ENXIO, "an index that no interface has is ENXIO")
for _, n in ipairs { -1, 1.5, 2 ^ 31, 2 ^ 32 + 7, 0 / 0, 1 / 0 } do
  if show(device.name(n)) ~= EINVAL then bad[#bad + 1] = n end
end
T.is(table.concat(bad, " "), "", "an impossible index is EINVAL")

-- Zones: a name, or else a number.  Interface 700007 is eth7, and another is called "700007".
local function zone(host, ...) return tostring(assert(L.inet.getaddrinfo(host, ...))[1].name.in6.sin6_scope_id) end
T.is(zone "fe80::1%eth7" .. " " .. zone "fe80::1%700007" .. " " .. zone "fe80::1%1", "700007 701234 1",
  "a name is taken before a number")
T.is(zone "ff05::1%eth7" .. " " .. zone "2001:db8::1%700007" .. " " .. zone "::1%8", "700007 701234 8", "in every scope")
if not L.inet.getaddrinfo("127.0.0.1", "http", 0) then
  T.skip(1, "http is not in /etc/services")
else
  T.is(zone("fe80::1%700007", "http", 0) .. " " .. zone("fe80::1%eth7", "80", L.SOCK_STREAM, 0, L.AI_CANONNAME),
    "701234 700007", "also where the resolver is asked for the rest")
end
local lost = {}
for _, prefix in ipairs { "fe80", "ff01", "ff02", "ff05", "2001:db8", "fec0" } do
  for _, number in ipairs { 1, 700007, 701234, 99999 } do
    local once = assert(L.inet.getaddrinfo6(prefix .. "::1%1"))[1]
    once.name.in6.sin6_scope_id = number
    local again = L.inet.getaddrinfo6(once:addr())
    if not again or again[1] ~= once then lost[#lost + 1] = once:addr() end
  end
end
T.is(table.concat(lost, " "), "", "what addr tells is read back")
local function pktinfo(...)
  local cmsg, err, e = L.cmsghdr.pktinfo(...)
  return cmsg and cmsg:pktinfo().index or show(cmsg, err, e)
end
T.is(show(pktinfo "fe80::1%eth7", pktinfo "fe80::1%700007", pktinfo "fe80::1%1", pktinfo("::", "700007"), pktinfo("::", "1")),
  "700007, 701234, 1, 701234, 1", "pktinfo reads zone and interface so, too")
T.is(pktinfo "fe80::1%nosuch" .. pktinfo "fe80::1%4294967296" .. pktinfo "fe80::1%4294967295", ENODEV:rep(3),
  "a zone that is not an interface is ENODEV")
local six = assert(L.socket.new(assert(L.inet.getaddrinfo6("::", "0", L.SOCK_DGRAM))[1]))
ip "link set eth7 up"
ip "link set 700007 up"
local function groups()
  local out = {}
  for line in io.lines "/proc/net/igmp6" do
    local number, name = line:match "^(%d+)%s+(%S+)%s+ff020000000000000000000000001234"
    if number then out[#out + 1] = number .. " " .. name end
  end
  table.sort(out)
  return table.concat(out, ", ")
end
T.is(show(six:mcastjoin "ff02::1234%700007", six:mcastjoin "ff02::1234%1"), "nil", "a group's zone may be a number")
T.is(groups(), "1 lo, 701234 700007", "that is an interface's name before it is a number")
T.is(show(six:mcastleave "ff02::1234%700007", six:mcastleave "ff02::1234%lo") .. groups(), "nil",
  "the group is left as it was joined")
T.is(show(six:mcastjoin "ff02::1234%nosuch"), show(text(L.ENODEV), L.ENODEV),
  "a zone that is not an interface is ENODEV here, too")
six:close()

collectgarbage()
T.is(leak.count(), before, "no descriptor is left")
T.done()
