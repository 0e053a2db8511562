-- tcpdump.lua INTERFACE [COUNT [PROTOCOL [PORT]]] -- prints the packets of an interface, as tcpdump -n -q does.
--
-- The kernel filters: packets of other protocols and ports do not wake the program.  PROTOCOL is ip, ip6, arp, icmp, icmp6,
-- tcp or udp; PORT is the sender's or the receiver's.  It ends after COUNT packets; 0, the default, is never.  Needs
-- CAP_NET_RAW.
local L = require "llsocket"
local bit, text = require "bit", L.inet.ntop

local IFNAME, COUNT, PROTOCOL, PORT = arg[1], tonumber(arg[2] or 0), arg[3], tonumber(arg[4])

local function fail(...)
  io.stderr:write("tcpdump: ", string.format(...), "\n")
  os.exit(1)
end

-- The filter -------------------------------------------------------------------------------------------------

-- The packet begins with the IP header.  What each protocol asks of the ethertype, and then of IPv4's or IPv6's header.
local ARP, FOUR, SIX = "jeq #ETH_P_ARP, keep", "jeq #ETH_P_IP, four", "jeq #ETH_P_IPV6, six"
local ETHERTYPES = {
  ip = { "jeq #ETH_P_IP, keep" }, ip6 = { "jeq #ETH_P_IPV6, keep" }, arp = { ARP },
  icmp = { FOUR }, icmp6 = { SIX }, tcp = { FOUR, SIX }, udp = { FOUR, SIX },
}
local IPPROTO = { icmp = "IPPROTO_ICMP", icmp6 = "IPPROTO_ICMPV6", tcp = "IPPROTO_TCP", udp = "IPPROTO_UDP" }

-- The headers of IPv4 tell their own length, and later fragments have no ports.
local PORTS = [[
        ldh [6]
        jset #0x1fff, drop
        ldxb 4*([0]&0xf)
ports:  ldh [x+0]
        jeq #PORT, keep
        ldh [x+2]
        jeq #PORT, keep, drop
]]

