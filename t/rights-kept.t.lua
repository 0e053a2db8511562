-- rights-kept: sendfd and recvfd keep a message each: a call inside a call has its own, and the next sees nothing of the last.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local rights = require "rights"
local text = require("llsocket.errno").text
local values = require "values"
local show = values.show
local before = leak.count()
local T = require("tap").plan(17)

-- Sockets that are told apart by their port.
local function bound()
  local sock = assert(L.socket.new(net.addr(L.AF_INET, L.SOCK_DGRAM)))
  assert(not sock:bind())
  return sock, sock:getsockname():port()
end

local one, one_port = bound()
local two, two_port = bound()

local function port_of(sock)
  local port = sock and sock:getsockname():port()
  if sock then sock:close() end
  return port
end

local a, b = net.pair(L.SOCK_DGRAM)
local c, d = net.pair(L.SOCK_DGRAM)

-- Passes both descriptors; answers the ports of what arrived.
local function pass(from, to, sock)
  assert(from:sendfd(sock))
  return port_of((assert(to:recvfd())))
end

-- A hook runs at every instruction of the interpreter, within the library too.  A hook runs in no other hook.
local compiles = jit.status()
jit.off()
local inner, wrong = 0, 0
local function interrupt()
  inner = inner + 1
  if pass(c, d, two) ~= two_port then wrong = wrong + 1 end
end

local outer_wrong = 0
for _ = 1, 5 do
  assert(a:sendfd(one))
  debug.sethook(interrupt, "", 1)
  local sock = b:recvfd()
  debug.sethook()
  if port_of(sock) ~= one_port then outer_wrong = outer_wrong + 1 end
  debug.sethook(interrupt, "", 1)
  a:sendfd(one)
  debug.sethook()
  if port_of((b:recvfd())) ~= one_port then outer_wrong = outer_wrong + 1 end
end
T.ok(inner > 100, "a hook passes a descriptor at every instruction of a sendfd and of a recvfd")
T.is(wrong, 0, "each of the hook's arrives")
T.is(outer_wrong, 0, "and so does that of the call around it")

-- Finalisers run where memory is allocated.
local finalised = 0
local function litter()
  for _ = 1, 20 do
    local object = newproxy(true)
    getmetatable(object).__gc = function()
      finalised = finalised + 1
      if pass(c, d, two) ~= two_port then wrong = wrong + 1 end
    end
  end
end
for _ = 1, 50 do
  litter()
  assert(a:sendfd(one))
  collectgarbage "step"
  local sock = b:recvfd()
  collectgarbage "step"
  if port_of(sock) ~= one_port then outer_wrong = outer_wrong + 1 end
end
collectgarbage(); collectgarbage()
T.ok(finalised > 500, "finalisers pass descriptors meanwhile")
T.is(wrong + outer_wrong, 0, "and all arrive")

-- An error of a hook ends the call wherever it is.  Between recvmsg(2) and the note of what it wrote nothing could own the
-- descriptors, so the hook raises inside the functions of the kept message: before the receive, and after the note.
local base = rights.settled()
local raised, left = 0, 0
for at = 1, 60 do
  local seen = 0
  local function strike()
    if not debug.getinfo(2, "S").source:find("carrier", 1, true) then return end
    seen = seen + 1
    if seen == at then error "struck" end
  end
  debug.sethook(strike, "", 1)
  local sent = pcall(a.sendfd, a, one)
  debug.sethook()
  if not sent then a:sendfd(one) end
  seen = 0
  debug.sethook(strike, "", 1)
  local done, sock = pcall(b.recvfd, b)
  debug.sethook()
  if not (sent and done) then raised = raised + 1 end
  if done and sock then sock:close() end
  repeat
    local rest = b:recvfd(L.MSG_DONTWAIT) -- an error after the send, or before the receive
    if rest then rest:close() end
  until not rest
  if rights.settled() ~= base then left = left + 1 end
end
T.ok(raised > 10, ("an error in the middle ends %d of 60 calls"):format(raised))
T.is(left, 0, "and no descriptor is left of any")
T.is(pass(a, b, one), one_port, "the next call works as ever")
if compiles then jit.on() end

---------------------------------------------------- what the next one does not see

local path = net.tmpdir() .. "/s"
local named = assert(L.socket.new(L.unix.getaddrinfo(path, L.SOCK_DGRAM)[1]))
assert(not named:bind())
local loose = assert(L.socket.new(L.unix.getaddrinfo("", L.SOCK_DGRAM)[1]))
T.is(loose:sendfd(one, named:getsockname()), 1, "a descriptor is sent to an address")
T.is(port_of((named:recvfd())), one_port, "and arrives there")
local n, _, _, e = loose:sendfd(one)
T.ok(not n and (e == L.ENOTCONN or e == L.EDESTADDRREQ), "the next send has no address: " .. show(n, e))
T.is(show(named:recvfd(L.MSG_DONTWAIT)), show(nil, nil, true, L.EAGAIN), "and nothing arrives there")

base = rights.settled()
a:sendmsg(rights.message(one:fd(), 5))
a:send "plain"
T.is(port_of((b:recvfd())), one_port, "the first of five descriptors is received")
T.is(rights.open(), base, "and the others are closed at once")
T.is(show(b:recvfd()), show(nil, text(L.EBADMSG), false, L.EBADMSG), "the next message has none")

-- The object is given up although the message is kept.
local weak = setmetatable({}, { __mode = "v" })
do
  local sock = bound()
  weak[1] = sock
  a:sendfd(sock)
  port_of((b:recvfd()))
end
collectgarbage(); collectgarbage()
T.is(weak[1], nil, "the kept message does not keep what was sent")

for _, sock in ipairs { a, b, c, d, one, two, named, loose } do sock:close() end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
