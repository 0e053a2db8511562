-- mcastloop, mcastttl and mcastif: defaults, set and read back, other ways to set and read them, and their bytes.
local L = require "llsocket"
local leak = require "leak"
local mcast = require "mcast"
local netns = require "netns"
local proc = require "proc"
local shell = require "shell"
local show = require("show").show
local PLAN = 2 * 22 + 28
local T = require("tap").plan(PLAN)
local before = leak.count()

local own, why = netns.enter()
if own then
  netns.batch { "link set lo up", "link add name ve0 type veth peer name ve1", "link set dev ve0 up",
    "addr add 10.6.0.1/24 dev ve0", "addr add 10.6.0.2/24 dev ve0" } -- ve1 is down and bare
end

local function udp(family) return assert(L.socket.new(mcast.dgram(family == L.AF_INET and "127.0.0.1" or "::1", 0))) end
local INVALID = show(nil, "Invalid argument", L.EINVAL)

local FAMILIES = {
  { "IPv4", L.AF_INET, L.IPPROTO_IP, L.IP_MULTICAST_LOOP, L.IP_MULTICAST_TTL },
  { "IPv6", L.AF_INET6, L.IPPROTO_IPV6, L.IPV6_MULTICAST_LOOP, L.IPV6_MULTICAST_HOPS },
}

