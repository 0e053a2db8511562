-- poll-wake: waking from a coroutine, from another process, from signal handlers in C; pollers in pollers.
local ffi = require "ffi"
local L = require "llsocket"
local shim = require "llsocket.shim"
local leak = require "leak"
local net = require "net"
local pollers = require "pollers"
local proc = require "proc"
local sys = require "sys"
local poll, seen = L.poll, pollers.seen

ffi.cdef "int llsocket_t_wake_on(int sig, int to, void (*by)(int));"

local before = leak.count()
local T = require("tap").plan(#pollers.names * 22 + 1)

local function by_itself(name)
  local p, a, b = assert(poll.new(name)), net.pair()
  T.is(p:wake(), true, name .. ": wake answers true")
  local start = sys.clock()
  T.is(p:wait(5), 0, name .. ": the next wait answers 0")
  T.ok(sys.clock() - start < 2, name .. ": at once")
  T.is(p:wait(0.001), 0, name .. ": the one after that waits")
  for _ = 1, 100000 do p:wake() end
  T.is(p:wait(5), 0, name .. ": 100,000 wake-ups are one")
  start = sys.clock()
  p:wait(0.02)
  T.ok(sys.clock() - start >= 0.019, name .. ": none is left over")
  b:send "x"
  assert(p:add(a, "r", "a"))
  p:wake()
  T.is(seen(p), "a:r", name .. ": a wake-up hides no event")
  p:wake()
  local one, two = seen(p, 0, 1), seen(p, 0, 1)
  T.is(one .. two, "a:r", name .. ": with one event at a time, either comes first")
  a:close(); b:close(); p:close()
end

local function by_coroutine(name)
  local p, order = assert(poll.new(name)), {}
  local loop = coroutine.wrap(function()
    while true do
      order[#order + 1] = p:wait(5)
      coroutine.yield()
    end
  end)
  local other = coroutine.wrap(function()
    for _ = 1, 3 do coroutine.yield(p:wake()) end
  end)
  for _ = 1, 3 do assert(other()); loop() end
  T.is(table.concat(order, " "), "0 0 0", name .. ": another coroutine wakes it")
  p:close()
end

local function by_process(name)
  local p = assert(poll.new(name))
  local start = sys.clock()
  local child = proc.fork(function() return p:wake() end)
  T.is(p:wait(5), 0, name .. ": a forked child wakes it")
  T.ok(sys.clock() - start < 4, name .. ": before the time runs out")
  T.is(proc.wait(child), 0, name .. ": and ends well")
  p:close()
end

local handler_path = assert(os.getenv "LLSOCKET_FACTS"):match "^(.*/)" .. "handler.so"
local SIGUSR1, SIGALRM = L.SIGUSR1, L.SIGALRM

-- A signal comes while it waits: that call ends with EINTR, and the next at once.
local function by_handler(name, handler, by, how)
  local p = assert(poll.new(name))
  assert(handler.llsocket_t_wake_on(SIGALRM, p:wakefd(), by) == 0)
  local start = sys.clock()
  ffi.C.llsocket_t_setitimer(0, ffi.new("long[4]", 0, 0, 0, 20000), nil)
  local n, _, e = p:wait(5)
  T.is(n or e, L.EINTR, ("%s: a handler that %s interrupts the wait"):format(name, how))
  T.is(p:wait(5), 0, name .. ": and has woken it")
  T.ok(sys.clock() - start < 4, name .. ": before the time runs out")
  assert(handler.llsocket_t_wake_on(SIGUSR1, p:wakefd(), by) == 0)
  proc.kill(proc.getpid(), SIGUSR1)
  T.is(p:wait(5), 0, name .. ": a signal before the wait is not lost")
  proc.signal(SIGALRM, proc.SIG_DFL); proc.signal(SIGUSR1, proc.SIG_DFL)
  p:close()
end

local function nested(name)
  local p, inner = assert(poll.new(name)), assert(poll.new())
  if inner:fd() < 0 then return T.skip(2, "poll(2) has no descriptor that could be nested") end
  local a, b = net.pair()
  assert(inner:add(a, "r", "a"))
  assert(p:add(inner, "r", "inner"))
  local quiet = seen(p)
  b:send "x"
  T.is(("%s, %s, %s"):format(quiet, seen(p, 1), seen(inner)), ", inner:r, a:r",
    name .. ": a poller in it is readable when something in that is ready")
  a:recv()
  inner:wake()
  T.is(("%s, %s, %s"):format(seen(p, 1), seen(inner), seen(p)), "inner:r, , ", name .. ": or has been woken")
  a:close(); b:close(); inner:close(); p:close()
end

require "signals" -- declares setitimer
local found, handler = pcall(ffi.load, handler_path)
for _, name in ipairs(pollers.names) do
  by_itself(name); by_coroutine(name); by_process(name); nested(name)
  if found then
    by_handler(name, handler, nil, "writes 8 bytes")
    by_handler(name, handler, shim.llsocket2_wake, "calls llsocket2_wake")
  else
    T.skip(8, "t/handler.c was not built")
  end
end
T.is(leak.count(), before, "no descriptor is left")
T.done()