local function program(is_loopback)
  local lines = {}
  local function add(line) lines[#lines + 1] = line end
  if is_loopback then add "ld #type\njeq #PACKET_OUTGOING, drop" end -- else each would be seen twice
  add "ld #proto"
  for _, line in ipairs(PROTOCOL and ETHERTYPES[PROTOCOL] or { "ja keep" }) do add(line) end
  if PROTOCOL then add "ja drop" end
  local number = IPPROTO[PROTOCOL]
  if number and ETHERTYPES[PROTOCOL][2] or PROTOCOL == "icmp6" then
    add(("six: ldb [6]\njne #%s, drop\nldx #40\nja %s"):format(number, PORT and "ports" or "keep"))
  end
  if number and PROTOCOL ~= "icmp6" then
    add(("four: ldb [9]\njne #%s, drop"):format(number))
    add(PORT and PORTS:gsub("PORT", PORT) or "ja keep")
  end
  add "keep: ret #-1\ndrop: ret #0"
  return table.concat(lines, "\n")
end

-- The packets ------------------------------------------------------------------------------------------------

local function word(packet, at) return packet:byte(at + 1) * 256 + packet:byte(at + 2) end

-- TELL[protocol](from, to, packet): `packet` is what stands behind the IP header.
local TELL = {}

local function ends(from, to, packet) return ("%s.%d > %s.%d"):format(from, word(packet, 0), to, word(packet, 2)) end

TELL[L.IPPROTO_UDP] = function(from, to, packet)
  return ("%s: UDP, length %d"):format(ends(from, to, packet), word(packet, 4) - 8)
end

TELL[L.IPPROTO_TCP] = function(from, to, packet)
  return ("%s: tcp %d"):format(ends(from, to, packet), #packet - bit.rshift(packet:byte(13), 4) * 4)
end

local function echo(request, reply, comma)
  return function(from, to, packet)
    local kind = packet:byte(1)
    local what = kind == request and "echo request" or kind == reply and "echo reply"
    what = what and ("%s, id %d, seq %d"):format(what, word(packet, 4), word(packet, 6)) or "type " .. kind
    return ("%s > %s: %s %s, length %d"):format(from, to, comma, what, #packet)
  end
end
TELL[L.IPPROTO_ICMP] = echo(L.ICMP_ECHO, L.ICMP_ECHOREPLY, "ICMP")
TELL[L.IPPROTO_ICMPV6] = echo(L.ICMP6_ECHO_REQUEST, L.ICMP6_ECHO_REPLY, "ICMP6,")

local function tell(name, protocol, from, to, packet)
  local how = TELL[protocol]
  if not how or #packet < 14 and protocol == L.IPPROTO_TCP or #packet < 8 then
    return ("%s %s > %s: ip-proto-%d %d"):format(name, from, to, protocol, #packet)
  end
  return name .. " " .. how(from, to, packet)
end

local ARP_NAMES = { "Request who-has %s tell %s", "Reply %s is-at %s" }

local function arp(packet)
  local kind, ours, theirs = word(packet, 6), text(packet:sub(15, 18)), text(packet:sub(25, 28))
  local mac = packet:sub(9, 14):gsub(".", function(byte) return ("%02x:"):format(byte:byte()) end):sub(1, -2)
  local what = kind == 1 and ARP_NAMES[1]:format(theirs, ours) or ARP_NAMES[2]:format(ours, mac)
  return ("ARP, %s, length %d"):format(what, #packet)
end

-- LINE[ethertype](packet): one packet as a line; nil where it is too short.
local LINE = { [L.ETH_P_ARP] = function(packet) return #packet >= 28 and arp(packet) or nil end }

LINE[L.ETH_P_IP] = function(packet)
  if #packet < 20 then return nil end
  local data = packet:sub(packet:byte(1) % 16 * 4 + 1, word(packet, 2))
  return tell("IP", packet:byte(10), text(packet:sub(13, 16)), text(packet:sub(17, 20)), data)
end

LINE[L.ETH_P_IPV6] = function(packet)
  if #packet < 40 then return nil end
  local data = packet:sub(41, 40 + word(packet, 4))
  return tell("IP6", packet:byte(7), text(packet:sub(9, 24)), text(packet:sub(25, 40)), data)
end

local function line(ethertype, packet)
  local how = LINE[ethertype]
  return how and how(packet) or ("ethertype 0x%04x, length %d"):format(ethertype, #packet)
end

-- The socket -------------------------------------------------------------------------------------------------

local function flags_of(ifname)
  for _, entry in ipairs(assert(L.device.list())) do
    if entry.name == ifname then return entry.flags end
  end
end

-- A datagram socket: without the header of the network card, so that all interfaces are alike.  Its protocol is 0, so that no
-- packet arrives before the filter is there and bind says which ones.
local function open(ifname)
  local flags = flags_of(ifname)
  if not flags then fail("there is no interface %s", ifname) end
  local ai = assert(L.addrinfo.packet(ifname, L.ETH_P_ALL, nil, L.SOCK_DGRAM, 0))
  local sock, err = L.socket.new(ai)
  if not sock then fail("%s", err) end
  if not sock:timestampns(true) then sock:timestamp(true) end
  err = select(2, sock:filter(program(bit.band(flags, L.IFF_LOOPBACK) ~= 0))) or sock:bind(ai)
  if err then fail("%s: %s", ifname, err) end
  return sock
end

if not IFNAME or PROTOCOL and not ETHERTYPES[PROTOCOL] then
  fail "usage: tcpdump.lua INTERFACE [COUNT [ip|ip6|arp|icmp|icmp6|tcp|udp [PORT]]]"
end
local sock = open(IFNAME)
local mh = L.msghdr.new { size = 65535 }
io.stdout:setvbuf "line"
print("listening on " .. IFNAME)
local n = 0
repeat
  local _, err, again = sock:recvmsg(mh)
  if err and not again then fail("%s", err) end
  if not err and not again then
    local sec, nsec = mh:timestamp()
    print(("%s.%06d %s"):format(os.date("%H:%M:%S", sec), (nsec or 0) / 1000, line(mh:name():fields().ethertype, mh:data())))
    n = n + 1
  end
until n == COUNT
