-- traceroute: it prints the routers that traceroute prints, over IPv4 and IPv6, and how the way ends.
local chain = require "chain"
local example = require "example"
local leak = require "leak"
local net = require "net"
local netns = require "netns"
local proc = require "proc"
local N = 13
local T = require("tap").plan(N)
local before = leak.count()

local text, ok = example.run("traceroute", "")
T.ok(not ok and text:find "^traceroute: usage", "without a host it tells its usage")
text, ok = example.run("traceroute", "no-such-host.invalid")
T.ok(not ok and text:find "^traceroute: no%-such%-host.invalid: ", "a host must be there: " .. text)

-- This process, three routers and a host.  The third router refuses some networks, and swallows one.
local HERE = { "link set lo up", "address add 192.0.2.1/24 dev w1a", "address add fd00:1::1/64 dev w1a nodad", "link set w1a up",
  "route add default via 192.0.2.2", "route add default via fd00:1::2" }
local FIRST = { "link set lo up", "address add 192.0.2.2/24 dev w1b", "address add fd00:1::2/64 dev w1b nodad", "link set w1b up",
  "address add 10.2.0.2/24 dev w2a", "address add fd00:2::2/64 dev w2a nodad", "link set w2a up",
  "route add default via 10.2.0.3", "route add default via fd00:2::3" }
local SECOND = { "link set lo up", "address add 10.2.0.3/24 dev w2b", "address add fd00:2::3/64 dev w2b nodad", "link set w2b up",
  "address add 10.3.0.3/24 dev w3a", "address add fd00:3::3/64 dev w3a nodad", "link set w3a up",
  "route add default via 10.3.0.4", "route add default via fd00:3::4",
  "route add 192.0.2.0/24 via 10.2.0.2", "route add fd00:1::/64 via fd00:2::2" }
local THIRD = { "link set lo up", "address add 10.3.0.4/24 dev w3b", "address add fd00:3::4/64 dev w3b nodad", "link set w3b up",
  "address add 198.51.100.4/24 dev w4a", "address add fd00:4::4/64 dev w4a nodad", "link set w4a up",
  "route add unreachable 203.0.113.0/25", "route add prohibit 203.0.112.0/24", "route add blackhole 203.0.113.128/25",
  "route add unreachable fd00:9::/64", "route add prohibit fd00:8::/64",
  "route add default via 10.3.0.3", "route add default via fd00:3::3" }
local LAST = { "link set lo up", "address add 198.51.100.5/24 dev w4b", "address add fd00:4::5/64 dev w4b nodad",
  "link set w4b up", "route add default via 198.51.100.4", "route add default via fd00:4::4" }

-- Without times and the first line.
local function plain(output)
  return (output:gsub("^traceroute to[^\n]*\n", ""):gsub("  [%d.]+ ms", ""):gsub("[ \n]+$", ""):gsub(" +\n", "\n"))
end

local function both(host, hops)
  return plain((example.run("traceroute", ("%s %d 1"):format(host, hops)))),
    plain((proc.run(("traceroute -n -q 1 -N 1 -w 1 -m %d %s"):format(hops, host))))
end

-- A router sends few errors for the routes that refuse, one a second after the first five: then either program shows a star.
local function compare(title, host, hops, least)
  local got, want = both(host, hops)
  for _ = 1, 3 do
    if got ~= want and (got .. want):find("*", 1, true) then
      proc.run "sleep 3"
      got, want = both(host, hops)
    end
  end
  T.is(got, want, title)
  return select(2, got:gsub("%d+  [%x.:]+", "")) >= least
end

local function ways(all)
  for i = 1, 3 do
    chain.sysctl(all, i, "net/ipv4/ip_forward", "1")
    chain.sysctl(all, i, "net/ipv6/conf/all/forwarding", "1")
  end
  for i = 1, 4 do -- no limit on how many ICMP messages a second
    chain.sysctl(all, i, "net/ipv4/icmp_ratelimit", "0")
    chain.sysctl(all, i, "net/ipv6/icmp/ratelimit", "0")
  end
  for _, host in ipairs { "198.51.100.5", "fd00:4::5" } do -- until neighbours know each other
    net.await(function() return plain((example.run("traceroute", host .. " 5 0.2"))):find(host .. "$") end)
  end
  T.ok(compare("three routers and the host", "198.51.100.5", 8, 4), "all four are there")
  T.ok(compare("so it is with IPv6", "fd00:4::5", 8, 4), "all four are there, too")
  compare("no further than asked", "198.51.100.5", 2, 2)
  compare("a host that is unreachable", "203.0.113.9", 8, 3)
  compare("one that is prohibited", "203.0.112.9", 8, 3)
  compare("IPv6 without a route", "fd00:9::9", 8, 3)
  T.is(plain((example.run("traceroute", "203.0.113.200 4 0.2"))), " 1  192.0.2.2\n 2  10.2.0.3\n 3  *\n 4  *",
    "a router that swallows all is a star")
end

local inside, why
if example.has "traceroute" then inside, why = netns.enter() else why = "there is no traceroute" end
local all
if inside then all, why = chain.make { [0] = HERE, FIRST, SECOND, THIRD, LAST } end
if all then
  ways(all)
  T.is(chain.close(all), 0, "the others end well")
else T.skip(N - 3, why) end
T.is(leak.count(), before, "no descriptor is left")
T.done()
