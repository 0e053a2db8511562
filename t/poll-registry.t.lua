-- poll-registry: adding and removing 100,000 times, in any order, leaves nothing behind; the pipe that replaces an eventfd.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local pollers = require "pollers"
local proc = require "proc"
local poll, seen = L.poll, pollers.seen

local before = leak.count()
local T = require("tap").plan(#pollers.names * 10 + 2)

local function kilobytes()
  collectgarbage(); collectgarbage()
  return collectgarbage "count"
end

local function again_and_again(name)
  local p, a, b = assert(poll.new(name)), net.pair()
  b:send "x"
  local function rounds(n)
    local wrong = 0
    for i = 1, n do
      if not (p:add(a, "r", i) and p:remove(a)) then wrong = wrong + 1 end
    end
    return wrong
  end
  rounds(1000)
  local memory = kilobytes()
  T.is(rounds(100000), 0, name .. ": 100,000 adds and removes all succeed")
  T.ok(kilobytes() - memory < 64, name .. ": without a trace in memory")
  T.is(seen(p), "", name .. ": and in the poller")
  assert(p:add(a, "r", "a"))
  for i = 1, 1000 do assert(p:modify(a, i % 2 == 0 and "r" or "w")) end
  T.is(seen(p), "a:r", name .. ": after 1,000 changes the last one counts")
  a:close(); b:close(); p:close()
end

-- Many at once, removed in a mixed order: each that is left is told, and no other.
local function mixed(name)
  local p, socks, left, wrong = assert(poll.new(name)), {}, {}, 0
  for i = 1, 300 do
    local a, b = net.pair()
    socks[i], left[i] = { a, b }, true
    assert(p:add(a, i % 3 == 0 and "ro" or "r", i))
  end
  local order = 7
  for step = 1, 300 do
    order = (order * 31 + 17) % 307
    local i = order
    if left[i] then
      if step % 2 == 0 then assert(p:remove(socks[i][1])) else socks[i][1]:close() end
      left[i] = nil
    end
  end
  local expected = 0
  for i in pairs(left) do
    socks[i][2]:send "x"
    expected = expected + 1
  end
  T.is(p:wait(1), expected, ("%s: after mixed removals the remaining %d are reported"):format(name, expected))
  for k = 1, expected do if not left[p:event(k)] then wrong = wrong + 1 end end
  T.is(wrong, 0, name .. ": and no other")
  for i in pairs(left) do assert(p:remove(socks[i][1])) end -- a third of them disarmed
  T.is(p:wait(0), 0, name .. ": after removal none is reported")
  for _, pair in ipairs(socks) do pair[1]:close(); pair[2]:close() end
  p:close()
end

-- One socket in many pollers, many pollers at once.
local function shared(name)
  local a, b = net.pair()
  local list, told = {}, 0
  for i = 1, 20 do
    list[i] = assert(poll.new(name))
    assert(list[i]:add(a, "r", i))
  end
  b:send "x"
  for i, p in ipairs(list) do if seen(p) == i .. ":r" then told = told + 1 end end
  T.is(told, 20, name .. ": a socket may be in 20 pollers")
  local copy = assert(a:dup())
  a:close()
  for _, p in ipairs(list) do told = told - p:wait(0) end
  T.is(told, 20, name .. ": closing takes it out of all")
  local first = list[1]
  assert(first:add(copy, "r", "copy"))
  T.is(seen(first), "copy:r", name .. ": they go on with others")
  for _, p in ipairs(list) do p:close() end
  copy:close(); b:close()
end

for _, name in ipairs(pollers.names) do again_and_again(name); mixed(name); shared(name) end

-- Systems without eventfd(2) wake through a pipe.
local SCRIPT = [[
require("llsocket.core.const").EFD_CLOEXEC = nil
local leak, sys = require "leak", require "sys"
local before = leak.count()
local p = assert(require("llsocket").poll.new())
local fd = p:wakefd()
assert(leak.count() == before + (p:fd() < 0 and 2 or 3) and sys.is_cloexec(fd) and sys.is_nonblock(fd))
for _ = 1, 100000 do assert(p:wake()) end
assert(p:wait(5) == 0)
local start = sys.clock()
assert(p:wait(0.02) == 0 and sys.clock() - start >= 0.019, "wake-ups are left over")
assert(p:wake() and p:wait(5) == 0)
p:close()
assert(leak.count() == before and p:wakefd() == -1)
print "woken"
]]
T.is(proc.lua(SCRIPT), "woken\n", "a pipe wakes on systems without eventfd")
T.is(leak.count(), before, "no descriptor is left")
T.done()
