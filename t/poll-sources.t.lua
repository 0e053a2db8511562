-- poll-sources: timers, signals and child exits as descriptors.
local L = require "llsocket"
local leak = require "leak"
local pollers = require "pollers"
local proc = require "proc"
local signals = require "signals"
local signature = require "signature"
local sys = require "sys"
local pack, line = signature.pack, signature.line
local poll, await = L.poll, pollers.await
local T = require "tap"

local before = leak.count()
if not (L.TFD_CLOEXEC and L.SFD_CLOEXEC) then
  T.plan(3)
  for _, got in ipairs { pack(poll.timer(1)), pack(poll.signal(L.SIGINT)), pack(poll.child(1)) } do
    T.is(line(got), signature.failure("object", L.ENOSYS), "where the system has none it is ENOSYS")
  end
  T.done()
end
T.plan(#pollers.names * 10 + 33)

local NOTHING = signature.line { n = 4, nil, nil, true, L.EAGAIN }
local function fails(e, name, ...) T.is(line(pack(...)), signature.failure("object", e), name) end

-- How long a timer takes, and how often it has run out by then.
local function runs_out(seconds)
  local start = sys.clock()
  local p, timer = assert(poll.new()), assert(poll.timer(seconds))
  assert(p:add(timer, "r"))
  assert(p:wait(5) == 1)
  local long, count = sys.clock() - start, timer:read()
  timer:close(); p:close()
  return long, count
end

for _, sec in ipairs { 0.0305, 0.002, 1e-9, 1e-12, 0 } do
  local long, count = runs_out(sec)
  T.ok(count == 1 and long >= sec and long < 4, ("a timer of %g s runs out once, after %.6f s"):format(sec, long))
end

local timer = assert(poll.timer(0.01, 0.01))
T.is(line(pack(timer:read())), NOTHING, "a timer that has not run out would block")
local start, total = sys.clock(), 0
local p = assert(poll.new())
assert(p:add(timer, "r"))
while sys.clock() - start < 0.055 do
  if assert(p:wait(1)) == 1 then total = total + timer:read() end
end
local most = (sys.clock() - start) / 0.01
T.ok(total >= 5 and total <= most + 1, ("one with an interval runs out again and again: %d times"):format(total))
local long = sys.clock()
while sys.clock() - long < 0.035 do p:wait(0.01) end -- ready all the time, and not read
T.ok(timer:read() >= 3, "read tells how often since the last time")
T.is(select("#", timer:close()), 0, "close answers no values")
T.is(select("#", timer:close()), 0, "nor does a second close")
T.is(timer:fd(), -1, "a closed one has no descriptor")
T.is(line(pack(timer:read())), signature.failure("transfer", L.EBADF), "read of a closed one is EBADF")
T.is(tostring(timer), "llsocket.event: fd -1", "it has a text")
p:close()
for _, sec in ipairs { -1, 2^31, 0 / 0, math.huge } do
  fails(L.EINVAL, ("a timer of %s seconds is EINVAL"):format(sec), poll.timer(sec))
end
fails(L.EINVAL, "an interval of -1 is EINVAL", poll.timer(1, -1))
timer = assert(poll.timer(2^31 - 1e-6, 2^31 - 1e-6))
T.ok(sys.is_cloexec(timer:fd()) and sys.is_nonblock(timer:fd()), "the longest timer is made, close-on-exec and non-blocking")
timer:close()

-- In a poller of each kind.
for _, name in ipairs(pollers.names) do
  p = assert(poll.new(name))
  local sig = assert(poll.signal(L.SIGUSR1, L.SIGUSR2))
  assert(p:add(sig, "r", "signal"))
  T.is(line(pack(sig:read())), NOTHING, name .. ": without a signal read would block")
  proc.kill(proc.getpid(), L.SIGUSR2)
  T.is(await(p, "signal:r"), "signal:r", name .. ": a signal is reported")
  T.is(sig:read(), L.SIGUSR2, name .. ": read tells which")
  proc.kill(proc.getpid(), L.SIGUSR1)
  proc.kill(proc.getpid(), L.SIGUSR1)
  T.is(await(p, "signal:r") .. sig:read(), "signal:r" .. L.SIGUSR1, name .. ": another one as well")
  T.is(line(pack(sig:read())), NOTHING, name .. ": the same one twice is one, as signals are")
  sig:close()

  local gone, killed = proc.fork(function() return 7 end), proc.fork(function() assert(poll.new()):wait(60) end)
  local child, other = assert(poll.child(gone)), assert(poll.child(killed))
  assert(p:add(child, "r", "child"))
  assert(p:add(other, "r", "other"))
  T.is(line(pack(other:read())), NOTHING, name .. ": while a child lives read would block")
  T.is(await(p, "child:r"), "child:r", name .. ": a child's end is reported")
  T.is(child:read(), 7, name .. ": read tells its exit status")
  assert(p:remove(child))
  proc.kill(killed, L.SIGKILL)
  T.is(await(p, "other:r"), "other:r", name .. ": the end of a killed child is reported")
  T.is(other:read(), -L.SIGKILL, name .. ": read tells the signal, negative")
  child:close(); other:close(); p:close()
end

T.is(signals.mask(), ("%d %d"):format(L.SIGUSR1, L.SIGUSR2), "the signals stay blocked, and no others")
local child = proc.fork(function() return true end)
local event = assert(poll.child(child))
proc.wait(child)
T.is(line(pack(event:read())), signature.failure("transfer", L.ECHILD), "somebody else has waited for it: ECHILD")
event:close()
fails(L.ESRCH, "no such child is ESRCH", poll.child(child))
for _, pid in ipairs { 0, -1, 1.5, 2^31 } do fails(L.EINVAL, ("child(%s) is EINVAL"):format(pid), poll.child(pid)) end
for _, sig in ipairs { 0, -1, 1.5, 1000 } do fails(L.EINVAL, ("signal(%s) is EINVAL"):format(sig), poll.signal(sig)) end

-- Out of descriptors: nothing is blocked that nobody could read.
local mask, old = signals.mask(), sys.limit_descriptors(3)
local _, _, e = poll.signal(L.SIGURG)
sys.limit_descriptors(old)
T.ok(e == L.EMFILE and signals.mask() == mask, "a signal stays as it was when there is no descriptor for it: EMFILE")
-- As on macOS, whose headers know neither timerfd nor its struct.
T.is(proc.lua [[
  local layout, const = require "llsocket.core.layout", require "llsocket.core.const"
  package.loaded["llsocket.core.layout"] = setmetatable({}, { __index = function(_, name)
    if name ~= "itimerspec" then return layout[name] end
  end })
  const.TFD_CLOEXEC = nil
  local L = require "llsocket"
  io.write(tostring((select(3, L.poll.timer(1))) == L.ENOSYS))
]], "true", "without timerfd and its struct the library loads, and a timer is ENOSYS")

T.is(leak.count(), before, "no descriptor is left")
T.done()
