-- connect-scope: IPv6 link-local addresses keep their scope on the way in and out.  In a network namespace.
local L = require "llsocket"
local netns = require "netns"
local proc = require "proc"
local leak = require "leak"
local T = require("tap").plan(3)
local before = leak.count()
local socket = L.socket

local function at(text, socktype) return assert(L.inet.getaddrinfo6(text, "0", socktype))[1] end

local function is(got, want, what)
  if got ~= want then error(("%s: got %s, want %s"):format(what, tostring(got), tostring(want)), 2) end
end

-- The kernel adds the route to a new address a little later than the address.
local function settle()
  for _ = 1, 500 do
    if netns.ip("-6 route show table local dev lo"):find("local fe80::1 ", 1, true) then return end
    proc.run "sleep 0.01"
  end
  error "the address has no route"
end

-- Runs fn in a namespace of which the loopback has a link-local address.
local function inside(name, fn)
  local SKIP = 77
  local child = proc.fork(function()
    if not netns.enter() then return SKIP end
    netns.ip "link set lo up"
    if not select(2, netns.try "addr add fe80::1/64 dev lo nodad") then return SKIP end
    settle()
    fn()
  end)
  local status = proc.wait(child)
  if status == SKIP then return T.skip(1, "no namespace with a link-local address may be made here") end
  T.is(status, 0, name)
end

inside("a stream keeps the scope on every end", function()
  local listener = assert(socket.new(at "fe80::1%lo"))
  is(listener:bind(), nil, "bind")
  listener:listen()
  local ai = listener:getsockname()
  is(ai:addr(), "fe80::1%lo", "getsockname")
  is(tostring(ai), ("[fe80::1%%lo]:%d"):format(ai:port()), "tostring")
  local client = assert(socket.new(ai))
  is(client:connect(), nil, "connect to an address that was read back")
  is(client:getpeername():addr(), "fe80::1%lo", "getpeername")
  is(client:getsockname():addr(), "fe80::1%lo", "getsockname of the client")
  local server = assert(listener:accept())
  is(tostring(server:getpeername()), tostring(client:getsockname()), "getpeername of the server")
  is(server:getsockname():addr(), "fe80::1%lo", "getsockname of the server")
  client:send "x"
  is(server:recv(), "x", "bytes")
  server:close(); client:close(); listener:close()
end)

inside("a datagram's sender keeps it, and without a scope a bind is refused", function()
  local here = assert(socket.new(at("fe80::1%lo", L.SOCK_DGRAM)))
  local there = assert(socket.new(at("fe80::1%lo", L.SOCK_DGRAM)))
  here:bind(); there:bind()
  here:rcvtimeo(10); there:rcvtimeo(10)
  here:sendto("x", there:getsockname())
  local _, from = there:recvfrom()
  is(from:addr(), "fe80::1%lo", "recvfrom")
  there:sendto("y", from)
  is(here:recv(), "y", "the answer")
  here:close(); there:close()
  local s = assert(socket.new(at "fe80::1"))
  is(select(2, s:bind()), L.EINVAL, "bind without a scope")
  s:close()
end)

T.is(leak.count(), before, "no descriptor is left")
T.done()
