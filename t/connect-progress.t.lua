-- connect-progress: connections under way, refused, timed out, interrupted, already there.
--
-- The black hole is a listener on the loopback whose queue is full: Linux drops the SYN.
local L = require "llsocket"
local net = require "net"
local signals = require "signals"
local sys = require "sys"
local leak = require "leak"
local T = require("tap").plan(40)
local before = leak.count()
local socket = L.socket

local function gathered(...) return { n = select("#", ...), ... } end

local function under_way(name, ...)
  local got = gathered(...)
  T.ok(got.n == 3 and got[1] == nil and got[2] == true and got[3] == L.EINPROGRESS, name)
end

local function refused(want, again, name, ...)
  local got = gathered(...)
  T.ok(got.n == 3 and type(got[1]) == "string" and got[2] == again and got[3] == want, name)
end

-- A listener whose queue is full, its address, and the clients in the queue.
local function black_hole()
  local listener = net.bound(L.AF_INET, L.SOCK_STREAM)
  assert(not listener:listen(1))
  local ai, clients = listener:getsockname(), {}
  for i = 1, 4 do
    local client = assert(socket.new(ai, true))
    clients[i] = client
    client:connect()
    if not client:sendable(0.1) then break end
  end
  local full = clients[#clients]:sendable(0) == false
  return listener, ai, clients, full
end

local function close_all(list)
  for _, sock in ipairs(list) do sock:close() end
end

-- blocking
local listener, ai = net.listener()
local s = assert(socket.new(ai))
T.is(select("#", s:connect()), 0, "a blocking connect that succeeds answers no values")
T.is(tostring(s:getpeername()), tostring(ai), "the peer is the listener")
refused(L.EISCONN, false, "a second connect: err, false, EISCONN", s:connect())
s:close()
listener:accept():close()
refused(L.EBADF, false, "connect of a closed socket: err, false, EBADF", s:connect(ai))

-- non-blocking
s = assert(socket.new(ai, true))
under_way("a non-blocking connect: nil, true, EINPROGRESS", s:connect())
T.is(s:sendable(5), true, "it becomes sendable")
T.is(s:error(), 0, "error() is 0 when it succeeded")
T.is(tostring(s:getpeername()), tostring(ai), "the peer is the listener")
local server = assert(listener:accept())
s:send "hi"
T.is(server:recv(), "hi", "and it carries bytes")
server:close(); s:close()
listener:close()

-- refused: the port is bound, but nobody listens
local bound, nobody = net.bound()
s = assert(socket.new(nobody))
refused(L.ECONNREFUSED, false, "a blocking connect to nobody: err, false, ECONNREFUSED", s:connect())
s:close()
s = assert(socket.new(nobody, true))
under_way("a non-blocking one is under way", s:connect())
T.is(s:sendable(5), true, "and becomes sendable")
T.is(s:error(), L.ECONNREFUSED, "error() tells the refusal")
T.is(s:error(), 0, "and clears it")
s:close()
bound:close()

-- the black hole
local hole, there, clients, full = black_hole()
T.is(full or not sys.linux, true, "the queue is full")
if full then
  s = assert(socket.new(there))
  s:sndtimeo(0.2)
  local start = sys.clock()
  refused(L.EINPROGRESS, false, "a blocking connect that times out: err, false, EINPROGRESS", s:connect())
  local took = sys.clock() - start
  T.ok(took > 0.15 and took < 5, "after sndtimeo")
  T.is(select(3, s:getpeername()), L.ENOTCONN, "and it is not connected")
  s:nonblock(true)
  refused(L.EALREADY, true, "another connect, non-blocking: err, true, EALREADY", s:connect())
  T.is(s:sendable(0), false, "it is not sendable")
  s:close()

  s = assert(socket.new(there))
  s:sndtimeo(0.1)
  s:connect()
  refused(L.EALREADY, true, "another connect, blocking, times out as EALREADY: err, true, EALREADY", s:connect())
  s:close()

  s = assert(socket.new(there, true))
  s:sndtimeo(0.1)
  under_way("non-blocking, a time-out plays no part", s:connect())
  sys.set_nonblock(s:fd(), false)
  s:close()
  s = assert(socket.new(there))
  sys.set_nonblock(s:fd(), true)
  under_way("O_NONBLOCK set by somebody else counts", s:connect())
  s:close()

  s = assert(socket.new(there, true))
  s:sndtimeo(0.1)
  local copy = assert(s:dup())
  copy:nonblock(false)
  refused(L.EINPROGRESS, false, "O_NONBLOCK cleared through a copy counts: a time-out is an error", s:connect())
  copy:close(); s:close()

  -- interrupted
  s = assert(socket.new(there))
  start = sys.clock()
  signals.alarm(100000)
  local got = gathered(s:connect())
  signals.alarm(0)
  took = sys.clock() - start
  refused(L.EINTR, true, "a signal during connect: err, true, EINTR", unpack(got, 1, got.n))
  T.ok(took > 0.05 and took < 5, "at once")
  T.is(s:sendable(0), false, "the connection is under way")
  s:nonblock(true)
  refused(L.EALREADY, true, "so that a second connect is EALREADY", s:connect())
  for i = 1, 2 do clients[#clients + 1] = assert(hole:accept(), i) end
  T.is(s:sendable(10), true, "it continues by itself, and ends when the backlog has a free slot")
  T.is(s:error(), 0, "well")
  T.is(tostring(s:getpeername()), tostring(there), "connected")
  s:close()
else
  T.skip(16, "this system does not drop connections for which there is no room")
end
close_all(clients)
hole:close()

-- unix: a full backlog
local path = net.tmpdir() .. "/s"
local name = L.unix.getaddrinfo(path)[1]
listener = assert(socket.new(name))
assert(not listener:bind() and not listener:listen(1))
clients = {}
local answer
for i = 1, 10 do
  clients[i] = assert(socket.new(name, true))
  answer = gathered(clients[i]:connect())
  if answer.n > 0 then break end
end
refused(L.EAGAIN, true, "a non-blocking connect to a full unix backlog: err, true, EAGAIN", unpack(answer, 1, answer.n))
T.is(select(3, clients[#clients]:getpeername()), L.ENOTCONN, "nothing is under way")
server = assert(listener:accept())
T.is(select("#", clients[#clients]:connect()), 0, "once there is room the same socket connects, at once")
server:close()
s = assert(socket.new(name))
s:sndtimeo(0.1)
refused(L.EAGAIN, true, "a blocking one that times out: err, true, EAGAIN", s:connect())
sys.set_nonblock(s:fd(), false)
s:sndtimeo(0)
signals.alarm(100000)
answer = gathered(s:connect())
signals.alarm(0)
refused(L.EINTR, true, "a signal during a blocking unix connect: err, true, EINTR", unpack(answer, 1, answer.n))
s:close()
close_all(clients)
listener:close()
refused(L.ECONNREFUSED, false, "a unix socket that nobody listens on: err, false, ECONNREFUSED", socket.new(name):connect())

-- other errors
s = assert(socket.new(ai))
refused(L.EAFNOSUPPORT, false, "an address of another family: err, false, EAFNOSUPPORT", s:connect(
  assert(L.inet.getaddrinfo6("::1", "80"))[1]))
s:close()
listener = net.listener()
refused(L.EISCONN, false, "connect of a listener: err, false, EISCONN", listener:connect(ai))
listener:close()
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
