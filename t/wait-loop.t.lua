-- wait-loop: what the loop of coroutines has beside wait, spawn and run: sleep, now, cancel, join, errors that are told.
local engines = require "engines"
local L = require "llsocket"
local W = require "llsocket.wait.coroutine"
local leak = require "leak"
local net = require "net"
local show = require("values").show
local sys = require "sys"
local text = require("llsocket.errno").text
local T = require("tap").plan(71)

local before = leak.count()
local log = {}
local function note(...) log[#log + 1] = show(...) end
local function taken()
  local all = table.concat(log, "; ")
  log = {}
  return all
end
local function failure(e) return show(nil, text(e), e) end
local CANCELED, TIMEDOUT, INVALID = failure(L.ECANCELED), failure(L.ETIMEDOUT), failure(L.EINVAL)

local function run(fn, ...)
  local co = W.spawn(fn, ...)
  W.run()
  return co
end

-- sleep and now --------------------------------------------------------------------------------------------

local took
run(function()
  local start = sys.clock()
  note(W.sleep(0.05))
  took = sys.clock() - start
end)
T.is(taken(), "true", "sleep answers true")
T.ok(took >= 0.05 and took < 2, "after its time")
for i, name in ipairs { "c", "a", "b" } do
  W.spawn(function()
    W.sleep(({ 0.09, 0.01, 0.05 })[i])
    note(name)
  end)
end
W.run()
T.is(taken(), '"a"; "b"; "c"', "who sleeps shorter wakes earlier")
for i = 1, 2 do
  W.spawn(function()
    for round = 1, 2 do
      note(i, round)
      W.sleep(0)
    end
  end)
end
W.run()
T.is(taken(), "1, 1; 2, 1; 1, 2; 2, 2", "a sleep of 0 lets the others run")
local start = sys.clock()
T.is(show(W.sleep(0.03)), "true", "outside a coroutine sleep sleeps, too")
T.ok(sys.clock() - start >= 0.03, "for its time")
for _, sec in ipairs { -1, 0 / 0, 1 / 0, 2^31 } do
  T.is(show(W.sleep(sec)), INVALID, ("a sleep of %s is EINVAL"):format(sec))
end
local function raised(fn, ...) return (tostring(select(2, pcall(fn, ...)))) end
local function here(fn) return raised(function() fn() end) end -- a caller of its own, whose line is named
T.is(here(function() W.sleep "1" end):match "wait%-loop.t.lua:%d+: .*$",
  ("wait-loop.t.lua:%d: bad argument #1 to 'sleep' (number expected, got string)"):format(debug.getinfo(1).currentline - 1),
  "a wrong type raises at the caller's line")
local first = W.now()
W.sleep(0.02)
T.ok(type(first) == "number" and W.now() - first >= 0.02, "now tells seconds that go forward")

-- wait.set ---------------------------------------------------------------------------------------------------

local a, b = net.pair(L.SOCK_STREAM, true)
run(function() note(L.wait.is_set(), L.wait.set(W.wait) == W.wait) end)
T.is(taken() .. ", " .. tostring(L.wait.is_set()), "true, true, false", "while it runs, the loop is the way of waiting")
W.spawn(function() note("long", a:recvable(0.5)) end)
W.spawn(function() note("short", b:recvable(0.02)) end)
W.run()
T.is(taken(), '"short", false; "long", false', "so coroutines wait side by side, though the program has set nothing")
local function mine() return true end
L.wait.set(mine)
run(function() note(a:recvable(5)) end)
T.is(taken() .. show(L.wait.set() == mine), "truetrue", "what the program has set stays, during the run and after")
run(function() L.wait.set(mine) end)
T.ok(L.wait.set() == mine, "what it sets during the run stays, too")
W.spawn(error, "oops")
pcall(W.run)
T.is(L.wait.is_set(), false, "after an error the way is put back as well")

-- Who can be waited for ------------------------------------------------------------------------------------

b:send "x"
local Object = {}
Object.__index = Object
function Object:getfd() return self.number end
local other = setmetatable({ number = a:fd() }, Object)
run(function()
  note(W.wait(a, "r", 5))
  note(W.wait(a:fd(), "r", 5))
  note(W.wait(other, "r", 5))
  note(W.wait({ fd = function() return a:fd() end }, "r", 5))
  note(W.wait({ fd = function() end }, "r", 5))
end)
T.is(taken(), "true; true; true; true; " .. failure(L.EBADF), "sockets, numbers, and what has fd or getfd can be waited for")
local wrong = 0
for _, x in ipairs { "text", true, {}, print, newproxy(), require("ffi").new "int[1]", { fd = 5 } } do
  run(function()
    local said = raised(W.wait, x, "r", 5)
    if not said:find "number, socket or object with a method fd or getfd expected" then
      print("# " .. said)
      wrong = wrong + 1
    end
  end)
end
T.is(wrong, 0, "whatever else raises")
run(function()
  note(pcall(W.wait, a, 5))
  note(W.wait(a, "x"))
  note(W.wait(a, "r", -1))
  note(W.wait(-1, "r", 1))
end)
T.ok(taken():find("^false, .*; " .. INVALID .. "; " .. INVALID .. "; " .. failure(L.EBADF) .. "$"), "so do wrong types")
run(function()
  a:recvable(5) -- registered
  note(W.wait(a:fd(), "r", 5, {}), W.wait(a:fd(), "r", 5, b))
end)
T.is(taken(), "true, true", "a fourth argument that is not the socket of the number does no harm")
run(function() -- a socket that is registered
  assert(a:recvable(5))
  note(W.wait(a:fd(), "r", 1 / 0, a))
  note(W.wait(a:fd(), "r", 2^31, a))
  note(raised(W.wait, a:fd(), "r", "5", a))
end)
T.is(taken(), ('%s; %s; "bad argument #3 to \'wait\' (number expected, got string)"'):format(INVALID, INVALID),
  "nor is an impossible time taken with a registered socket")
a:recv()

local timer = L.poll.timer(0.05)
if timer then
  timer = nil -- luacheck: ignore
  run(function()
    W.spawn(function()
      collectgarbage(); collectgarbage()
    end)
    note(W.wait(L.poll.timer(0.05), "r", 5))
  end)
  T.is(taken(), "true", "an object is not collected while somebody waits for it")
else T.skip(1, "this system has no timerfd") end
run(function()
  local c, d = net.pair(L.SOCK_STREAM, true)
  W.spawn(function()
    collectgarbage(); collectgarbage()
    d:send "x"
  end)
  local number = c:fd()
  W.spawn(function() note(sys.is_open(number)) end)
  local function wait(sock) return sock:recvable(5) end
  local function wait_here()
    local sock = c
    c = nil
    return wait(sock)
  end
  note(wait_here())
end)
T.is(taken(), "true; true", "nor is a socket")

-- Errors -----------------------------------------------------------------------------------------------------

local told = {}
local function onerror(err, co) told[#told + 1] = { err, co } end
local bad = W.spawn(function() error "oops" end)
W.spawn(function() note(b:send "y", a:recvable(5), a:recv()) end)
W.run(onerror)
T.is(#told, 1, "onerror is told of an error")
T.ok(told[1][1]:find "oops.*stack traceback.*wait%-loop" and told[1][2] == bad, "with its traceback and the coroutine")
T.is(taken(), show(1, true, "y", nil, false), "and the others go on")
W.spawn(error, {})
W.run { onerror = onerror }
T.ok(#told == 2 and told[2][1]:find "^table: ", "it can be a field of a table")
W.spawn(error, "twice")
local ok, err = pcall(W.run, function() error("from onerror", 0) end)
T.is(show(ok, err), show(false, "from onerror"), "its own error comes out of run")
W.spawn(error, "no handler")
T.ok(not pcall(W.run), "without it run raises")
T.ok(raised(W.run, 5):find "bad argument #1 to 'run'" and raised(W.run, { onerror = 5 }):find "bad argument #1 to 'run'",
  "what is no function raises")
-- Two are ready in one round, and the first raises.
local c, d = net.pair(L.SOCK_STREAM, true)
W.spawn(function() a:recvable(5); error "first" end)
W.spawn(function() note(W.wait(c:fd(), "r", 5)) end)
W.spawn(function() b:send "x"; d:send "x" end)
pcall(W.run)
W.run()
T.is(taken(), "true", "an event that came with that of the error is not lost")
a:recv(); c:close(); d:close()

-- cancel -------------------------------------------------------------------------------------------------------

local function canceled(fn)
  local co
  co = W.spawn(function() note(fn(co)) end)
  W.spawn(function() note(W.cancel(co)) end)
  W.run()
  return taken()
end
T.is(canceled(function() return a:recvable(5) end), "true; " .. CANCELED, "a wait can be cancelled")
T.is(canceled(function() return a:recvable() end), "true; " .. CANCELED, "without a limit, too")
T.is(canceled(function() return W.wait(b:fd(), "r") end), "true; " .. CANCELED, "so can one by number")
T.is(canceled(function() return W.sleep(5) end), "true; " .. CANCELED, "and a sleep")
local long = W.spawn(function() W.sleep(0.05); return 7 end)
T.is(canceled(function() return W.join(long) end), "true; " .. CANCELED, "and a join")
local writer, reader = net.pair(L.SOCK_STREAM, true)
repeat local _, _, again = writer:send(("x"):rep(65536)) until again
T.is(canceled(function() return writer:sendable(5) end), "true; " .. CANCELED, "and a wait to write")
run(function()
  note(writer:sendable(0.02))
  note(writer:sendable(0.01))
end)
T.is(taken(), "false; false", "a wait to write has a limit")
writer:close(); reader:close()
b:send "x"
run(function() note(a:recvable(5), a:recv()) end)
T.is(taken(), show(true, "x", nil, false), "after that the socket can be waited for")
local co = run(function() end)
T.is(show(W.cancel(co)), "false", "who has ended does not wait")
co = W.spawn(function() end)
T.is(show(W.cancel(co), W.cancel(coroutine.create(print))), "false, false", "nor who has not begun, nor who is another's")
W.run()
run(function() note(W.cancel(coroutine.running())) end)
T.is(taken(), "false", "nor who runs")
T.ok(raised(W.cancel, "co"):find "bad argument #1 to 'cancel' %(thread expected, got string%)", "cancel wants a coroutine")
local many, n = {}, 0
for i = 1, 100 do
  many[i] = W.spawn(function()
    if select(3, W.sleep(60)) == L.ECANCELED then n = n + 1 end
  end)
end
W.spawn(function()
  for i = 100, 1, -1 do W.cancel(many[i * 37 % 100 + 1]) end
end)
start = sys.clock()
W.run()
T.ok(n == 100 and sys.clock() - start < 30, "a hundred sleeps are cancelled, and the loop ends")

-- join -----------------------------------------------------------------------------------------------------------

local function joined(fn, ...)
  co = W.spawn(fn, ...)
  run(function() note(W.join(co, 5)) end)
  return taken()
end
T.is(joined(function(...) W.sleep(0.01); return ... end, 1, nil, "x", nil), show(1, nil, "x", nil),
  "join answers what a function returned")
T.is(show(W.join(co)), show(1, nil, "x", nil), "who has ended is joined at once, also outside a coroutine")
T.is(joined(function() end), "no values", "nothing where it returned nothing")
told = {}
co = W.spawn(function() W.sleep(0.01); error "oops" end)
for _ = 1, 2 do
  W.spawn(function()
    local nothing, why, more = W.join(co)
    note(nothing, why:find "oops" ~= nil, more)
  end)
end
W.run(onerror)
T.is(taken(), "nil, true, nil; nil, true, nil", "an error goes to all who join")
T.is(#told, 0, "and not to run")
T.ok(select("#", W.join(co)) == 2 and select(2, W.join(co)):find "oops", "later it is answered as nil and the text")
co = W.spawn(error, "early")
W.run(onerror)
T.ok(#told == 1 and select(2, W.join(co)):find "early", "an error that nobody joins goes to onerror, and is kept")
co = W.spawn(function() W.sleep(0.1) end)
run(function()
  note(W.join(co, 0.01))
  note(W.join(co, 0))
  note(W.join(co))
end)
T.is(taken(), TIMEDOUT .. "; " .. TIMEDOUT .. "; no values", "a join has a limit")
co = W.spawn(function() W.sleep(0.05); error "late" end)
W.spawn(function() note(W.join(co, 0.01)) end)
W.run(onerror)
T.is(taken() .. #told, TIMEDOUT .. 2, "who gave up before is not told of an error")
T.is(show(W.join(coroutine.create(print))), INVALID, "what spawn did not make is EINVAL")
run(function() note(W.join(coroutine.wrap(function() return coroutine.running() end)())) end)
T.is(taken(), INVALID, "also where it has ended")
co = W.spawn(function() end)
T.is(show(W.join(co)), failure(L.EDEADLK), "outside a coroutine nobody can wait for one: EDEADLK")
W.run()
run(function() note(W.join(coroutine.running())) end)
T.is(taken(), failure(L.EDEADLK), "nor for itself")
for _, sec in ipairs { -1, 0 / 0, 2^31 } do T.is(show(W.join(co, sec)), INVALID, ("a limit of %s is EINVAL"):format(sec)) end
T.ok(raised(W.join, 1):find "bad argument #1 to 'join' %(thread expected, got number%)"
  and raised(W.join, co, "1"):find "bad argument #2 to 'join' %(number expected, got string%)", "wrong types raise")
-- Many that join the same ones, so that the loop's own code is compiled; some have a time limit, some are cancelled.
do
  local answered, right = 0, 0
  for i = 1, 1500 do
    W.spawn(function()
      local target = W.spawn(function()
        W.sleep(i % 3 == 0 and 0.001 or 0)
        return i
      end)
      local others = {}
      for k = 1, i % 4 do
        others[k] = W.spawn(function()
          W.join(target, k == 2 and 0.0005 or nil)
          answered = answered + 1
        end)
      end
      if i % 5 == 0 and others[1] then W.sleep(0); W.cancel(others[1]) end
      if W.join(target) == i then right = right + 1 end
    end)
  end
  W.run()
  T.is(right .. " " .. answered, "1500 2250", "every one of many joins is answered once")
end

-- Two that join each other are waited for by nobody.
local x, y
x = W.spawn(function() W.sleep(0); note(W.join(y)) end)
y = W.spawn(function() W.sleep(0); note(W.join(x)) end)
W.run()
T.is(taken(), "", "joins without a limit do not keep run from returning")
T.is(show(W.cancel(x), W.cancel(y)), "true, true", "and can be cancelled after")
W.run()
T.is(taken(), CANCELED .. "; " .. CANCELED, "so that they go on")

-- The results are kept for as long as the coroutine.
local weak = setmetatable({}, { __mode = "v" })
local function keep()
  local thread
  thread = run(function()
    local result = {}
    weak[1], weak[2] = result, thread
    return result, coroutine.running()
  end)
  weak[2] = thread
  return thread
end
co = keep()
collectgarbage(); collectgarbage()
T.ok(weak[1] and (W.join(co)) == weak[1], "results are kept as long as the program holds the coroutine")
co = nil
collectgarbage(); collectgarbage(); collectgarbage()
T.is(show(weak[1], weak[2]), "nil, nil", "and no longer, even where the coroutine is among them")

a:close(); b:close()
T.is(leak.count(), before, "no descriptor is left")
engines.others(T)
T.done()
