-- udpecho.lua [PORT [HOST]] -- sends every datagram back to where it came from.
--
-- PORT is 7777 where none is given, and 0 lets the kernel choose; HOST is 127.0.0.1, "::" is every address.
local L = require "llsocket"

local SIZE = 65535 -- longer than any UDP datagram, so that none is cut

local function fail(...)
  io.stderr:write("udpecho: ", string.format(...), "\n")
  os.exit(1)
end

local function open(host, port)
  local list, err = L.inet.getaddrinfo(host, port, L.SOCK_DGRAM)
  if not list then fail("%s port %s: %s", host, port, err) end
  local sock = assert(L.socket.new(list[1]))
  err = sock:bind()
  if err then fail("%s: %s", tostring(list[1]), err) end
  return sock
end

-- Who forges the sender can set two servers upon each other, or one upon itself, and one datagram goes round for ever.
-- Servers have low ports, and clients get theirs from 10000 (FreeBSD), 32768 (Linux) or 49152 (IANA) on.
local function is_client(from, port) return from:port() >= 10000 and from:port() ~= port end

-- A send may fail, as to a port that is closed by now; that is no reason to stop.
local function echo(sock, port)
  local msg, from, err, again = sock:recvfrom(SIZE)
  if not msg then return again or print("recvfrom: " .. err) end
  if not is_client(from, port) then return print("no answer to a server's port: " .. tostring(from)) end
  local n
  n, err = sock:sendto(msg, from)
  print(("%d bytes from %s %s"):format(#msg, tostring(from), n and "sent back" or "not sent back: " .. tostring(err)))
end

local sock = open(arg[2] or "127.0.0.1", arg[1] or "7777")
io.stdout:setvbuf "line"
local ours = sock:getsockname()
print("listening on " .. tostring(ours))
while true do echo(sock, ours:port()) end
