-- errqueue.lua HOST [PORT [SECONDS]] -- finds the path MTU to a host, and whether a program listens at its UDP port.
--
-- It sends datagrams that may not be fragmented, the longest first.  A router or the host that refuses one sends an ICMP
-- message, and the kernel puts it into the socket's error queue: who sent it, the error, and how long a packet may be.
-- The program waits SECONDS for such a message, 1 by default.  PORT is 33434 by default, as in traceroute.
local L = require "llsocket"
local text = require("llsocket.errno").text

local HOST, PORT, PATIENCE = arg[1], arg[2] or "33434", tonumber(arg[3] or 1)

local function fail(...)
  io.stderr:write("errqueue: ", string.format(...), "\n")
  os.exit(1)
end

-- For each family: the size of the IP and UDP headers in bytes, and the value of mtudiscover that forbids fragments.
local HEADERS = { [L.AF_INET] = 28, [L.AF_INET6] = 48 }
local WHOLE = { [L.AF_INET] = L.IP_PMTUDISC_DO, [L.AF_INET6] = L.IPV6_PMTUDISC_DO }

local function open(host, port)
  local list, err = L.inet.getaddrinfo(host, port, L.SOCK_DGRAM)
  if not list then fail("%s port %s: %s", host, port, err) end
  local ai = list[1]
  local sock = assert(L.socket.new(ai, true))
  err = select(2, sock:recverr(true)) or select(2, sock:mtudiscover(WHOLE[ai:family()])) or sock:connect()
  if err then fail("%s: %s", tostring(ai), err) end
  return sock, ai
end

local mh = L.msghdr.new { size = 1 }

-- The next entry of the error queue, as exterr returns it; nil if none came in time.
local function next_error(sock)
  if not sock:recvable(PATIENCE) then return nil end
  if not sock:recvmsg(mh, L.MSG_ERRQUEUE) then return nil end
  for _, cmsg in ipairs(mh:control()) do
    local exterr = cmsg:exterr()
    if exterr then return exterr end
  end
end

local function who(exterr) return exterr.offender and exterr.offender:addr() or "this machine" end

-- Sends one datagram.  Returns the length for the next one, or nil if the search is over.
local function probe(sock, size, headers)
  sock:error() -- clear a pending error of the last send: this send would fail with it
  sock:send(("x"):rep(size - headers))
  local exterr = next_error(sock)
  if not exterr then
    print(("%d bytes: nothing was said against it"):format(size))
  elseif exterr.errno == L.EMSGSIZE then
    print(("%d bytes: too long, %s takes %d"):format(size, who(exterr), exterr.info))
    return exterr.info < size and exterr.info or nil
  else
    print(("%d bytes: %s, says %s"):format(size, text(exterr.errno), who(exterr)))
  end
end

local sock, ai = open(HOST or fail "usage: errqueue.lua HOST [PORT [SECONDS]]", PORT)
local headers, size = HEADERS[ai:family()], 65535 -- no packet is longer
print("asking " .. tostring(ai))
while size do size = probe(sock, size, headers) end
sock:close()
