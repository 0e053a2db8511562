-- poll-time: time-outs to the millisecond and never early; signals interrupt; a wait without a limit lasts until it is woken.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local pollers = require "pollers"
local signals = require "signals"
local sys = require "sys"
local poll = L.poll

local before = leak.count()
local T = require("tap").plan(#pollers.names * 14 + 1)

local function took(p, sec)
  local start = sys.clock()
  local n, _, e = p:wait(sec)
  return sys.clock() - start, n, e
end

-- How long a wait takes at least: the shortest of a few, since other processes only lengthen it.
local function shortest(p, sec)
  local least = math.huge
  for _ = 1, 5 do least = math.min(least, (took(p, sec))) end
  return least
end

local function times(name)
  local p, a, b = assert(poll.new(name)), net.pair()
  assert(p:add(a, "r"))
  local least = shortest(p, 0.0201)
  T.ok(least >= 0.0209, ("%s: 20.1 ms are rounded up to 21, not %.4f s"):format(name, least))
  T.ok(least < 0.5, name .. ": and no more")
  least = shortest(p, 1e-9)
  T.ok(least >= 0.0009, ("%s: a nanosecond is a millisecond, not %.6f s"):format(name, least))
  least = shortest(p, 0)
  T.ok(least < 0.001, ("%s: 0 does not wait, not even %.6f s"):format(name, least))
  T.is(select(2, took(p, 0.001)), 0, name .. ": a time-out answers 0")
  b:send "x"
  local long, n = took(p, 2^31 - 1)
  T.ok(n == 1 and long < 60, name .. ": the longest time is accepted")
  for _, sec in ipairs { -1, -1e-9, 2^31, 0 / 0, math.huge } do
    T.is(select(3, took(p, sec)), L.EINVAL, ("%s: %s seconds are EINVAL"):format(name, sec))
  end
  a:close(); b:close(); p:close()
end

local function interrupted(name)
  local p = assert(poll.new(name))
  signals.alarm(20000)
  local n, err, e = p:wait(5)
  signals.alarm(0)
  T.ok(n == nil and type(err) == "string" and e == L.EINTR, name .. ": a signal interrupts it: EINTR")
  T.is(p:event(1), nil, name .. ": and then there are no events")
  T.is(p:wait(0), 0, name .. ": the poller works on")
  p:close()
end

for _, name in ipairs(pollers.names) do times(name); interrupted(name) end
T.is(leak.count(), before, "no descriptor is left")
T.done()
