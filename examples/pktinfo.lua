-- pktinfo.lua [PORT [HOST]] -- a UDP echo on all addresses that answers from the address that the client used.
--
-- A socket that is bound to every address answers from the address that the routing table prefers.  On a machine with
-- several addresses the answer may come from another one than the client used, and a connected client or a firewall drops
-- it.  PORT is 7778 by default; 0 lets the kernel choose.  HOST is 0.0.0.0 by default; "::" takes IPv6 and IPv4.
local L = require "llsocket"

local SIZE = 65535 -- longer than any UDP datagram, so that none is cut

local function fail(...)
  io.stderr:write("pktinfo: ", string.format(...), "\n")
  os.exit(1)
end

local function open(host, port)
  local list, err = L.inet.getaddrinfo(host, port, L.SOCK_DGRAM)
  if not list then fail("%s port %s: %s", host, port, err) end
  local sock = assert(L.socket.new(list[1]))
  err = select(2, sock:pktinfo(true)) or sock:bind()
  if err then fail("%s: %s", tostring(list[1]), err) end
  return sock
end

-- The names of interfaces.  Each is looked up once, because that takes system calls.
local names = setmetatable({}, { __index = function(known, index)
  known[index] = L.device.name(index)
  return known[index]
end })

-- Where the datagram was sent to.  With IPv4 use specdst: after a broadcast, too, it is an address of this machine.
local function asked_at(mh)
  for _, cmsg in ipairs(mh:control()) do
    local info = cmsg:pktinfo()
    if info then return info.specdst or info.addr, names[info.index] end
  end
end

-- Do not answer low ports: with a forged sender two echo servers, or one and itself, would send one datagram back and
-- forth for ever.  Servers have low ports; clients get ports from 10000 (FreeBSD), 32768 (Linux) or 49152 (IANA) on.
local function is_client(from, port) return from:port() >= 10000 and from:port() ~= port end

-- Sends the message back as it came: the receive has set its data and name, so only the source must be set.
local function answer(sock, mh)
  local addr, ifname = asked_at(mh)
  mh:control { addr and L.cmsghdr.pktinfo(addr) }
  local n, err = sock:sendmsg(mh)
  print(("%s asked at %s on %s: %s"):format(tostring(mh:name()), tostring(addr), tostring(ifname),
    n and n .. " bytes sent back" or "not sent back: " .. tostring(err)))
end

local sock = open(arg[2] or "0.0.0.0", arg[1] or "7778")
local mh = L.msghdr.new { size = SIZE }
io.stdout:setvbuf "line"
local ours = sock:getsockname()
print("listening on " .. tostring(ours))
while true do
  local n, err, again = sock:recvmsg(mh)
  if n and is_client(mh:name(), ours:port()) then answer(sock, mh) elseif err and not again then print("recvmsg: " .. err) end
end
