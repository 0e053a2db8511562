-- multicast across a veth pair: the receiver in one network namespace, the sender, with two sources, in another.
local L = require "llsocket"
local emulator = require "emulator"
local ffi = require "ffi"
local leak = require "leak"
local mcast = require "mcast"
local netns = require "netns"
local net = require "net"
local proc = require "proc"
local show = require("show").show
local COUNT = mcast.COUNT
local PLAN = 2 * COUNT + 25
local T = require("tap").plan(PLAN)
local before = leak.count()

local why, entered = emulator.groups, nil
if not why then entered, why = netns.enter() end
if not entered then
  T.skip(PLAN, why)
  T.done()
end

ffi.cdef 'int llsocket_t_socket(int domain, int type, int protocol) __asm__("socket");'

-- The other end, a process of its own: does what it is told, line by line, and answers with what came of it.
local DO = {}

function DO.setup()
  netns.batch { "link set lo up", "link set dev tx0 addrgenmode none", "link set dev tx0 up",
    "addr add 10.77.0.1/24 dev tx0", "addr add 10.77.0.2/24 dev tx0",
    "addr add fd77::1/64 nodad dev tx0", "addr add fd77::2/64 nodad dev tx0", "addr add fe80::77:1/64 nodad dev tx0" }
  DO.send, DO.socks = mcast.sender "tx0"
  return "done"
end

function DO.ttl(source, ttl)
  return tostring(DO.socks[source]:mcastttl(tonumber(ttl)))
end

local function serve(control)
  assert(netns.enter())
  control:send "ready"
  for line in function() return (control:recv()) end do
    local words = {}
    for word in line:gmatch "[^\t]+" do words[#words + 1] = word end
    control:send(tostring(DO[words[1]](unpack(words, 2))))
  end
end

local control, remote = net.pair(L.SOCK_SEQPACKET)
control:rcvtimeo(20)
local pid = proc.fork(function()
  control:close()
  serve(remote)
end)
remote:close()

local function tell(...)
  control:send(table.concat({ ... }, "\t"))
  return (control:recv())
end

assert(control:recv() == "ready", "the other end has a namespace")
netns.batch { "link set lo up", "link add name rx0 type veth peer name tx0", "link set dev tx0 netns " .. pid,
  "link set dev rx0 addrgenmode none", "link set dev rx0 up", "addr add 10.77.0.9/24 dev rx0",
  "addr add fd77::9/64 nodad dev rx0", "addr add fe80::77:9/64 nodad dev rx0" }
assert(tell "setup" == "done", "the other end has its addresses")

local function send(source, host, port, text)
  local n = tell("send", source, host, port, text)
  return tonumber(n), n
end

-- The link is up a moment after it was set so: datagrams to the receiver's own address show when.
local function wait_for(family, source, own)
  local sock, port = mcast.receiver(family)
  sock:rcvtimeo(0.02)
  local ok = net.await(function()
    send(source, own, port, "probe")
    return sock:recv()
  end)
  sock:close()
  return ok
end
T.is(wait_for(L.AF_INET, "10.77.0.1", "10.77.0.9"), "probe", "the two namespaces reach each other by IPv4")
T.is(wait_for(L.AF_INET6, "fd77::1", "fd77::9"), "probe", "the two namespaces reach each other by IPv6")

mcast.exercise(T, { family = L.AF_INET, name = "IPv4", ifname = "rx0", own = "10.77.0.9", send = send,
  sources = { "10.77.0.1", "10.77.0.2" } })
mcast.exercise(T, { family = L.AF_INET6, name = "IPv6", ifname = "rx0", own = "fd77::9", send = send,
  sources = { "fd77::1", "fd77::2" } })

local FAMILIES = {
  { family = L.AF_INET, name = "IPv4", group = "232.1.2.3", own = "10.77.0.9", source = "10.77.0.1" },
  { family = L.AF_INET6, name = "IPv6", group = "ff35::4321", own = "fd77::9", source = "fd77::1" },
}

-- The time to live of a datagram that carries the text, read off a packet socket: byte 9 of an IPv4 header, 8 of IPv6's.
local ETH_P_ALL = ffi.abi "be" and 3 or 0x300
local function ttl_of(row, port, text)
  local packets = assert(L.socket.wrap(ffi.C.llsocket_t_socket(L.AF_PACKET, L.SOCK_DGRAM, ETH_P_ALL)))
  packets:rcvtimeo(3)
  send(row.source, row.group, port, text)
  local packet
  repeat packet = packets:recv() until not packet or packet:sub(-#text) == text
  packets:close()
  return packet and packet:byte(row.family == L.AF_INET and 9 or 8)
end

for _, row in ipairs(FAMILIES) do
  local name = row.name
  local sock, port = mcast.receiver(row.family)
  local rest = function() return sock:recv(64, L.MSG_DONTWAIT) end

  -- A source-specific group, and whence its datagrams come.
  sock:mcastjoinsrc(row.group, row.source, "rx0")
  send(row.source, row.group, port, "hello")
  local msg, ai = sock:recvfrom()
  T.is(show(msg, ai:addr()), "hello, " .. row.source, name .. ": the sender is the source that was joined")

  -- Time to live, as it stands in the header.
  T.is(ttl_of(row, port, "as it is"), 1, name .. ": the time to live is 1 unless set")
  for _, ttl in ipairs { 7, 255 } do
    T.is(tell("ttl", row.source, ttl), tostring(ttl), ("%s: mcastttl takes %d"):format(name, ttl))
    T.is(ttl_of(row, port, "with " .. ttl), ttl, name .. ": and the datagram has it")
  end
  for _ = 1, 3 do sock:recv() end

  -- Loop: our own datagrams to the group, which is joined here too.
  local mine, socks = mcast.sender "rx0"
  sock:mcastjoin(mcast.group(row.family, 3), "rx0")
  local function loop(on, text)
    assert(mine(row.own, mcast.group(row.family, 3), port, "warm")) -- makes the socket
    sock:recv()
    assert(socks[row.own]:mcastloop(on) == on)
    mine(row.own, mcast.group(row.family, 3), port, text)
    mine(row.own, row.own, port, "end")
    local got = { sock:recv() or "", on and sock:recv() or nil } -- in any order: two processors may serve them
    table.sort(got)
    socks[row.own]:mcastloop(true)
    return table.concat(got, " ")
  end
  T.is(loop(true, "looped"), "end looped", name .. ": with mcastloop the sender's machine hears too")
  T.is(loop(false, "not looped"), "end", name .. ": without mcastloop it does not")
  T.is(show(rest()), show(nil, nil, true, L.EAGAIN), name .. ": and nothing more arrives")
  for _, s in pairs(socks) do s:close() end
  sock:close()
end

-- A link-local source, as recvfrom tells it, with its scope.
local sock, port = mcast.receiver(L.AF_INET6)
sock:mcastjoin("ff02::77", "rx0")
send("fe80::77:1%tx0", "ff02::77", port, "hello")
local _, from = sock:recvfrom()
T.is(from and from:addr(), "fe80::77:1%rx0", "a link-local source has this end's interface for scope")
T.is(sock:mcastblocksrc("ff02::77", from:addr()), nil, "what recvfrom told can be blocked, its scope naming the interface")
send("fe80::77:1%tx0", "ff02::77", port, "blocked")
send("fd77::1", "ff02::77", port, "end")
T.is(sock:recv(), "end", "and is not heard")
sock:close()

control:close()
local code = proc.wait(pid)
T.is(code, 0, "the other end ends well")
T.is(leak.count(), before, "no descriptor is left")
T.done()
