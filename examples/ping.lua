-- ping.lua HOST [COUNT [INTERVAL [TTL]]] -- sends echo requests and prints the replies, as ping does; IPv4 and IPv6.
--
-- It takes a ping socket, which needs no privileges where net.ipv4.ping_group_range allows it, or else a raw socket, which needs
-- CAP_NET_RAW.  A raw socket gets every ICMP message of the machine, so a filter keeps all but the replies to this program.
-- COUNT is 4 by default, INTERVAL is 1 s and also the time that it waits for the last reply.
local L, loop = require "llsocket", require "llsocket.wait.coroutine"
local bit = require "bit"
local text = require("llsocket.errno").text

local HOST, COUNT, INTERVAL, TTL = arg[1], tonumber(arg[2] or 4), tonumber(arg[3] or 1), tonumber(arg[4])

local function fail(...)
  io.stderr:write("ping: ", string.format(...), "\n")
  os.exit(2)
end

local function word(n) return string.char(bit.rshift(n, 8), bit.band(n, 255)) end
local function number(bytes, at) return bytes:byte(at) * 256 + bytes:byte(at + 1) end

local ID = math.floor(loop.now() * 1e6) % 65536
local DATA = ("llsocket"):rep(7)

-- What differs between the families.  The filter of a raw IPv4 socket sees the IP header, that of an IPv6 socket does not.
local FOUR = {
  protocol = L.IPPROTO_ICMP, request = L.ICMP_ECHO, reply = L.ICMP_ECHOREPLY, ttl = "ttl", has_header = true,
  filter = "ldxb 4*([0]&0xf)\nldb [x+0]\njne #ICMP_ECHOREPLY, drop\nldh [x+4]\njne #ID, drop\nret #-1\ndrop: ret #0",
  unreachable = { [0] = "Destination Net Unreachable", "Destination Host Unreachable", "Destination Protocol Unreachable",
    "Destination Port Unreachable", [13] = "Packet filtered" },
  unreachable_type = L.ICMP_DEST_UNREACH, exceeded_type = L.ICMP_TIME_EXCEEDED, exceeded = "Time to live exceeded",
}
local SIX = {
  protocol = L.IPPROTO_ICMPV6, request = L.ICMP6_ECHO_REQUEST, reply = L.ICMP6_ECHO_REPLY, ttl = "hoplimit",
  filter = "ldb [0]\njne #ICMP6_ECHO_REPLY, drop\nldh [4]\njne #ID, drop\nret #-1\ndrop: ret #0",
  unreachable = { [0] = "Destination unreachable: No route", "Destination unreachable: Administratively prohibited",
    [3] = "Destination unreachable: Address unreachable", [4] = "Destination unreachable: Port unreachable" },
  unreachable_type = L.ICMP6_DST_UNREACH, exceeded_type = L.ICMP6_TIME_EXCEEDED, exceeded = "Time exceeded: Hop limit",
}

-- The sum of 16-bit words that ICMP wants; see RFC 1071.  The kernel makes that of ping sockets and of ICMPv6 itself.
local function checksum(packet)
  local sum = 0
  for i = 1, #packet, 2 do sum = sum + number(packet, i) end
  while sum > 0xffff do sum = bit.band(sum, 0xffff) + bit.rshift(sum, 16) end
  return bit.band(bit.bnot(sum), 0xffff)
end

local function request(family, sequence)
  local rest = word(ID) .. word(sequence) .. DATA
  local sum = checksum(string.char(family.request, 0, 0, 0) .. rest)
  return string.char(family.request, 0) .. word(sum) .. rest
end

-- A connected socket, and whether it is a raw one.
local function open(host)
  local list, err = L.inet.getaddrinfo(host, nil, L.SOCK_DGRAM)
  if not list then fail("%s: %s", host, err) end
  local family = list[1]:family() == L.AF_INET6 and SIX or FOUR
  local sock, ai, is_raw
  for _, socktype in ipairs { L.SOCK_DGRAM, L.SOCK_RAW } do
    ai, is_raw = L.addrinfo.new(list[1]:bytes(), socktype, family.protocol), socktype == L.SOCK_RAW
    sock, err = L.socket.new(ai, true)
    if sock then break end
  end
  if not sock then fail("%s", err) end
  err = is_raw and select(2, sock:filter((family.filter:gsub("ID", ID)))) or select(2, sock:recverr(true))
    or select(2, sock:recvttl(true)) or TTL and select(2, sock[family.ttl](sock, TTL)) or sock:connect()
  if err then fail("%s: %s", tostring(ai), err) end
  return sock, family, is_raw, ai:addr()
end

local sock, family, is_raw, addr = open(HOST or fail "usage: ping.lua HOST [COUNT [INTERVAL [TTL]]]")
local mh = L.msghdr.new { size = 65535 }
local sent, received, errors, times = 0, 0, 0, {}

local function ttl_of()
  for _, cmsg in ipairs(mh:control()) do
    local n = cmsg:integer()
    if n then return n end
  end
end

-- A reply, or on a ping socket whatever the kernel takes for one.
local function tell_reply()
  local packet = mh:data()
  if is_raw and family.has_header then packet = packet:sub(packet:byte(1) % 16 * 4 + 1) end
  local sequence = #packet >= 8 and number(packet, 7)
  if not times[sequence] then return end
  received = received + 1
  print(("%d bytes from %s: icmp_seq=%d ttl=%d time=%.3f ms"):format(#packet, addr, sequence, ttl_of() or -1,
    (loop.now() - times[sequence]) * 1000))
  times[sequence] = nil
end

local function reason(exterr)
  if exterr.type == family.unreachable_type then return family.unreachable[exterr.code] end
  return exterr.type == family.exceeded_type and family.exceeded or nil
end

-- An ICMP error: its data is the beginning of the request.
local function tell_error()
  for _, cmsg in ipairs(mh:control()) do
    local exterr = cmsg:exterr()
    if exterr then
      errors = errors + 1
      local sequence = #mh:data() >= 8 and number(mh:data(), 7) or sent
      print(("From %s icmp_seq=%d %s"):format(exterr.offender and exterr.offender:addr() or "this machine", sequence,
        reason(exterr) or text(exterr.errno)))
      times[sequence] = nil
    end
  end
end

-- Receives what comes until then, and no longer than all requests have an answer if it is the last.
local function receive(stop, is_last)
  while not (is_last and next(times) == nil) and sock:recvable(math.max(0, stop - loop.now())) do
    while sock:recvmsg(mh, L.MSG_ERRQUEUE) do tell_error() end
    if sock:recvmsg(mh) then tell_reply() end
  end
end

print(("PING %s (%s) with a %s socket"):format(HOST, addr, is_raw and "raw" or "ping"))
io.stdout:setvbuf "line"
local begin = loop.now()
for sequence = 1, COUNT do
  sock:error() -- an ICMP error of before would fail this send
  times[sequence], sent = loop.now(), sent + 1
  local n, err = sock:send(request(family, sequence))
  if not n then
    print("ping: " .. tostring(err))
    times[sequence] = nil
  end
  receive(begin + sequence * INTERVAL, sequence == COUNT)
end
print(("\n--- %s ping statistics ---\n%d packets transmitted, %d received, %s%d%% packet loss"):format(HOST, sent, received,
  errors > 0 and ("+%d errors, "):format(errors) or "", (sent - received) / sent * 100))
os.exit(received > 0 and 0 or 1)
