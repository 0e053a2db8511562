-- stream-limits: time limits come when they should, the addresses of a name in their order, and no more clients than max.
local L = require "llsocket"
local stream = require "llsocket.stream"
local resolve = require "llsocket.resolve"
local leak = require "leak"
local loops = require "loops"
local net = require "net"
local show = require("show").show
local sys = require "sys"

local T = require("tap").plan(10 + #loops.names * 2)
loops.settle()
local before = leak.count()

-- The smallest delay of some time-outs: what the machine does besides may delay one, but not each.
local function least_delay(s)
  local least = math.huge
  for _ = 1, 20 do
    local start = sys.clock()
    s:deadline(0.02)
    local code = select(3, s:line())
    local late = sys.clock() - start - 0.02
    if code ~= L.ETIMEDOUT or late < 0 then return late end
    least = math.min(least, late)
    if least < 0.001 then break end
  end
  return least
end

local function check_delay(late, most, name)
  T.ok(late >= 0 and late < most, ("%s: a time limit is hit within %g ms: %.2f ms"):format(name, most * 1000, late * 1000))
end

-- Twelve clients at once, whose handlers stay for a while.
local function bounded(loop)
  local lst, now, most, served = assert(stream.listen("127.0.0.1", 0)), 0, 0, 0
  local ai = lst:getsockname()
  loop.spawn(function()
    stream.serve(lst, function(s)
      now, served = now + 1, served + 1
      most = math.max(most, now)
      s:line() -- until the client has gone
      now = now - 1
      if served == 12 then lst:close() end
    end, { max = 3, spawn = loop.spawn })
  end)
  for _ = 1, 12 do
    loop.spawn(function()
      local s = assert(stream.connect(ai, 5))
      local a, b = net.pair(L.SOCK_STREAM, true)
      a:recvable(0.05)
      a:close(); b:close()
      s:close()
    end)
  end
  loop.run()
  T.is(most .. " of " .. served, "3 of 12", loop.name .. ": max clients are served at once, and no more")
end

for _, name in ipairs(loops.names) do
  local loop, why = loops.open(name)
  if loop then
    L.wait.set(loop.wait)
    local a, b = net.pair(L.SOCK_STREAM, true)
    local late
    loop.spawn(function() late = least_delay(assert(stream.wrap(a))) end)
    loop.run()
    a:close(); b:close()
    check_delay(late, name == "copas" and 0.12 or 0.002, name)
    bounded(loop)
    L.wait.set()
  else T.skip(2, why) end
end
local a, b = net.pair(L.SOCK_STREAM, true)
check_delay(least_delay(assert(stream.wrap(a))), 0.002, "without a loop")
a:close(); b:close()

-- A peer that never stops sending.
local function ready() return true end
for _, case in ipairs { { "line", 2 ^ 31 - 1 }, { "exactly", 2 ^ 31 - 1 }, { "all" } } do
  local s = assert(stream.wrap {
    recv = function() return "x" end, send = ready, recvable = ready, sendable = ready, close = ready,
  })
  s:deadline(0.02)
  T.is(select(3, s[case[1]](s, case[2])), L.ETIMEDOUT, case[1] .. ": a peer that never stops does not extend a deadline")
end

-- The attempts to connect, in their order.
local new, tried, socks = L.socket.new, {}, {}
local function watched(ai, ...)
  tried[#tried + 1] = tostring(ai)
  local sock, err, e = new(ai, ...)
  socks[#socks + 1] = sock
  return sock, err, e
end
local function address(host, port) return assert(L.inet.getaddrinfo(host, port))[1] end
local has_six = stream.listen("::1", 0)
if has_six and (L.EPOLLIN or L.EV_ADD) then
  has_six:close()
  local list = { address("127.0.0.1", 1), address("127.0.0.2", 1), address("127.0.0.3", 1), address("::1", 1), address("::1", 2) }
  L.socket.new = watched
  local code = select(3, stream.connect(list, 5))
  L.socket.new = new
  T.is(code, L.ECONNREFUSED, "each address refuses")
  T.is(table.concat(tried, " "), "[::1]:1 127.0.0.1:1 [::1]:2 127.0.0.2:1 127.0.0.3:1",
    "IPv6 is tried first, then one address of each family in turn")
  local open = 0
  for _, sock in ipairs(socks) do open = open + (sock:fd() < 0 and 0 or 1) end
  T.is(open, 0, "and each attempt that lost is closed at once")
else
  if has_six then has_six:close() end
  T.skip(3, "no IPv6 here, or no descriptor of a poller to wait for")
end

-- The limit of connect holds for the name, too.
local given
resolve.set(function(sec)
  given = sec
  return nil, "none", L.EAI_NONAME
end)
T.is(show(stream.connect("some.name", 80, 5)), show(nil, "none", L.EAI_NONAME), "a name without an address")
T.ok(given > 4 and given <= 5, "the resolver gets what is left of the time")
resolve.set()
T.is(leak.count(), before, "no descriptor is left")
T.done()
