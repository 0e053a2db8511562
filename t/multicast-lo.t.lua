-- multicast on lo: groups and sources of IPv4 and IPv6, with real datagrams.
local L = require "llsocket"
local emulator = require "emulator"
local leak = require "leak"
local mcast = require "mcast"
local netns = require "netns"
local COUNT = mcast.COUNT
local T = require("tap").plan(2 * COUNT + 8)
local before = leak.count()

-- A namespace of one's own where that is allowed, for lo has no IPv6 route for groups and no second address.
local own, why = netns.enter()
if own then
  netns.batch { "link set lo up", "addr add fd77::2/128 dev lo nodad", "route add local ff00::/8 dev lo table local" }
end
local lo = require("llsocket.device").of(L.AF_INET, "127.0.0.1")
local send, socks = mcast.sender(lo)

if lo then
  mcast.exercise(T, { family = L.AF_INET, name = "IPv4", ifname = lo, own = "127.0.0.1", send = send,
    sources = { "127.0.0.1", "127.0.0.2" } })
else
  T.skip(COUNT, "no interface has 127.0.0.1")
end
if own then
  mcast.exercise(T, { family = L.AF_INET6, name = "IPv6", ifname = lo, own = "::1", send = send,
    sources = { "::1", "fd77::2" } })
else
  T.skip(COUNT, "lo has no route for IPv6 groups: " .. why)
end

-- The scope of a group, or of a source, names the interface where no argument does.
local function received(sock, group, port, source)
  assert(send(source, group, port, "hello"))
  return (sock:recv())
end
if emulator.groups then
  T.skip(7, emulator.groups)
elseif own then
  local sock, port = mcast.receiver(L.AF_INET6)
  T.is(sock:mcastjoin("ff02::4242%lo"), nil, "a group with a scope is joined")
  T.is(received(sock, "ff02::4242", port, "::1"), "hello", "on that interface")
  T.is(sock:mcastleave("ff02::4242", "lo"), nil, "and is left there by the interface's name")
  T.is(sock:mcastjoinsrc("ff02::4242%lo", "fd77::2"), nil, "a source of a group with a scope is joined")
  T.is(received(sock, "ff02::4242", port, "fd77::2"), "hello", "on that interface too")
  T.is(sock:mcastleave("ff02::4242%lo"), nil, "and is left there by the scope")
  T.is(select(2, sock:mcastjoin("ff02::4242%nosuchdevice")), L.ENODEV, "a scope that is no interface is ENODEV")
  sock:close()
else
  T.skip(7, "lo has no route for IPv6 groups: " .. why)
end

for _, sock in pairs(socks) do sock:close() end
T.is(leak.count(), before, "no descriptor is left")
T.done()
