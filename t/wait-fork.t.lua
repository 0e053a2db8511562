-- wait-fork: a forked child has the loop's waits, too, in a set of its own; what it does with them leaves the parent's alone.
local engines = require "engines"
local errors = require "llsocket.errno"
local L = require "llsocket"
local W = require "llsocket.wait.coroutine"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local show = require("values").show
local sys = require "sys"
local T = require("tap").plan(23)

local before = leak.count()
local calls = engines.count()

-- What a child tells, by a pipe that it writes at its end.
local function told(pid, reader)
  local parts = {}
  repeat
    local part = reader:recv()
    parts[#parts + 1] = part
  until not part
  T.is(proc.wait(pid), 0, "a child ends well")
  return table.concat(parts)
end

-- Runs fn in a coroutine of a child; it may wait there.  Answers the child and where it tells what fn answers.
local function fork(fn)
  local reader, writer = net.pair(L.SOCK_STREAM)
  local pid = proc.fork(function()
    reader:close()
    local ok, text = pcall(fn)
    writer:send(tostring(text))
    return ok
  end)
  writer:close()
  return pid, reader
end

local function pair() return net.pair(L.SOCK_STREAM, true) end

-- The parent waits for one socket while it forks; the child waits for the same, and for new ones whose numbers the parent
-- gives to others.
local a, b = pair()
local log, pid, reader = {}, nil, nil
W.spawn(function()
  log[1] = show(a:recvable(5))
  log[2] = show(a:recv())
end)
W.spawn(function()
  W.sleep(0.01) -- `a` is waited for
  pid, reader = fork(function()
    local c, d = pair()
    W.spawn(function() d:send "child" end)
    local was = calls.new
    local own = show(c:recvable(5), (c:recv()), calls.new - was)
    b:close() -- of the parent's, too, it has but a copy
    a:close()
    return own
  end)
  local c, d = pair()
  local number = c:fd()
  log[3] = show(c:recvable(0.2)) -- the child's events are not for these
  d:send "parent"
  log[4] = show(c:recvable(5), (c:recv()))
  log[5] = show(number == c:fd(), calls.new)
  b:send "still"
  c:close(); d:close()
end)
W.run()
T.is(told(pid, reader), show(true, "child", 1), "in the child new sockets are waited for, in a new set")
T.is(log[3], "false", "the parent hears nothing of the child's sockets")
T.is(log[4], show(true, "parent"), "but of its own under the same numbers")
T.is(log[5], show(true, 1), "in the set that it had")
T.is(log[1] .. ", " .. log[2], show(true, "still", nil, false), "what it waited for goes on, though the child has closed it")
reader:close(); a:close(); b:close()

-- What waits when a process forks waits in the child, too.
a, b = pair()
W.spawn(function() log[1] = show(a:recvable(5)) end)
W.spawn(function()
  W.sleep(0.01)
  pid, reader = fork(function()
    local c, d = pair() -- the first wait of the child is for another
    W.spawn(function() d:send "x" end)
    c:recvable(5)
    log[1] = nil
    b:send "x"
    for _ = 1, 50 do
      if log[1] then break end
      W.sleep(0.05)
    end
    return log[1]
  end)
  log[2] = told(pid, reader)
  assert(a:recv() == "x") -- they share one connection
  W.sleep(0.05)
  b:send "y"
end)
W.run()
T.is(log[2], "true", "a wait from before the fork ends in the child")
T.is(log[1], "true", "and in the parent")
reader:close(); a:close(); b:close()

-- A child that never waits, and only closes.
a, b = pair()
W.spawn(function()
  b:send "x"
  a:recvable(5)
  a:recv()
  pid, reader = fork(function()
    local was = calls.remove
    a:close(); b:close()
    return calls.remove - was
  end)
  log[1] = told(pid, reader)
  W.spawn(function() b:send "y" end)
  log[2] = show(a:recvable(5), a:recv())
end)
W.run()
T.is(log[1], "0", "a child that closes a socket does not remove it from its parent's set")
T.is(log[2], show(true, "y", nil, false), "where it is still waited for")
reader:close(); a:close(); b:close()

-- The child closes what is waited for before its loop has made a set.
a, b = pair()
W.spawn(function()
  local waiter = W.spawn(function() return a:recvable(5) end)
  W.sleep(0.01)
  pid, reader = fork(function()
    sys.close(a:fd())
    return show(W.join(waiter, 2))
  end)
  b:send "x"
  log[1] = show(W.join(waiter))
end)
W.run()
T.is(told(pid, reader), show(nil, errors.text(L.EBADF), L.EBADF), "a wait for what the child has closed ends at once")
T.is(log[1], "true", "and in the parent it goes on")
reader:close(); a:close(); b:close()

a, b = pair()
-- The child of a child; and a loop that runs first in a child.
pid, reader = fork(function()
  local all = {}
  W.spawn(function()
    b:send "1"
    all[1] = show(a:recvable(5), (a:recv()))
    local inner, from = fork(function()
      b:send "2"
      return show(a:recvable(5), (a:recv()))
    end)
    proc.wait(inner)
    all[2] = from:recv()
    b:send "3"
    all[3] = show(a:recvable(5), (a:recv()))
  end)
  W.run()
  return table.concat(all, "; ")
end)
T.is(told(pid, reader), 'true, "1"; true, "2"; true, "3"', "a loop in a child, and the child's child")
reader:close(); a:close(); b:close()

-- A fork in the midst of the making of the set, at any instruction: the child must not take its parent's set for its own.
local kernel, READ = require "llsocket.wait.kernel", require("llsocket.poll.bits").READ

-- In a process of its own, which has no set yet.  Answers whether the parent is told of its byte after its child, which goes on
-- with the same call, has forgotten the descriptor.
local function is_told(n)
  jit.off(); jit.flush() -- compiled code asks no hook
  local one, other = pair()
  local child
  kernel.close()
  debug.sethook(function()
    debug.sethook()
    child = proc.split()
  end, "", n)
  kernel.once(one:fd(), READ)
  debug.sethook()
  if child == 0 then kernel.forget(one:fd()); os.exit(0, false) end
  if child then proc.wait(child) end
  other:send "x"
  return kernel.wait(1000) == 1
end

local untold = {}
for n = 5, 200, 2 do
  if proc.wait(proc.fork(is_told, n)) ~= 0 then untold[#untold + 1] = n end
end
T.is(table.concat(untold, " "), "", "a fork in the midst of the making of the set leaves the parent's alone")

-- Each VM of a process asks for the counter.  A handler of fork(2) for each would also make glibc's list of handlers move,
-- which it must not while another thread forks.
local shim = require "llsocket.shim"
local forks = require("llsocket.core.forks").counter
for _ = 1, 100 do shim.llsocket2_forks() end
local was = forks[0]
T.is(proc.wait(proc.fork(function() return forks[0] - was end)), 1, "a child counts one fork, however many VMs ask")
T.is(forks[0], was, "and its parent none")
T.is(leak.count(), before, "no descriptor is left")
engines.others(T)
T.done()
