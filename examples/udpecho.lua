-- udpecho.lua [PORT [HOST]] -- sends every datagram back to its sender.
--
-- PORT is 7777 by default; 0 lets the kernel choose.  HOST is 127.0.0.1 by default; "::" is every address.
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

-- Do not answer low ports: with a forged sender two echo servers, or one and itself, would send one datagram back and
-- forth for ever.  Servers have low ports; clients get ports from 10000 (FreeBSD), 32768 (Linux) or 49152 (IANA) on.
local function is_client(from, port) return from:port() >= 10000 and from:port() ~= port end

-- Do not stop when a send fails: the sender's port may be closed by now.
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
