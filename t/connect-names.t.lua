-- connect-names: getsockname and getpeername of internet sockets: the kernel's answer, each object its own.
local L = require "llsocket"
local net = require "net"
local leak = require "leak"
local T = require("tap").plan(52)
local before = leak.count()
local socket = L.socket

local FAMILIES = { { "IPv4", L.AF_INET, "127.0.0.1", "0.0.0.0" }, { "IPv6", L.AF_INET6, "::1", "::" } }

local function refused(want, name, ...)
  local n, none, err, e = select("#", ...), ...
  T.ok(n == 3 and none == nil and type(err) == "string" and e == want, name)
end

for _, row in ipairs(FAMILIES) do
  local name, family, loopback, any = row[1] .. ": ", row[2], row[3], row[4]
  local have, listener, ai = pcall(net.listener, family)
  if not have then T.skip(21, "no IPv6 on the loopback") break end
  T.is(ai:family(), family, name .. "the address has the socket's family")
  T.is(ai:socktype(), L.SOCK_STREAM, name .. "its type")
  T.is(ai:protocol(), L.IPPROTO_TCP, name .. "and its protocol")
  T.is(ai:addr(), loopback, name .. "the address that was bound")
  T.ok(ai:port() > 0, name .. "the port that port 0 became")
  T.ok(ai:port() ~= net.addr(family):port(), name .. "is not the constructor's")

  local s = assert(socket.new(net.addr(family)))
  T.is(s:getsockname():addr(), any, name .. "before bind the address is the wildcard")
  T.is(s:getsockname():port(), 0, name .. "and the port 0")
  refused(L.ENOTCONN, name .. "getpeername without a connection: ENOTCONN", s:getpeername())
  s:connect(ai)
  local server = assert(listener:accept())
  local mine, theirs = s:getsockname(), server:getpeername()
  T.is(mine:addr(), loopback, name .. "connect chooses an address")
  T.ok(mine:port() > 0, name .. "and a port")
  T.is(tostring(theirs), tostring(mine), name .. "the server's peer is the client")
  T.is(tostring(s:getpeername()), tostring(ai), name .. "the client's peer is the listener")
  T.is(tostring(server:getsockname()), tostring(ai), name .. "the server's own address is the listener's")
  T.ok(tostring(server:getsockname()) ~= tostring(theirs), name .. "not its peer's")

  -- every answer is an object of its own
  local kept = {}
  for i = 1, 200 do kept[i] = { s:getsockname(), s:getpeername() } end
  collectgarbage(); collectgarbage()
  local wrong = 0
  for _, both in ipairs(kept) do
    if tostring(both[1]) ~= tostring(mine) or tostring(both[2]) ~= tostring(ai) then wrong = wrong + 1 end
  end
  T.is(wrong, 0, name .. "two hundred answers outlive the collector")
  s:close()
  T.is(mine:addr(), loopback, name .. "and the socket")
  T.is(tostring(theirs), tostring(mine), name .. "unchanged")
  refused(L.EBADF, name .. "getsockname of a closed socket: EBADF", s:getsockname())
  refused(L.EBADF, name .. "getpeername of a closed socket: EBADF", s:getpeername())

  -- the answer can be used
  local again = assert(socket.new(server:getsockname()))
  T.is(again:connect(), nil, name .. "an address that was read back can be connected to")
  again:close(); server:close(); listener:close()
end

-- datagrams
local u, at = net.bound(L.AF_INET, L.SOCK_DGRAM)
T.is(at:socktype(), L.SOCK_DGRAM, "a datagram socket's address has its type")
T.is(at:protocol(), L.IPPROTO_UDP, "and its protocol")
u:close()

-- an IPv4 peer on an IPv6 socket
local six = assert(L.inet.getaddrinfo6("::", "0"))[1]
local have, dual = pcall(function() return assert(socket.new(six)) end)
if have and not dual:bind() and dual:getsockopt(L.IPPROTO_IPV6, L.IPV6_V6ONLY, "boolean") == false then
  dual:listen()
  local c = assert(socket.new(net.addr(L.AF_INET, L.SOCK_STREAM, dual:getsockname():port())))
  T.is(c:connect(), nil, "an IPv4 client reaches a dual socket")
  local s = assert(dual:accept())
  T.is(s:getpeername():addr(), "::ffff:127.0.0.1", "and is a mapped address there")
  T.is(s:getpeername():port(), c:getsockname():port(), "with its port")
  T.is(s:getsockname():addr(), "::ffff:127.0.0.1", "as is the server's own")
  c:close(); s:close()
else
  T.skip(4, "no dual sockets here")
end
if have then dual:close() end

-- an address copied to a socket of another family tells what the kernel has
local s = assert(socket.new(net.addr()))
s:bind()
local copy = assert(s:dup(L.unix.getaddrinfo("x")[1]))
T.is(copy:getsockname():family(), L.AF_INET, "a copy under another family's name still tells the kernel's family")
T.is(tostring(copy:getsockname()), tostring(s:getsockname()), "and the kernel's address")
copy:close(); s:close()
u, at = net.bound(L.AF_INET, L.SOCK_DGRAM)
copy = assert(u:dup(L.unix.getaddrinfo("x", L.SOCK_DGRAM)[1]))
u:sendto("self", at)
T.is(tostring(select(2, copy:recvfrom())), tostring(at), "and the sender's")
copy:close(); u:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
