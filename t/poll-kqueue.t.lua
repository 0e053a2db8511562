-- poll-kqueue: the changes that a kqueue gets, over a stand-in that behaves as FreeBSD's: an existing filter keeps
-- EV_CLEAR and EV_DISPATCH, so it is deleted before it is added with others.
local leak = require "leak"
local kqueue = require "kqueue"

local before = leak.count()
local L = kqueue.load(false)
local net = require "net"
local pollers = require "pollers"
local poll, seen = L.poll, pollers.seen
local T = require("tap").plan(37)

T.ok(table.concat(pollers.names, " "):find "kqueue", "the stand-in makes a kqueue a back-end")

-- What is told by a level, an edge and a one-shot in three waits, each after the same byte.
local function told(p) return seen(p) .. " " .. seen(p) .. " " .. seen(p) end
local LEVEL, ONCE = "a:r a:r a:r", "a:r  "
local TOLD = { r = LEVEL, re = ONCE, ro = ONCE, reo = ONCE }

for old in pairs { r = true, re = true, ro = true, reo = true } do
  for new, want in pairs(TOLD) do
    local p, a, b = assert(poll.new "kqueue"), net.pair()
    b:send "x"
    assert(p:add(a, old, "a"))
    if old ~= "r" then seen(p) end
    assert(p:modify(a, new))
    T.is(told(p), want, ("from %q to %q it is as if added so"):format(old, new))
    a:close(); b:close(); p:close()
  end
end

local function asked_by(fn)
  kqueue.changes = {}
  fn()
  return table.concat(kqueue.changes, ", ")
end

local p, a, b = assert(poll.new "kqueue"), net.pair()
T.is(asked_by(function() p:add(a, "rwe", "a") end), "ADD -1, ADD -2", "both directions are two filters")
T.is(asked_by(function() p:modify(a, "rw") end), "DELETE -1, ADD -1, DELETE -2, ADD -2",
  "edges to levels: both are added again")
T.is(seen(p) .. " " .. seen(p), "a:w a:w", "and it is a level")
T.is(asked_by(function() p:modify(a, "rw") end), "ADD -1, ADD -2", "nothing is deleted where nothing differs")
T.is(asked_by(function() p:modify(a, "r") end), "ADD -1, DELETE -2", "a direction that is no longer asked for is deleted")
T.is(asked_by(function() p:modify(a, "r") end), "ADD -1", "once")
T.is(asked_by(function() p:modify(a, "wo") end), "DELETE -1, ADD -2", "one is exchanged for the other")
T.is(seen(p) .. " " .. seen(p), "a:w ", "and it is reported once")
T.is(asked_by(function() p:remove(a) end), "DELETE -2", "only existing filters are deleted")
T.is(select(3, p:add(4000, "rw")), L.EBADF, "a number that is not open is EBADF")
T.is(select(3, p:add(a, "p")), L.EOPNOTSUPP, "urgent data without EVFILT_EXCEPT is EOPNOTSUPP")
T.is(select(3, p:add(a, "rx")), L.EINVAL, "exclusive is EINVAL")
T.is(asked_by(function() assert(p:add(a, "r")) end), "ADD -1", "a refused call leaves nothing behind")
T.is(select(3, p:modify(a, "rp")), L.EOPNOTSUPP, "urgent data is refused to modify, too")
a:close(); b:close(); p:close()

-- A finaliser that runs while a change is made must not change what is asked.
local function busy(rounds)
  p, a, b = assert(poll.new "kqueue"), net.pair()
  assert(p:add(a, "r") and p:add(b, "r"))
  kqueue.asked = {}
  local runs, on = 0, true
  local function litter()
    getmetatable(newproxy(true)).__gc = function()
      if not on then return end -- the last one may run when `p` is a poller of the library that is loaded next
      runs = runs + 1
      p:modify(b, "r")
      litter()
    end
  end
  litter()
  for _ = 1, rounds do p:modify(a, "r") end
  on = false
  local asked = { a = kqueue.asked[a:fd()], b = kqueue.asked[b:fd()], runs = runs }
  a:close(); b:close(); p:close()
  return asked
end
local asked = busy(50000)
print("# finalisers that ran: " .. asked.runs)
T.ok(asked.runs > 20, "finalisers run between the changes")
T.is(asked.a .. " " .. asked.b, 50000 .. " " .. asked.runs, "a change in the midst of another leaves both right")

L = kqueue.load(true)
p = assert(L.poll.new "kqueue")
local socks = assert(L.socket.pair(L.SOCK_STREAM))
T.ok(p:add(socks[1], "rp", "a"), "urgent data can be asked for with EVFILT_EXCEPT")
T.is(asked_by(function() p:modify(socks[1], "r") end), "ADD -1, DELETE -15", "and no more")
socks[1]:close(); socks[2]:close(); p:close()

-- The end, over the stand-in too.
local client, server = net.tcp()
p = assert(poll.new "kqueue")
assert(p:add(server, "rw", "s"))
client:close()
local half
for _ = 1, 100 do
  assert(p:wait(0.05))
  for _, _, read, _, _, ends in p:events() do half = half or read and ends end
  if half then break end
end
T.ok(half, "the peer's end is reported")
server:close(); p:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
