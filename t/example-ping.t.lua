-- ping: it prints the replies and errors that ping prints, over IPv4 and IPv6, with a raw socket and with a ping socket.
local chain = require "chain"
local example = require "example"
local leak = require "leak"
local net = require "net"
local netns = require "netns"
local proc = require "proc"
local N = 19
local T = require("tap").plan(N)
local before = leak.count()

local text, ok = example.run("ping", "")
T.ok(not ok and text:find "^ping: usage", "without a host it tells its usage")
text, ok = example.run("ping", "no-such-host.invalid")
T.ok(not ok and text:find "^ping: no%-such%-host.invalid: ", "a host must be there: " .. text)

-- This process, two routers and a host.  The first router refuses one network and swallows another.
local HERE = { "link set lo up", "address add 192.0.2.1/24 dev w1a", "address add fd00:1::1/64 dev w1a nodad", "link set w1a up",
  "route add default via 192.0.2.2", "route add default via fd00:1::2" }
local FIRST = { "link set lo up", "address add 192.0.2.2/24 dev w1b", "address add fd00:1::2/64 dev w1b nodad", "link set w1b up",
  "address add 198.51.100.2/24 dev w2a", "address add fd00:2::2/64 dev w2a nodad", "link set w2a up",
  "route add unreachable 203.0.113.0/25", "route add unreachable fd00:9::/64", "route add blackhole 203.0.113.128/25",
  "route add prohibit 203.0.112.0/24", "route add prohibit fd00:8::/64" }
local LAST = { "link set lo up", "address add 198.51.100.3/24 dev w2b", "address add fd00:2::3/64 dev w2b nodad",
  "link set w2b up", "route add default via 198.51.100.2", "route add default via fd00:2::2" }

-- Without times, the first line, and what differs from release to release.
local function plain(output)
  return (output:gsub("^PING[^\n]*\n", ""):gsub(" time=[%d.]+ ms", ""):gsub(", time %d+ms", ""):gsub("\nrtt [^\n]*", "")
    :gsub(", pipe %d+", ""):gsub("\n+$", ""):gsub("packet loss\n.*", "packet loss"))
end

local kind -- of the socket that the example says it has
local function ours(args)
  local output, ended = example.run("ping", args)
  kind = output:match "with a (%a+) socket"
  return plain(output), ended
end

local function compare(title, host, count, interval, ttl)
  local got, ended = ours(("%s %d %s %s"):format(host, count, interval, ttl or ""))
  local want, real_ended = proc.run(("ping -n -c %d -i %s -W 1 %s %s"):format(count, interval, ttl and "-t " .. ttl or "", host))
  T.is(got, plain(want), title)
  return ended == real_ended
end

local function near()
  local same = compare("replies of the loopback", "127.0.0.1", 3, 0.05)
  T.is(kind, "raw", "come to a raw socket where the kernel gives no ping socket")
  compare("replies over IPv6", "::1", 2, 0.05)
  T.ok(same, "it ends as ping does")
  local file = io.open("/proc/sys/net/ipv4/ping_group_range", "w")
  local wrote = file and file:write "0 0" and file:flush()
  if file then file:close() end
  ours "127.0.0.1 1"
  if not wrote or kind ~= "ping" then return T.skip(3, "no ping socket may be had here") end
  compare("replies to a ping socket", "127.0.0.1", 2, 0.05)
  compare("over IPv6, too", "::1", 2, 0.05)
  T.is(kind, "ping", "which needs no privileges")
end

local function far(all)
  chain.sysctl(all, 1, "net/ipv4/ip_forward", "1")
  chain.sysctl(all, 1, "net/ipv6/conf/all/forwarding", "1")
  for _, host in ipairs { "198.51.100.3", "fd00:2::3" } do -- IPv6 needs a while until neighbours know each other
    net.await(function() return select(2, proc.run("ping -n -c 1 -W 1 " .. host)) end)
  end
  compare("a host behind a router has another TTL", "198.51.100.3", 2, 0.05)
  compare("so it is with IPv6", "fd00:2::3", 2, 0.05)
  local same = compare("a TTL of 1 ends at the router", "198.51.100.3", 1, 0.5, 1)
  T.ok(same, "and the program fails as ping does")
  compare("so does a hop limit of 1", "fd00:2::3", 1, 0.5, 1)
  compare("a router says that a host is unreachable", "203.0.113.9", 1, 0.5)
  compare("one of IPv6", "fd00:9::9", 1, 0.5)
  T.is(ours "203.0.113.200 2 0.05", "\n--- 203.0.113.200 ping statistics ---\n"
    .. "2 packets transmitted, 0 received, 100% packet loss", "what nobody answers is lost")
end

local inside, why
if example.has "ping" then inside, why = netns.enter() else why = "there is no ping" end
if inside then
  netns.ip "link set lo up"
  near()
  local all
  all, why = chain.make { [0] = HERE, FIRST, LAST }
  if all then
    far(all)
    T.is(chain.close(all), 0, "the others end well")
  else T.skip(9, why) end
else T.skip(N - 3, why) end
T.is(leak.count(), before, "no descriptor is left")
T.done()
