-- lifecycle-close: each descriptor is closed once, in any order; a new descriptor of the same number stays open; shutdown
-- comes first if asked for.
local L = require "llsocket"
local net = require "net"
local sys = require "sys"
local leak = require "leak"
local T = require("tap").plan(55)
local before = leak.count()
local socket = L.socket

local function collect() collectgarbage(); collectgarbage() end

-- closing
local s = assert(socket.new(net.addr()))
local fd = s:fd()
T.is(select("#", s:close()), 0, "close answers no values")
T.ok(not sys.is_open(fd), "the descriptor is gone")
T.is(s:fd(), -1, "fd() is -1")
T.is(tostring(s), "llsocket.socket: fd -1", "tostring works on a closed socket")
T.is(select("#", s:close()), 0, "a second close answers no values")
T.is(select("#", s:close(L.SHUT_RDWR)), 0, "nor does one with a flag")

-- the number's next owner
local other = assert(socket.new(net.addr()))
T.is(other:fd(), fd, "the next socket gets the number")
s:close()
T.ok(sys.is_open(fd), "closing the first again leaves it open")
s:close(L.SHUT_RDWR)
T.ok(sys.is_open(fd), "so does closing it with a flag")
s = nil -- luacheck: ignore
collect()
T.ok(sys.is_open(fd), "so does collecting it")
other:close()

-- an object of which the descriptor was closed behind its back
s = assert(socket.new(net.addr()))
sys.close(s:fd())
local err, e = s:close()
T.ok(type(err) == "string" and e == L.EBADF, "close tells when the descriptor was gone already")
T.is(select("#", s:close()), 0, "and is done with it")

-- every method of a closed socket answers EBADF in its own shape
local ai = net.addr()
local SHAPES = { -- how many values, and which is the text
  { "bind", 2, 1, ai }, { "listen", 2, 1 }, { "shutdown", 2, 1 }, { "connect", 3, 1, ai }, { "accept", 4, 2 },
  { "dup", 3, 2 }, { "unwrap", 3, 2 }, { "getsockname", 3, 2 }, { "getpeername", 3, 2 }, { "recvable", 3, 2, 0 },
  { "sendable", 3, 2 }, { "atmark", 3, 2 }, { "family", 3, 2 }, { "socktype", 3, 2 }, { "protocol", 3, 2 },
  { "error", 3, 2 }, { "cloexec", 3, 2 }, { "nonblock", 3, 2 },
}
local function gathered(...) return { n = select("#", ...), ... } end
for _, row in ipairs(SHAPES) do
  local method, n, text, arg = row[1], row[2], row[3], row[4]
  local got = gathered(s[method](s, arg))
  T.ok(got.n == n and got[n] == L.EBADF and type(got[text]) == "string", method .. " on a closed socket: EBADF")
end
T.is(select(2, s:bind()), L.EBADF, "bind() without an address on a closed socket: EBADF")
T.is(select(3, s:connect()), L.EBADF, "connect() without an address on a closed socket: EBADF")

-- close(flag)
local a, b = net.pair()
local copy = assert(a:dup())
a:send "last"
T.is(select("#", a:close(L.SHUT_WR)), 0, "close(SHUT_WR) answers no values")
T.is(b:recv(), "last", "bytes sent before the close arrive")
T.is(select("#", b:recv()), 0, "it ends the connection although a copy is open")
b:send "back"
T.is(copy:recv(), "back", "SHUT_WR leaves the other direction")
T.is(select("#", copy:close(L.SHUT_RDWR)), 0, "close(SHUT_RDWR) answers no values")
T.is(select("#", b:send "x"), 0, "and ends both directions")
b:close()
a, b = net.pair()
copy = assert(a:dup())
a:close()
copy:send "still"
T.is(b:recv(), "still", "close() alone leaves a copy's connection")
copy:close(); b:close()
s = assert(socket.new(net.addr()))
fd = s:fd()
err, e = s:close(L.SHUT_RDWR)
T.ok(type(err) == "string" and e == L.ENOTCONN, "a shutdown that fails is told: ENOTCONN")
T.ok(not sys.is_open(fd), "and the descriptor is closed in any case")
s = assert(socket.new(net.addr()))
for _, flag in ipairs { -1, 3, 0.5, 0/0, 2^32 } do
  T.is(select(2, s:close(flag)), L.EINVAL, ("close(%s): EINVAL"):format(flag))
end
T.is(pcall(s.close, s, "2"), false, "close of a string raises")
T.ok(sys.is_open(s:fd()), "and none of them closes")
s:close()

-- re-entrance: while close runs, something else closes the same socket and opens others
local function reentrant(flag)
  local x, y = net.pair()
  local number, opened, busy = x:fd(), {}, false
  jit.off()
  debug.sethook(function()
    if busy then return end
    busy = true
    x:close()
    opened[#opened + 1] = assert(socket.new(ai))
    busy = false
  end, "l")
  x:close(flag)
  debug.sethook()
  if jit.opt then jit.on() end
  local alive, reused = #opened > 0, false
  for _, sock in ipairs(opened) do
    alive = alive and sys.is_open(sock:fd())
    reused = reused or sock:fd() == number
    sock:close()
  end
  y:close()
  return alive, reused
end
local was = jit.status()
local alive, reused = reentrant()
T.ok(alive, "a close during close does not close another descriptor")
T.ok(reused, "the number was in use again before the outer close ended")
T.ok((reentrant(L.SHUT_RDWR)), "nor does one during close(flag)")
if not was then jit.off() end

-- the collector frees numbers while loops close by hand
local wrong = 0
for i = 1, 400 do
  local x, y = net.pair()
  if i % 2 == 0 then x:close() else x = nil end -- luacheck: ignore
  if i % 50 == 0 then collectgarbage "step" end
  local number = y:fd()
  y:close()
  if sys.is_open(number) then wrong = wrong + 1 end
end
T.is(wrong, 0, "a close is a close while the collector closes others")

-- the stack ends in the middle of a close: the socket still has its descriptor then, and can be closed
local function nothing() end
local function deep(depth, fn)
  if depth == 0 then return fn() end
  local answer = deep(depth - 1, fn)
  return answer
end
jit.off(deep) -- what is compiled has other frames
local deepest, raised, lost = 0, 0, 0
for step = 16, 0, -1 do
  while pcall(deep, deepest + 2^step, nothing) do deepest = deepest + 2^step end
end

-- Closes at that depth, with so many slots of the stack taken besides.
local function end_at(depth, sock, slots)
  local function end_it(...) return sock:close(L.SHUT_RDWR), ... end -- the arguments lie below its frame
  local function end_below() return end_it(unpack({}, 1, slots)) end
  jit.off(end_it); jit.off(end_below)
  return pcall(deep, depth, end_below)
end
collect()
collectgarbage "stop" -- LuaJIT drops a finaliser that finds no stack
for i = 0, 20 * 12 - 1 do
  local sock = assert(socket.new(net.addr()))
  local number = sock:fd()
  if not end_at(deepest - math.floor(i / 12), sock, i % 12) then raised = raised + 1 end
  sock:close()
  if sys.is_open(number) then
    lost = lost + 1
    sys.close(number)
  end
end
collectgarbage "restart"
T.ok(raised > 0, ("a close finds no stack in %d of 240 places"):format(raised))
T.is(lost, 0, "and no descriptor is lost by that")
collect()
T.is(leak.count(), before, "no descriptor is left")
T.done()
