-- stream-connect: by name, by address, by path; the first of many addresses that answers; time limits.
local L = require "llsocket"
local stream = require "llsocket.stream"
local resolve = require "llsocket.resolve"
local leak = require "leak"
local loops = require "loops"
local net = require "net"
local netns = require "netns"
local show = require("show").show
local sys = require "sys"

local T = require("tap").plan(24 + #loops.names * 8)
loops.settle()
local before = leak.count()

local listener = assert(stream.listen("127.0.0.1", 0))
local port = listener:getsockname():port()
T.is(listener:nonblock(), true, "listen makes a non-blocking socket")
T.is(listener:reuseaddr(), true, "with SO_REUSEADDR")

local function connected(...)
  local s, err = stream.connect(...)
  if not s then return tostring(err) end
  local peer = listener:accept()
  if peer then peer:close() end
  s:close()
  return peer and "connected" or "not accepted"
end

T.is(connected("127.0.0.1", port), "connected", "a numeric address and a port")
T.is(connected("127.0.0.1", tostring(port), 5), "connected", "the port as a string, with a time limit")
T.is(connected("localhost", port, 5), "connected", "a name")
local ai = listener:getsockname()
T.is(connected(ai), "connected", "an address")
T.is(connected(ai, 5), "connected", "with a time limit")
T.is(connected { ai }, "connected", "a list of addresses")

local dir = net.tmpdir()
local path_listener = assert(stream.listen(dir .. "/s"))
local s = assert(stream.connect(dir .. "/s", nil, 5))
T.is(s.sock:getpeername():addr(), dir .. "/s", "a path is a unix socket")
s:close()
T.is(show(stream.connect(dir .. "/none")), show(nil, "No such file or directory", L.ENOENT), "a path that is not there is ENOENT")
path_listener:close()

-- A full backlog: the kernel says EAGAIN, and connect asks again.
path_listener = assert(stream.listen(dir .. "/t", nil, 1))
local full = {}
local none, _, e
local start
repeat
  start = sys.clock()
  none, _, e = stream.connect(dir .. "/t", nil, 0.05)
  full[#full + 1] = none
until not none or #full == 100
T.is(show(none, e), show(nil, L.ETIMEDOUT), "a unix backlog that stays full is timed out")
T.ok(sys.clock() - start < 2, "in time")
for _, each in ipairs(full) do each:close() end
path_listener:close()

-- Nobody listens there.
local gone = assert(stream.listen("127.0.0.1", 0))
local closed = gone:getsockname()
gone:close()
T.is(show(stream.connect(closed)), show(nil, "Connection refused", L.ECONNREFUSED), "a refused connection is ECONNREFUSED")
T.is(connected { closed, closed, ai }, "connected", "the next address is tried at once")
T.is(show(stream.connect { closed, closed }), show(nil, "Connection refused", L.ECONNREFUSED), "the last error is told")
T.is(show(stream.connect {}), show(nil, "Invalid argument", L.EINVAL), "an empty list is EINVAL")
T.is(show(stream.connect("127.0.0.1", port, -1)), show(nil, "Invalid argument", L.EINVAL), "so is a negative time")
T.is(select(3, stream.connect("name.invalid.", port, 20)) ~= nil, true, "a name without an address is told by EAI_*")

-- Names go where the program sets it; numeric addresses do not.
local asked = {}
resolve.set(function(...)
  asked[#asked + 1] = show(...)
  return { closed, ai }
end)
T.is(connected("some.name", port), "connected", "resolve.set looks up names for connect")
T.is(connected("127.0.0.1", port), "connected", "a numeric address needs it not")
T.is(table.concat(asked, ";"), ("nil, some.name, %d, %d, nil, nil"):format(port, L.SOCK_STREAM),
  "it gets getaddrinfo's arguments behind the seconds")
resolve.set(function() return nil, "slow", L.EAI_SYSTEM, L.ETIMEDOUT end)
T.is(show(stream.connect("some.name", port, 1)), show(nil, "slow", L.EAI_SYSTEM, L.ETIMEDOUT), "its errors are connect's")
resolve.set()

local function error_of(fn, ...) return (select(2, pcall(fn, ...))) end
T.ok(error_of(stream.connect):find("bad argument #1 to 'connect' (string expected, got nil)", 1, true), "connect wants a host")
listener:close()

-- In every loop, in a network of our own where packets to one family vanish.
local inside, why = netns.enter()
local BLACK6, BLACK4
if inside then
  netns.ip "link set lo up"
  netns.ip "link add hole type veth peer name void"
  netns.ip "link set void up"
  netns.ip "link set hole arp off up"
  netns.ip "addr add 2001:db8::1/64 dev hole nodad"
  netns.ip "addr add 198.51.100.1/24 dev hole"
  BLACK6 = assert(L.inet.getaddrinfo("2001:db8::2", "80"))[1]
  BLACK4 = assert(L.inet.getaddrinfo("198.51.100.2", "80"))[1]
end

local function timed(fn, ...)
  local from = sys.clock()
  local result = show(fn(...))
  return sys.clock() - from, result
end

-- The shortest time of a few: what the machine does besides may delay one, but not each.  `enough` needs no other try.
local function quickest(enough, fn)
  local least = math.huge
  for _ = 1, 5 do
    least = math.min(least, (timed(fn)))
    if least < enough then break end
  end
  return least
end

local function in_loop(loop)
  local lst = assert(stream.listen("127.0.0.1", 0))
  local there = lst:getsockname()
  local took, result, early, raced, tail, refused
  loop.spawn(function()
    took, result = timed(function() return (select(3, stream.connect(BLACK6, 0.1))) end)
    early = quickest(0.3, function() local c = assert(stream.connect({ BLACK6, there }, 5)); c:close() end)
    raced = timed(function() local c = assert(stream.connect({ there, BLACK4, BLACK6 }, 5)); c:close() end)
    tail = select(3, stream.connect({ BLACK6, BLACK4 }, 0.6))
    refused = quickest(0.1, function() local c = assert(stream.connect({ closed, there }, 5)); c:close() end)
  end)
  loop.run()
  T.is(result, tostring(L.ETIMEDOUT), loop.name .. ": a black hole is ETIMEDOUT")
  T.ok(took >= 0.1 and took < 2, ("%s: when the time has run out: %.3f s of 0.1"):format(loop.name, took))
  if L.EPOLLIN or L.EV_ADD then
    T.ok(early >= 0.249 and early < 0.4, ("%s: a family that is black-holed costs 250 ms: %.3f s"):format(loop.name, early))
    T.ok(raced >= 0.249 and raced < 2, ("%s: IPv6 is tried first, then the families in turn: %.3f s"):format(loop.name, raced))
  else
    T.skip(2, "a poller over poll(2) has no descriptor to wait for, so one address is tried after the other")
  end
  T.is(tail, L.ETIMEDOUT, loop.name .. ": two black holes are ETIMEDOUT")
  T.ok(refused < 0.2, ("%s: after a refusal the next attempt begins at once: %.3f s"):format(loop.name, refused))

  -- Many at once: a third hang, a third are refused.
  local n, right = 300, 0
  local from = sys.clock()
  for i = 1, n do
    loop.spawn(function()
      local target = i % 3 == 0 and BLACK4 or i % 3 == 1 and closed or there
      local c, _, no = stream.connect(target, 0.3)
      local want = i % 3 == 0 and L.ETIMEDOUT or i % 3 == 1 and L.ECONNREFUSED or nil
      if no == want and (c ~= nil) == (want == nil) then right = right + 1 end
      if c then c:close() end
    end)
  end
  loop.run()
  T.is(right, n, loop.name .. ": of 300 connects at once a third hang, a third are refused, a third succeed")
  T.ok(sys.clock() - from < 3, ("%s: in the time of one: %.3f s"):format(loop.name, sys.clock() - from))
  lst:close()
end

for _, name in ipairs(loops.names) do
  local loop, reason = loops.open(name)
  if loop and inside then
    L.wait.set(loop.wait)
    in_loop(loop)
    L.wait.set()
  else T.skip(8, reason or why) end
end

net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
