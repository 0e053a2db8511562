-- udpecho: each datagram comes back, the empty and the longest too; a sender that has closed does not stop it.
local L = require "llsocket"
local example = require "example"
local leak = require "leak"
local net = require "net"
local T = require("tap").plan(11)
local before = leak.count()

local function address(line)
  local host, port = line:match "^listening on %[?([%x.:]-)%]?:(%d+)$"
  return host and L.inet.getaddrinfo(host, port, L.SOCK_DGRAM)[1]
end

-- What comes back for a message, and from where.
local function ask(sock, msg, ai)
  sock:sendto(msg, ai)
  if not sock:recvable(5) then return "nothing" end
  local back, from = sock:recvfrom(65536)
  return back, tostring(from)
end

local child, line = example.start("udpecho", "0")
local ai = address(line)
T.ok(ai, "it says where it listens: " .. line)
local sock, name = net.bound(L.AF_INET, L.SOCK_DGRAM)
local back, from = ask(sock, "hello", ai)
T.is(back, "hello", "a datagram comes back")
T.is(from, tostring(ai), "from where it was sent to")
T.is(ask(sock, "", ai), "", "an empty datagram comes back")
local bytes = ("0123456789abcdef"):rep(4096):sub(1, 65507)
T.ok(ask(sock, bytes, ai) == bytes, "the longest datagram comes back whole")

local gone = net.bound(L.AF_INET, L.SOCK_DGRAM)
gone:sendto("nobody waits for this", ai)
gone:close()
T.is(ask(sock, "still there?", ai), "still there?", "a sender that has closed does no harm")
local log = example.stop(child)
T.ok(log:find("5 bytes from " .. tostring(name) .. " sent back\n", 1, true), "it prints the size and the sender")
sock:close()

local _, ok = example.run("udpecho", "70000")
T.ok(not ok, "a port that cannot be is refused")
local text
text, ok = example.run("udpecho", "0 192.0.2.77")
T.ok(not ok and text:find "^udpecho: 192%.0%.2%.77:0: %u", "an address of another machine is refused with the reason")

local listener6 = L.socket.new(net.addr(L.AF_INET6, L.SOCK_DGRAM))
if listener6 and not listener6:bind() then
  child, line = example.start("udpecho", "0 ::1")
  sock = net.bound(L.AF_INET6, L.SOCK_DGRAM)
  T.is(ask(sock, "sechs", address(line)), "sechs", "it serves IPv6")
  example.stop(child)
  sock:close()
else T.skip(1, "this machine has no ::1") end
if listener6 then listener6:close() end

T.is(leak.count(), before, "no descriptor is left")
T.done()
