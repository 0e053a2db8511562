-- wait-coroutine: spawn, run and wait over our own poller: order, errors, times, and closes outside llsocket.
local ffi = require "ffi"
local L = require "llsocket"
local W = require "llsocket.wait.coroutine"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local sys = require "sys"
local T = require("tap").plan(39)
local text = require("llsocket.errno").text
local before = leak.count()

local function show(...)
  local out = {}
  for i = 1, select("#", ...) do out[i] = tostring((select(i, ...))) end
  return table.concat(out, " ")
end

T.is(show(L.wait.set(W.wait) == L.wait.poll, L.wait.is_set()), "true true", "set returns the function that was set before")

-- spawn and run --------------------------------------------------------------------------------------------

local log = {}
local function note(...) log[#log + 1] = show(...) end
local function taken()
  local all = table.concat(log, "; ")
  log = {}
  return all
end

T.is(show(W.run()), "", "run has nothing to do and returns")
local co = W.spawn(note, 1, nil, "x", nil)
W.spawn(note)
W.spawn(function()
  note "a"
  W.spawn(note, "c")
  note "b"
end)
T.is(taken(), "", "spawn runs nothing yet")
T.is(type(co), "thread", "spawn answers the coroutine")
W.run()
T.is(taken(), "1 nil x nil; ; a; b; c", "coroutines run in their order, with their arguments")
T.is(coroutine.status(co), "dead", "each to its end")

W.spawn(function() note(pcall(W.run)) end)
W.run()
T.ok(taken():find "^false .*wait%.coroutine is running", "run does not run in itself")

local a, b = net.pair(L.SOCK_STREAM, true)
W.spawn(function() note("first", a:recvable(5)) end)
W.spawn(function() error "oops" end)
W.spawn(function() error { "no string" } end)
W.spawn(function() b:send "x" end)
local ok, err = pcall(W.run)
T.ok(not ok and err:find "oops.*wait%-coroutine.t.lua:%d+: in function", "an error comes out of run with its traceback")
ok, err = pcall(W.run)
T.ok(not ok and err:find "^table: ", "one that is no string, too")
W.run()
T.is(taken(), "first true", "the others are unharmed by it")
T.ok(not pcall(W.spawn, "no function"), "spawn wants a function")

-- A coroutine that somebody else made waits as well, where something else runs the loop.
local own = coroutine.wrap(function() note("own", a:recvable(5)) end)
own()
W.run()
T.is(taken(), "own true", "a coroutine that spawn has not made can wait")
a:recv()

-- wait -----------------------------------------------------------------------------------------------------

for _ = 1, 2 do W.spawn(function() note(a:recvable(0.05)) end) end
W.run()
T.is(taken(), ("nil %s %d; false"):format(text(L.EBUSY), L.EBUSY), "two cannot wait for the same at once")
local file = assert(io.open(arg[0]))
local fd = require("llsocket.core.libc").llsocket2_fileno(file)
W.spawn(function() note(W.wait(fd, "r", 1)) end)
W.run()
T.is(taken(), L.EPOLLIN and "nil Operation not permitted " .. L.EPERM or "true",
  "a regular file cannot be waited for, or by poll(2) is ready")
file:close()

-- A thousand times, set in no order; the last of each pair replaces the first, earlier or later.
local socks = net.pair(L.SOCK_STREAM, true)
local list, ended, early = {}, {}, 0
local slow = os.getenv "LLSOCKET_RUN" and 10 or 1 -- an emulator
for i = 1, 100 do list[i] = { net.pair(L.SOCK_STREAM, true) } end
for i = 1, 100 do
  W.spawn(function()
    local at = (i * 37 % 100 + 1) / 500 * slow
    list[i][1]:recvable(0.0005 * (i % 3))
    local start = sys.clock()
    list[i][1]:recvable(at)
    if sys.clock() - start < at then early = early + 1 end
    ended[#ended + 1] = start + at -- a loaded machine starts them late, too
  end)
end
W.run()
local sorted = 0
for i = 2, #ended do if ended[i] + 0.02 * slow >= ended[i - 1] then sorted = sorted + 1 end end
T.is(#ended, 100, "a hundred times run out")
T.is(early, 0, "none early")
T.ok(sorted >= 95, "in their order, as far as a loaded machine has it: " .. sorted)

-- Waits that end early leave nothing to be woken by: the same socket waits anew with another time.
local x, y = list[1][1], list[1][2]
local took = {}
W.spawn(function()
  for i = 1, 3 do
    y:send "x"
    note(x:recvable(0.02))
    x:recv()
    local start = sys.clock()
    note(x:recvable(0.1 - 0.03 * i))
    took[i] = sys.clock() - start >= 0.1 - 0.03 * i
  end
end)
W.run()
T.is(taken(), "true; false; true; false; true; false", "a time that was not needed does not end the next wait")
T.is(show(unpack(took)), "true true true", "which takes its own time")
for _, pair in ipairs(list) do pair[1]:close(); pair[2]:close() end

-- Twenty thousand turns, without anything growing: of three times five thousand the least counts, for LuaJIT may make new traces
-- in one of them.
collectgarbage()
local size, last = math.huge, nil
W.spawn(function()
  for i = 1, 20000 do
    b:send "x"
    a:recvable(60)
    a:recv()
    if i % 5000 == 0 then
      collectgarbage()
      local now = collectgarbage "count"
      size, last = math.min(size, now - (last or -math.huge)), now
    end
  end
end)
W.run()
T.ok(size < 20, ("memory does not grow with the turns: %.1f KiB"):format(size))

-- What closes without a word -------------------------------------------------------------------------------

-- The number is closed, a copy holds the description, and data arrives for that: it is told once.
local function orphan(close)
  collectgarbage(); collectgarbage() -- what was left open has lower numbers
  local c, d = net.pair(L.SOCK_STREAM, true)
  local copy = assert(c:dup())
  local number = c:fd()
  W.spawn(function() note("old", W.wait(number, "r", 0.2)) end)
  W.spawn(function()
    close(c)
    c = nil -- luacheck: ignore
    collectgarbage(); collectgarbage()
    d:send "x"
    local e, f = net.pair(L.SOCK_STREAM, true)
    note(e:fd() == number)
    local start, used = sys.clock(), os.clock()
    e:sendable(0) -- poll(2)
    f:recvable(0.3)
    T.ok(sys.clock() - start >= 0.3 and os.clock() - used < 0.15, "a copy that stays ready costs no processor time")
    W.spawn(function() note("new", e:recvable(5), e:recv()) end)
    f:send "y"
    f:recvable(0.01)
    e:close(); f:close()
  end)
  W.run()
  copy:close(); d:close()
end

-- poll(2) knows but the number, which is another's by now.
local LOST = L.EPOLLIN and "true" or "false"
orphan(function(c)
  ffi.gc(c, nil)
  sys.close(c:fd())
  c.sd = -1
end)
T.is(taken(), ("true; old %s; new true y nil false"):format(LOST),
  "a number closed by close(2) itself is reported once, and is free again")
orphan(function() end)
T.is(taken(), ("true; old %s; new true y nil false"):format(LOST), "so is one that was collected")

-- Over poll(2), as where there is nothing better.
local POLL = [[
require("llsocket.core.const").EPOLLIN = nil
local L, W, sys = require "llsocket", require "llsocket.wait.coroutine", require "sys"
L.wait.set(W.wait)
local socks = L.socket.pair(L.SOCK_STREAM, true)
local file = io.tmpfile()
local fd, number = require("llsocket.core.libc").llsocket2_fileno(file), assert(sys.copy(socks[1]:fd(), 100))
W.spawn(function() print(W.wait(fd, "r", 5)) end)
W.spawn(function() print(socks[2]:recvable(5), socks[2]:recv()) end)
W.spawn(function()
  W.spawn(function() print(select(3, W.wait(number, "r")) == L.EBADF) end)
  W.spawn(function() socks[2]:recvable(0.01) sys.close(number) end)
  socks[1]:send "x"
end)
W.run()
]]
T.is(proc.lua(POLL), "true\ntrue\tx\tnil\tfalse\ntrue\n",
  "over poll(2) a regular file is ready, and a wait for a number that was closed ends")

-- unwrap gives the descriptor to somebody else: who waits is told, and it stays open.
W.spawn(function() note(a:recvable(5)) end)
W.spawn(function() fd = a:unwrap() end)
W.run()
T.is(taken(), "nil Bad file descriptor " .. L.EBADF, "a wait for a socket ends when it is unwrapped")
T.ok(sys.is_open(fd), "which stays open")
a = assert(L.socket.wrap(fd))

-- A hook sees the number before who waits goes on, and may close another.
W.spawn(function() note("a", a:recvable(5)) end)
W.spawn(function() note("b", b:recvable(5)) end)
W.spawn(function()
  a:onclose(function(sock)
    note("0 hook", sock:fd() == fd)
    b:close()
  end)
  a:close()
end)
W.run()
table.sort(log)
T.is(taken(), ("0 hook true; a nil Bad file descriptor %d; b nil Bad file descriptor %d"):format(L.EBADF, L.EBADF),
  "a hook may close another that is waited for")

-- Signals, children, timers: whatever has a descriptor.
local timer = L.poll.timer(0.02)
if timer then
  W.spawn(function() note(W.wait(timer:fd(), "r", 5), timer:read()) end)
  W.run()
  T.is(taken(), "true 1 nil false", "a timer can be waited for")
  timer:close()
  local pid = proc.fork(function() return 7 end)
  local child = L.poll.child(pid)
  if child then
    W.spawn(function() note(W.wait(child:fd(), "r", 5), child:read()) end)
    W.run()
    T.is(taken(), "true 7 nil false", "so can a child's end")
    child:close()
  else
    proc.wait(pid)
    T.skip(1, "this kernel has no pidfd")
  end
else T.skip(2, "this system has no timerfd") end

-- A thousand coroutines, each in a conversation with the next.
socks:close()
local ring, rounds = {}, 0
for i = 1, 200 do ring[i] = { net.pair(L.SOCK_STREAM, true) } end
for i = 1, 200 do
  W.spawn(function()
    for _ = 1, 10 do
      assert(ring[i][1]:recvable(10))
      local n = tonumber(ring[i][1]:recv())
      rounds = rounds + 1
      ring[i % 200 + 1][2]:send(tostring(n + 1))
    end
  end)
end
ring[1][2]:send "1"
W.run()
T.is(rounds, 2000, "a token goes ten times round two hundred coroutines")
T.is(ring[1][1]:recv(), "2001", "and each has had it")
for _, pair in ipairs(ring) do pair[1]:close(); pair[2]:close() end

-- An error of a debug hook in any instruction of run.
local stuck
for n = 1, 1000 do
  local left = n
  W.spawn(function() end)
  pcall(function()
    debug.sethook(function()
      left = left - 1
      if left == 0 then
        debug.sethook()
        error("hook", 0)
      end
    end, "", 1)
    W.run()
    debug.sethook()
  end)
  debug.sethook()
  local _, told = pcall(W.run)
  stuck = stuck or tostring(told):match "is running"
  if left > 0 then break end
end
T.is(stuck, nil, "an error of a debug hook does not leave the loop running for good")

-- wait.set --------------------------------------------------------------------------------------------------

a, b = net.pair(L.SOCK_STREAM, true)
local asked
T.is(L.wait.set(function(...) asked = show(...); return false end), W.wait, "another way can be set")
local itself = (" llsocket.socket: fd %d"):format(a:fd())
T.is(show(a:sendable(1.5)) .. ", " .. tostring(asked), "false, " .. a:fd() .. " w 1.5" .. itself,
  "sendable passes its arguments and the socket to it")
T.is(show(a:recvable()) .. ", " .. tostring(asked), "false, " .. a:fd() .. " r nil" .. itself, "so does recvable")
T.is(show(L.wait.set() ~= nil, L.wait.is_set()), "true false", "without an argument poll(2) waits again")
T.ok(not pcall(L.wait.set, "poll"), "a way of waiting is a function")
a:close(); b:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
