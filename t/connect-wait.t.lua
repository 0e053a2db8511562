-- connect-wait: recvable and sendable: readiness, time-outs, signals, errors, bad values.
local L = require "llsocket"
local net = require "net"
local signals = require "signals"
local standin = require "standin"
local sys = require "sys"
local leak = require "leak"
local T = require("tap").plan(58)
local before = leak.count()
local socket = L.socket

local function refused(want, name, ...)
  local n, none, err, e = select("#", ...), ...
  T.ok(n == 3 and none == nil and type(err) == "string" and e == want, name)
end

-- readiness
local a, b = net.pair()
T.is(a:recvable(0), false, "nothing to receive: false")
T.is(select("#", a:recvable(0)), 1, "and nothing more")
T.is(a:sendable(0), true, "capacity to send: true")
T.is(a:sendable(), true, "without a time it answers as soon as it can")
b:send "x"
T.is(a:recvable(0), true, "something to receive: true")
T.is(a:recvable(), true, "without a time too")
T.is(a:recvable(5), true, "it does not consume the data")
a:recv()
T.is(a:recvable(0), false, "taken: false")
a:nonblock(true)
repeat local _, _, again = a:send(("x"):rep(65536)) until again and a:sendable(0) == false
T.is(a:sendable(0), false, "a full buffer: not sendable")
T.is(b:recvable(0), true, "the other end has something")
while b:recv(65536, L.MSG_DONTWAIT) do end -- luacheck: ignore
T.is(a:sendable(1), true, "an empty one: sendable")
b:close()
T.is(a:recvable(0), true, "the end is something to receive")
T.is(a:sendable(0), true, "a closed peer does not make a sender wait")
T.is(select("#", a:recv()), 0, "and it is the end")
a:close()
local listener, ai = net.listener()
T.is(listener:recvable(0), false, "a listener without a connection is not recvable")
local client = assert(socket.new(ai))
client:connect()
T.is(listener:recvable(1), true, "with one it is")
local server = listener:accept()
T.is(listener:recvable(0), false, "accepted: it is not")
client:linger(0)
client:close()
T.is(server:recvable(1), true, "a reset makes a socket recvable")
T.is(server:error(), L.ECONNRESET, "and error() tells it")
server:close()
listener:close()

-- time-outs
a, b = net.pair()
for _, sec in ipairs { 0, 0.05, 0.0301, 0.0005, 1e-9 } do
  local start = sys.clock()
  T.is(a:recvable(sec), false, ("recvable(%g) runs out"):format(sec))
  local took = sys.clock() - start
  T.ok(took >= sec and took < sec + 5, ("recvable(%g) waits so long"):format(sec))
end
local start = sys.clock()
a:recvable(0.0005)
T.ok(sys.clock() - start >= 0.001, "a part of a millisecond is rounded up")
for _ = 1, 5 do b:send "y" end
T.is(a:recvable(2^31 - 1), true, "a very long time is allowed")
T.is(a:recvable(2^31 - 0.5), true, "up to 2^31 seconds")

-- bad values
for _, sec in ipairs { -1, -0.001, 0/0, 1/0, -1/0, 2^31, 2^53, 2^63 } do
  refused(L.EINVAL, ("recvable(%g): EINVAL"):format(sec), a:recvable(sec))
end
refused(L.EINVAL, "sendable(-1): EINVAL", a:sendable(-1))
T.is(pcall(a.recvable, a, "1"), false, "a string raises")
T.is(pcall(a.sendable, a, true), false, "a boolean raises")

-- signals
a:recv()
signals.alarm(50000)
start = sys.clock()
refused(L.EINTR, "a signal: nil, err, EINTR", a:recvable(30))
T.ok(sys.clock() - start < 10, "at once")
refused(L.EINTR, "without a time too", a:recvable())
signals.alarm(0)

-- no descriptor
sys.close(a:fd())
refused(L.EBADF, "a descriptor closed by close(2) itself: EBADF", a:recvable(0))
a:unwrap()
refused(L.EBADF, "a closed socket: EBADF", a:recvable(0))
refused(L.EBADF, "a closed socket, sendable: EBADF", a:sendable())
b:close()

-- longer than the kernel can wait at once, with a kernel of which all that time runs out at once
local waits = {}
local function run_out(milliseconds)
  waits[#waits + 1] = milliseconds
  return 0
end
local M = standin.load({}, {
  llsocket2_poll = function(_, _, milliseconds) return run_out(milliseconds) end,
  llsocket2_epoll_wait = function(_, _, _, milliseconds) return run_out(milliseconds) end,
})
local function total()
  local sum, most = 0, 0
  for _, milliseconds in ipairs(waits) do sum, most = sum + milliseconds, math.max(most, milliseconds) end
  return sum, most
end
local sock, poller = assert(M.socket.pair(M.SOCK_STREAM))[1], assert(M.poll.new(M.EPOLLIN and "epoll" or "poll"))
local WAYS = {
  { "recvable", function(sec) return sock:recvable(sec) == false end },
  { "a poller's wait", function(sec) return poller:wait(sec) == 0 end },
}
for _, way in ipairs(WAYS) do
  local name, wait = way[1], way[2]
  for _, sec in ipairs { 0, 5, 2147483.647 } do
    waits = {}
    T.ok(wait(sec) and #waits == 1 and waits[1] == sec * 1000, ("%s of %.3f s is one call"):format(name, sec))
  end
  local short = 0
  for _, sec in ipairs { 2147483.648, 1e7, 2^31 - 1e-3 } do
    waits = {}
    local out, sum, most = wait(sec), total()
    if not out or sum < sec * 1000 or sum > sec * 1000 + 2 or most > 2^31 - 1 then short = short + 1 end
  end
  T.is(short, 0, name .. " of more than 24 days lasts as long as was asked")
end
sock:close(); poller:close(); sock = nil
T.is(leak.count(), before, "no descriptor is left")
T.done()
