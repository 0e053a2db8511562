-- resolve-unbound: libunbound's context: its thread takes no signal, a forked child makes its own, changed files are noticed,
-- descriptors may run out, a wait may be cancelled, and the process may wait itself while coroutines do.
local L = require "llsocket"
local loop = require "llsocket.wait.coroutine"
local dnsd = require "dnsd"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local sys = require "sys"

local is_there, way = pcall(require, "llsocket.resolve.unbound")
local N = 23
local T = require("tap").plan(N + 1)
local FOUND = "[2001:db8::1]:80"
local CONF = "nameserver 127.0.0.1\n"

local function show(arr, _, code, e)
  if not arr then return e and L.EAI_SYSTEM == code and "errno " .. e or "code " .. code end
  return tostring(arr[1])
end

-- The masks of all threads of this process.  A child must not read them: popen(3) blocks all signals while it starts one.
local function thread_masks()
  local out = {}
  for id in proc.run("ls /proc/" .. proc.getpid() .. "/task"):gmatch "%d+" do
    local file = assert(io.open(("/proc/self/task/%s/status"):format(id)))
    out[#out + 1] = file:read("*a"):match "SigBlk:%s*(%x+)"
    file:close()
  end
  return out
end

local function threads()
  local masks = thread_masks()
  T.is(#masks, 1, "before the first name there is no thread")
  T.is(show(way.resolve(5, "usual1.lan", 80)), FOUND, "without a loop, a lookup blocks the process")
  masks = thread_masks()
  T.is(#masks, 2, "libunbound has begun a thread")
  table.sort(masks)
  T.ok(masks[2]:find "^f+[0-9a-f]*$" and #masks[2] == 16, "which takes no signal: " .. masks[2])
  T.ok(not masks[1]:find "^ff", "and the mask of this one is as before")
end

-- How many epolls, eventfds and the like there are.  Sockets are of libunbound's thread: what was given up it may still ask.
local function own()
  collectgarbage(); collectgarbage()
  return (select(2, proc.run("ls -l /proc/" .. proc.getpid() .. "/fd"):gsub("anon_inode", "")))
end

local function cancelled()
  local before, answers = own(), {}
  L.wait.set(loop.wait)
  local function ask(i, sec, name)
    return loop.spawn(function() answers[i] = show(way.resolve(sec, name .. ".lan", 80)) end)
  end
  local first = ask(1, 20, "silent1") -- which waits for the context on behalf of the others
  local second, third = ask(2, 20, "silent2"), ask(3, 0.4, "silent3")
  ask(4, 5, "slow2")
  local waited
  loop.spawn(function()
    loop.sleep(0.1)
    loop.cancel(first)
    loop.sleep(0.05)
    waited = answers[1] and not (answers[2] or answers[3])
    loop.join(third)
    loop.cancel(second)
  end)
  local from = sys.clock()
  loop.run()
  L.wait.set()
  T.is(answers[1], "errno " .. L.ECANCELED, "loop.cancel ends a lookup")
  T.ok(waited, "the others wait on")
  T.is(answers[4], FOUND, "another one reads for them then")
  T.is(answers[3], "errno " .. L.ETIMEDOUT, "and limits hold")
  T.is(answers[2], "errno " .. L.ECANCELED, "and each may be cancelled")
  T.ok(sys.clock() - from < 5, "in time")
  T.is(own(), before, "no descriptor is left of them")
end

-- The process waits inside a callback, while coroutines wait, too, whose answers it may get.
local function blocking()
  L.wait.set(loop.wait)
  local answers = {}
  for i = 1, 3 do
    loop.spawn(function() answers[i] = show(way.resolve(20, ("slow%d.lan"):format(10 + i), 80)) end)
  end
  loop.spawn(function()
    L.wait.set()
    answers[4] = show(way.resolve(20, "slow20.lan", 80))
    L.wait.set(loop.wait)
  end)
  loop.run()
  L.wait.set()
  T.is(table.concat(answers, " "), (FOUND .. " "):rep(4):sub(1, -2), "a lookup that blocks takes no answer from others")
end

local function forked()
  local function child()
    local name = way.resolve(5, "usual1.lan", 80) and way.resolve(5, "usual5.lan", 80)
    return name and #thread_masks() == 2
  end
  T.is(proc.wait(proc.fork(child)), 0, "a forked child has a context of its own")
  T.is(show(way.resolve(5, "usual6.lan", 80)), FOUND, "and the parent's goes on")
  L.wait.set(loop.wait)
  local answer, status
  loop.spawn(function() answer = show(way.resolve(5, "slow30.lan", 80)) end)
  loop.spawn(function()
    status = proc.wait(proc.fork(function()
      local got = way.resolve(5, "slow31.lan", 80)
      return got ~= nil
    end))
  end)
  loop.run()
  L.wait.set()
  T.is(("%s %s"):format(answer, status), FOUND .. " 0", "also where it was forked while a name is asked for")
end

local function files(paths)
  dnsd.write(paths.hosts, "192.0.2.200 usual1.lan\n")
  T.is(show(way.resolve(5, "usual1.lan", 80)), "192.0.2.200:80", "changes of /etc/hosts are noticed")
  dnsd.write(paths.hosts, "")
  dnsd.write(paths["resolv.conf"], "nameserver 127.0.0.2\n")
  T.is(show(way.resolve(0.5, "usual40.lan", 80)):match "^%a+", "errno", "so are those of resolv.conf: nobody answers there")
  dnsd.write(paths["resolv.conf"], CONF)
  T.is(show(way.resolve(5, "usual41.lan", 80)), FOUND, "and back")
  collectgarbage(); collectgarbage()
  T.is(#thread_masks(), 2, "the contexts of before are gone")
end

-- In a child, before it has a context: libunbound would end the process.
local function short()
  local function child()
    collectgarbage "stop"
    local old = leak.count() + 4
    sys.limit_descriptors(old)
    local first = show(way.resolve(5, "usual50.lan", 80))
    sys.limit_descriptors(256)
    local second = show(way.resolve(5, "usual50.lan", 80))
    if first ~= "errno " .. L.EMFILE then error(first) end
    return second == FOUND
  end
  T.is(proc.wait(proc.fork(child)), 0, "without descriptors enough it is EMFILE, and later all is well")
end

local function crowd()
  L.wait.set(loop.wait)
  local before, right = leak.count(), 0
  local old = sys.limit_descriptors(4096)
  for i = 1, 1000 do
    loop.spawn(function()
      if show(way.resolve(60, ("usual%d.lan"):format(1000 + i), 80)) == FOUND then right = right + 1 end
    end)
  end
  local from = sys.clock()
  loop.run()
  L.wait.set()
  if old then sys.limit_descriptors(old) end
  T.is(right, 1000, ("1,000 names at once: %.3f s"):format(sys.clock() - from))
  T.is(leak.count(), before, "and no descriptor is left")
end

local missing = not is_there and "this machine has no lua-unbound for LuaJIT" or not sys.has_proc and "no /proc here"
local paths, why
if not missing then paths, why = dnsd.enter(CONF, "") end
local before = leak.count()
if paths then
  local server = dnsd.start("127.0.0.1", "53")
  short()
  threads()
  cancelled()
  blocking()
  forked()
  files(paths)
  crowd()
  dnsd.stop(server)
else
  T.skip(N, missing or why)
end
net.cleanup()
T.ok(leak.count() - before <= 12, "what is left is libunbound's: " .. leak.count() - before)
T.done()
