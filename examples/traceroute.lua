-- traceroute.lua HOST [HOPS [SECONDS]] -- prints the routers on the way to a host, as traceroute does; IPv4 and IPv6.
--
-- It sends a UDP datagram that may go over one router, then one over two, and so on.  The router where a datagram ends sends an
-- ICMP message, which the kernel puts into the socket's error queue, so the program needs no privileges.  Each datagram goes to
-- another port, from 33434 on, where nobody should listen: the host itself then answers that the port is unreachable.
local L, loop = require "llsocket", require "llsocket.wait.coroutine"

local HOST, HOPS, PATIENCE = arg[1], tonumber(arg[2] or 30), tonumber(arg[3] or 1)
local PORT = 33434
local DATA = ("llsocket"):rep(4)

local function fail(...)
  io.stderr:write("traceroute: ", string.format(...), "\n")
  os.exit(2)
end

-- For each family: the option that says how many routers, and by type and code the mark of traceroute(8) for the end of the way.
local FAMILIES = {
  [L.AF_INET] = { limit = "ttl", exceeded = L.ICMP_TIME_EXCEEDED, unreachable = L.ICMP_DEST_UNREACH,
    marks = { [0] = " !N", " !H", " !P", "", [13] = " !X" } },
  [L.AF_INET6] = { limit = "hoplimit", exceeded = L.ICMP6_TIME_EXCEEDED, unreachable = L.ICMP6_DST_UNREACH,
    marks = { [0] = " !N", " !X", [3] = " !H", [4] = "" } },
}

local function look_up(host)
  local list, err = L.inet.getaddrinfo(host, PORT, L.SOCK_DGRAM)
  if not list then fail("%s: %s", host, err) end
  return list[1]
end

-- A socket for one probe: its error queue then has the answers to this probe alone.
local function open(host, hop, family)
  local ai = assert(L.inet.getaddrinfo(host, PORT + hop - 1, L.SOCK_DGRAM))[1]
  local sock, err = L.socket.new(ai, true)
  if not sock then fail("%s", err) end
  err = select(2, sock:recverr(true)) or select(2, sock[family.limit](sock, hop)) or sock:connect()
  if err then fail("%s: %s", tostring(ai), err) end
  return sock
end

local mh = L.msghdr.new { size = 1 }

-- The error that came for a probe, as exterr returns it; nil if none came in time.  `true` is an answer of the host itself.
local function answer(sock, stop)
  while sock:recvable(math.max(0, stop - loop.now())) do
    while sock:recvmsg(mh, L.MSG_ERRQUEUE) do
      for _, cmsg in ipairs(mh:control()) do
        local exterr = cmsg:exterr()
        if exterr and exterr.offender then return exterr end
      end
    end
    if sock:recvmsg(mh) then return true end
  end
end

-- Sends one probe and prints a line.  Returns whether the way ends there.
local function probe(host, hop, family)
  local sock, begin = open(host, hop, family), loop.now()
  sock:send(DATA)
  local got = answer(sock, begin + PATIENCE)
  local ms = (loop.now() - begin) * 1000
  sock:close()
  if not got then
    print(("%2d  *"):format(hop))
    return false
  end
  local addr = got == true and host or got.offender:addr()
  local mark = got ~= true and got.type == family.unreachable and (family.marks[got.code] or " !" .. got.code) or ""
  print(("%2d  %s  %.3f ms%s"):format(hop, addr, ms, mark))
  return got == true or got.type ~= family.exceeded
end

local ai = look_up(HOST or fail "usage: traceroute.lua HOST [HOPS [SECONDS]]")
local host, family = ai:addr(), FAMILIES[ai:family()]
io.stdout:setvbuf "line"
print(("traceroute to %s (%s), %d hops max, %d byte datagrams"):format(HOST, host, HOPS, #DATA))
for hop = 1, HOPS do
  if probe(host, hop, family) then break end
end
