-- tcpdump: it prints the packets that tcpdump prints, in the same words, and only those that its filter lets through.
local L = require "llsocket"
local cbpf = require "cbpf"
local chain = require "chain"
local example = require "example"
local leak = require "leak"
local net = require "net"
local netns = require "netns"
local proc = require "proc"
local random = require "random"
local shell = require "shell"
local N = 15
local T = require("tap").plan(N)
local before = leak.count()

local text, ok = example.run("tcpdump", "")
T.ok(not ok and text:find "^tcpdump: usage", "without an interface it tells its usage")
text, ok = example.run("tcpdump", "lo 1 sctp")
T.ok(not ok and text:find "^tcpdump: usage", "and for a protocol that it does not know")
text, ok = example.run("tcpdump", "no-such-0")
T.ok(not ok and text:find "^tcpdump: there is no interface", "an interface must be there: " .. text)

local dir = net.tmpdir()

local function read(name)
  local file = io.open(dir .. "/" .. name)
  local content = file and file:read "*a" or ""
  if file then file:close() end
  return content
end

-- Starts a program whose output goes to files of that name; waits until it says that it listens.
local function start(name, command)
  os.remove(dir .. "/" .. name); os.remove(dir .. "/" .. name .. ".log")
  local pipe = io.popen("exec timeout 20 " .. command .. shell.format(" > %q/%s 2> %q/%s.log", dir, name, dir, name))
  net.await(function() return (read(name) .. read(name .. ".log")):find "listening on" end)
  return pipe
end

local function lines(name) return (read(name):gsub("%d%d:%d%d:%d%d%.%d+ ", ""):gsub("^listening[^\n]*\n", "")) end

-- Both programs print so many packets of the traffic that fn makes.
local function compare(title, ifname, count, ours, theirs, fn)
  local one = start("ours", example.command(example.dir .. "tcpdump.lua", ("%s %d %s"):format(ifname, count, ours)))
  local other = start("theirs", ("tcpdump -n -q -l -Z root --immediate-mode -i %s -c %d '%s'"):format(ifname, count, theirs))
  fn()
  for _, pipe in ipairs { one, other } do
    pipe:read "*a"
    pipe:close()
  end
  local want = lines "theirs"
  T.is(lines "ours", want ~= "" and want or read "theirs.log", title)
end

local function send(family, port, ...)
  local ai = net.addr(family, L.SOCK_DGRAM, port)
  local sock = assert(L.socket.new(ai))
  for _, msg in ipairs { ... } do
    sock:sendto(msg, ai)
    sock:error()
  end
  sock:close()
end

local function datagrams(decoy)
  local four, ai = net.bound(L.AF_INET, L.SOCK_DGRAM)
  local six = assert(L.socket.new(net.addr(L.AF_INET6, L.SOCK_DGRAM, ai:port())))
  assert(not six:bind())
  return ai:port(), function()
    if decoy then send(L.AF_INET, ai:port() - 1, "not this") end
    send(L.AF_INET, ai:port(), "one", "", ("x"):rep(1000))
    send(L.AF_INET6, ai:port(), "six", ("y"):rep(70))
    four:close(); six:close()
  end
end

local function connection()
  local listener, ai = net.listener(L.AF_INET)
  return ai:port(), function()
    send(L.AF_INET, ai:port(), "a datagram")
    local client = assert(L.socket.new(ai))
    assert(not client:connect())
    client:send "hello"
    client:close(); listener:close()
  end
end

local function ping(args)
  return function() proc.run("ping -n -i 0.01 " .. args) end
end

local function on_loopback()
  local port, fn = datagrams(true)
  compare("datagrams of one port, over IPv4 and IPv6", "lo", 5, "udp " .. port, "udp port " .. port, fn)
  compare("or all that there is", "lo", 4, "", "", select(2, datagrams()))
  compare("or one family", "lo", 2, "ip6", "ip6", select(2, datagrams()))
  port, fn = connection()
  compare("a connection from its first packet to its data", "lo", 4, "tcp " .. port, "tcp port " .. port, fn)
  compare("echo requests and replies", "lo", 4, "icmp", "icmp", ping "-c 2 127.0.0.1")
  compare("those of IPv6", "lo", 2, "icmp6", "icmp6", ping "-c 1 ::1")
end

local HERE = { "link set lo up", "address add 192.0.2.1/24 dev w1a", "link set w1a up" }
local THERE = { "link set lo up", "address add 192.0.2.2/24 dev w1b", "link set w1b up" }

-- Packets of chance, in which lengths and versions are wrong.
local function nonsense()
  local seed, count = random.seed(), 150 -- which fit into the socket's buffer, if the program does not run meanwhile
  local draw = random.new(seed)
  local one = start("ours", example.command(example.dir .. "tcpdump.lua", "w1a " .. count))
  local sock = assert(L.socket.new(assert(L.addrinfo.packet("w1a", L.ETH_P_ALL, nil, L.SOCK_DGRAM, 0))))
  local TYPES, FIRST = { L.ETH_P_IP, L.ETH_P_IPV6, L.ETH_P_ARP, 0x9999 }, { 0x45, 0x4f, 0x40, 0x60, 0 }
  for _ = 1, count do
    local ai = assert(L.addrinfo.packet("w1a", TYPES[draw(4)], "02:00:00:00:00:01", L.SOCK_DGRAM))
    sock:sendto(string.char(FIRST[draw(5)]) .. cbpf.packet(draw, 80), ai)
  end
  sock:close()
  one:read "*a"
  one:close()
  local said = lines "ours"
  if not T.ok(select(2, said:gsub("\n", "")) >= count and read "ours.log" == "", "packets of chance are told, too") then
    print("# seed " .. seed .. ": " .. said:sub(-200) .. read "ours.log")
  end
end

local function on_a_wire(far)
  compare("who has an address on a wire, and where", "w1a", 2, "arp", "arp and host 192.0.2.2 and host 192.0.2.1",
    ping "-c 1 -W 3 192.0.2.2")
  compare("what goes over it", "w1a", 2, "ip", "ip", ping "-c 1 192.0.2.2")
  nonsense()
  T.is(chain.close(far), 0, "the other end ends well")
end

local lacks
for _, name in ipairs { "tcpdump", "ping", "timeout" } do
  if not example.has(name) then lacks = "there is no " .. name end
end
local inside, why
if not lacks then inside, why = netns.enter() end
-- In a user namespace tcpdump cannot change to the user that it wants to run as.
local function refusal()
  netns.ip "link set lo up"
  local said = proc.run "timeout 0.3 tcpdump -n -l -Z root -i lo -c 1"
  return not said:find "listening on" and "tcpdump cannot run here: " .. said:gsub("\n.*", "") or nil
end
if inside then why = refusal() end
if inside and not why then
  on_loopback()
  local far
  far, why = chain.make { [0] = HERE, THERE }
  if far then on_a_wire(far) else T.skip(4, why) end
else T.skip(10, lacks or why) end

-- Without the rights, or without packet sockets, it says so.
local fails = "setpriv --bounding-set -net_raw --inh-caps -net_raw "
if example.has "setpriv" and select(2, proc.run(fails .. "true")) then
  text, ok = proc.run(fails .. example.command(example.dir .. "tcpdump.lua", "lo 1"))
  T.ok(not ok and text:find "^tcpdump: Operation not permitted", "without CAP_NET_RAW it says so: " .. text)
else T.skip(1, "setpriv cannot take a right away here") end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
