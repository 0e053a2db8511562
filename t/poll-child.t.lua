-- poll-child: a child is identified by its descriptor, so a child that others collect, or a reused number, is never taken
-- for this child's end.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local proc = require "proc"
local signature = require "signature"
local pack, line = signature.pack, signature.line
local poll = L.poll

ffi.cdef "int llsocket_t_unshare_pids(int flags) __asm__(\"unshare\");"

local PLAN, SIGCHLD = 6, L.SIGCHLD
local T = require("tap").plan(PLAN)
local before = leak.count()

local function finish()
  T.is(leak.count(), before, "no descriptor is left")
  T.done()
end

local probe, why, lacks = poll.child(proc.getpid())
if probe then probe:close() end
if lacks == L.ENOSYS then
  T.skip(PLAN - 1, "poll.child: " .. why)
  finish()
end

local GONE = signature.failure("transfer", L.ECHILD)
local function told(event) return line(pack(event:read())) end

-- Waits for the end of an event's child without collecting it.
local function await(event)
  local p = assert(poll.new())
  assert(p:add(event, "r"))
  local n = p:wait(20)
  p:close()
  return n
end

-- Nobody collects it, because SIGCHLD is ignored.
proc.signal(SIGCHLD, proc.SIG_IGN)
local child = assert(poll.child(proc.fork(function() poll.new():wait(0.05) end)))
T.is(await(child), 1, "a child's end is reported even if SIGCHLD is ignored")
T.is(told(child), GONE, "but not how it ended: ECHILD")
child:close()
proc.signal(SIGCHLD, proc.SIG_DFL)

-- A process that ends by a signal, and one that leaves a core, have the signal alone.
child = assert(poll.child(proc.fork(function() proc.kill(proc.getpid(), L.SIGABRT) end)))
await(child)
T.is(told(child), line { n = 3, -L.SIGABRT, nil, false }, "if a child aborts, read returns the negative signal")
child:close()

-- The first process of a namespace of its own, where the numbers are nobody else's: child `gone` is collected, and its
-- number given to another child, which ends or lives.  Answers what the event of the first tells.
local function reused(ends)
  local pid = proc.fork(function() return 7 end)
  local event = assert(poll.child(pid))
  proc.wait(pid)
  local file = assert(io.open("/proc/sys/kernel/ns_last_pid", "w"))
  file:write(pid - 1)
  file:close()
  local stranger = proc.fork(function() return ends and 9 or poll.new():wait(60) end)
  if stranger ~= pid then error "the number was not given away again" end
  if ends then await(assert(poll.child(stranger))) end -- it can be collected
  local got = told(event)
  event:close() -- the stranger goes with the namespace
  return got
end

local NEWPID, NEWUSER, SKIP = 0x20000000, 0x10000000, 77 -- Linux, every architecture

-- Runs fn as the first process of such a namespace; answers its status.
local function alone(fn)
  return proc.wait(proc.fork(function()
    if ffi.C.llsocket_t_unshare_pids(NEWPID) ~= 0 and ffi.C.llsocket_t_unshare_pids(NEWPID + NEWUSER) ~= 0 then return SKIP end
    return proc.wait(proc.fork(function()
      if not io.open("/proc/sys/kernel/ns_last_pid", "w") then return SKIP end
      return fn()
    end))
  end))
end

for _, row in ipairs { { "a stranger's exit status", true }, { "a stranger that lives", false } } do
  local name, ends = row[1], row[2]
  local status = alone(function() return reused(ends) == GONE end)
  if status == SKIP then
    T.skip(1, "no namespace of processes may be made here")
  else
    T.is(status, 0, name .. " under the same number is not taken for the child's: ECHILD")
  end
end

finish()