-- The numbers in a list that a setter does not answer with EINVAL, and whether the value is then still 7.
local function accepted(sock, values)
  local out = {}
  sock:mcastttl(7)
  for _, value in ipairs(values) do
    if show(sock:mcastttl(value)) ~= INVALID or sock:mcastttl() ~= 7 then out[#out + 1] = tostring(value) end
  end
  return table.concat(out, " ")
end

local function options(name, family, level, loop, ttl)
  local sock = udp(family)
  local function is(got, want, text) T.is(got, want, ("%s: %s"):format(name, text)) end
  local function raises(text, message, fn, ...)
    local args = { ... }
    local _, got = pcall(function() fn(sock, unpack(args)) end)
    is(got:gsub("^.-(multicast%-options)%.t%.lua:%d+: ", "%1: "), "multicast-options: " .. message, text)
  end
  is(show(sock:mcastloop()), "true", "mcastloop is true unless set")
  is(show(sock:mcastloop(false)), "false", "mcastloop answers the false it set")
  is(show(sock:mcastloop()), "false", "and reads it back")
  is(sock:getsockopt(level, loop, "int"), 0, "as getsockopt does")
  is(show(sock:mcastloop(true)), "true", "mcastloop answers the true it set")
  is(show(sock:mcastloop()), "true", "and reads it back")
  sock:setsockopt(level, loop, "int", 0)
  is(show(sock:mcastloop()), "false", "what setsockopt set is read too")
  raises("mcastloop takes no number", "bad argument #1 to 'mcastloop' (boolean expected, got number)", sock.mcastloop, 1)

  is(show(sock:mcastttl()), "1", "mcastttl is 1 unless set")
  for _, n in ipairs { 0, 1, 128, 255 } do
    is(show(sock:mcastttl(n), sock:mcastttl(), sock:getsockopt(level, ttl, "int")), show(n, n, n),
      ("mcastttl takes %d, reads it back, as getsockopt does"):format(n))
  end
  sock:setsockopt(level, ttl, "int", 33)
  is(show(sock:mcastttl()), "33", "what setsockopt set is read too")
  is(accepted(sock, { -1, 256, 2^31, 2^32, 2^32 + 1, 2^53, 2^63, -2^63, 1.5, 0 / 0, 1 / 0, -1 / 0 }), "",
    "mcastttl of a number that is not a byte is EINVAL and changes nothing")
  raises("mcastttl takes no string", "bad argument #1 to 'mcastttl' (number expected, got string)", sock.mcastttl, "1")

  is(show(sock:mcastif()), "", "mcastif is empty unless set")
  raises("mcastif takes no number", "bad argument #1 to 'mcastif' (string expected, got number)", sock.mcastif, 1)
  if own then
    is(show(sock:mcastif "lo", sock:mcastif()), "lo, lo", "mcastif returns the name that it set, and reads it back")
    is(show(sock:mcastif "ve0", sock:mcastif()), "ve0, ve0", "so for an interface with addresses")
    is(show(sock:mcastif "ve1", sock:mcastif()), "ve1, ve1", "and for one without any")
    is(show(sock:mcastif "", sock:mcastif()), ", ", 'mcastif("") takes it back')
  else
    T.skip(4, why)
  end
  sock:close()
end
for _, row in ipairs(FAMILIES) do options(unpack(row)) end

-- Set by others: IPv4 by address, index or both, IPv6 by index.
local ADDR = { lo = "\127\0\0\1", ve0 = "\10\6\0\1", ["ve0's second"] = "\10\6\0\2", none = "\0\0\0\0" }
local function by_addr(sock, which) return sock:setsockopt(L.IPPROTO_IP, L.IP_MULTICAST_IF, "bytes", ADDR[which]) end
if own then
  local sock = udp(L.AF_INET)
  by_addr(sock, "lo")
  T.is(sock:mcastif(), "lo", "what another set by address is read by name")
  by_addr(sock, "ve0")
  T.is(sock:mcastif(), "ve0", "so is another")
  by_addr(sock, "ve0's second")
  T.is(sock:mcastif(), "ve0", "and one by an interface's second address")
  by_addr(sock, "none")
  T.is(sock:mcastif(), "", "what another took back is empty")
  sock:mcastif "ve1"
  by_addr(sock, "ve0")
  T.is(sock:mcastif(), "ve0", "what another set by address after us counts, not ours")
  T.is(show(sock:mcastif "ve1", sock:mcastif()), "ve1, ve1", "and ours after that")
  by_addr(sock, "ve0")
  sock:mcastif ""
  T.is(sock:mcastif(), "", 'mcastif("") takes back what another set')
  netns.ip "addr del 10.6.0.1/24 dev ve0"
  netns.ip "addr add 10.6.0.1/24 dev ve0"
  by_addr(sock, "ve0")
  netns.ip "addr flush dev ve0"
  T.is(show(sock:mcastif()), show(nil, "No such device", L.ENODEV), "an address that no interface has now is ENODEV")

  -- Duplicates and wrapped descriptors.
  sock:mcastif "ve1"
  local copy = sock:dup()
  T.is(copy:mcastif(), "ve1", "a duplicate reads the interface that was set before")
  T.is(show(copy:mcastif "lo", copy:mcastif()), "lo, lo", "a duplicate sets and reads")
  copy:close()
  by_addr(sock, "lo")
  local wrapped = assert(L.socket.wrap(sock:unwrap()))
  T.is(wrapped:mcastif(), "lo", "a wrapped descriptor reads the interface that was set by address")
  T.is(show(wrapped:mcastif "ve1", wrapped:mcastif()), "ve1, ve1", "a wrapped descriptor sets and reads")
  T.is(show(wrapped:mcastif "", wrapped:mcastif()), ", ", "and takes back")
  wrapped:close()
  T.is(show(sock:mcastif()), show(nil, "Bad file descriptor", L.EBADF), "the unwrapped socket is closed")

  sock = udp(L.AF_INET6)
  sock:mcastif "ve1"
  copy = sock:dup()
  T.is(copy:mcastif(), "ve1", "an IPv6 duplicate reads the interface that was set before")
  copy:mcastif "lo"
  T.is(sock:mcastif(), "lo", "and sets for both")
  copy:close()
  wrapped = assert(L.socket.wrap(sock:unwrap()))
  T.is(wrapped:mcastif(), "lo", "a wrapped IPv6 descriptor reads the interface that was set")
  wrapped:setsockopt(L.IPPROTO_IPV6, L.IPV6_MULTICAST_IF, "int", 0)
  T.is(wrapped:mcastif(), "", "what another took back is empty")
  wrapped:close()

  -- Raw sockets have multicast as datagram sockets do.
  local raw = L.socket.new(L.inet.getaddrinfo("127.0.0.1", nil, L.SOCK_RAW, L.IPPROTO_ICMP)[1])
  T.is(show(raw:mcastttl(9), raw:mcastttl(), raw:mcastif "ve1", raw:mcastif()), "9, 9, ve1, ve1", "a raw socket has the options")
  T.is(show(raw:mcastjoin("239.1.2.3", "lo"), raw:mcastleave("239.1.2.3", "lo")), "nil", "a raw socket joins and leaves")
  raw:close()
else
  T.skip(20, why)
end

-- The bytes, as strace(1) sees them.
local function calls(source)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write('local L = require "llsocket"\n', source)
  file:close()
  local out = proc.run(shell.format("strace -qq -e trace=setsockopt %q %q", proc.luajit, path))
  os.remove(path)
  return out
end

local SOURCE = [[
local sock = L.socket.new(L.inet.getaddrinfo("127.0.0.1", "0", L.SOCK_DGRAM)[1])
sock:mcastttl(3) sock:mcastloop(false)
local sock6 = L.socket.new(L.inet.getaddrinfo("::1", "0", L.SOCK_DGRAM)[1])
sock6:mcastttl(3) sock6:mcastloop(false)
sock6:mcastjoin("ff15::1", "lo")
sock6:mcastjoinsrc("ff15::2", "2001:db8::1", "lo")
sock:mcastjoinsrc("239.1.2.3", "192.0.2.1", "lo")
]]
if select(2, proc.run "strace -qq -e trace=none true") then
  local out = calls(SOURCE)
  local function sees(call, name) T.ok(out:find(call), name) end
  sees("SOL_IP, IP_MULTICAST_TTL, [^\n]*, 1%) = 0", "the IPv4 time to live is one byte")
  sees("SOL_IP, IP_MULTICAST_LOOP, [^\n]*, 1%) = 0", "the IPv4 loop is one byte")
  sees("SOL_IPV6, IPV6_MULTICAST_HOPS, [^\n]*, 4%) = 0", "the IPv6 hops are an int")
  sees("SOL_IPV6, IPV6_MULTICAST_LOOP, [^\n]*, 4%) = 0", "the IPv6 loop is an int")
  local layout, ffi = require "llsocket.core.layout", require "ffi"
  local one, two = ffi.sizeof(layout.group_req), ffi.sizeof(layout.group_source_req)
  sees(("SOL_IPV6, MCAST_JOIN_GROUP, [^\n]*, %d%%) = 0"):format(one), "an IPv6 group goes as group_req")
  sees(("SOL_IPV6, MCAST_JOIN_SOURCE_GROUP, [^\n]*, %d%%) = 0"):format(two), "an IPv6 source goes as group_source_req")
  sees(("SOL_IP, MCAST_JOIN_SOURCE_GROUP, [^\n]*, %d%%) = 0"):format(two), "an IPv4 source too")
else
  T.skip(7, "strace(1) is missing or may not trace here")
end

T.is(leak.count(), before, "no descriptor is left")
T.done()
