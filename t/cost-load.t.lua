-- cost-load: what loading the library takes in user-space instructions, and what an accepted socket takes in memory.
local counting = require "counting"
local emulator = require "emulator"
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local missing = require "missing"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local before = leak.count()
local T = require("tap").plan(4)

-- Beyond what the same interpreter takes for an empty script: with LuaJIT 2.1.0-beta3 and glibc 2.36 on x86-64.
local INSTRUCTIONS, BYTES = 15.2e6, 32

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  return path
end

-- Instructions of a whole process, which a script may start.
local function instructions(dir, source)
  local script = write(dir .. "/script.lua", source)
  local command = "valgrind --trace-children=yes --tool=callgrind --smc-check=all-non-file --callgrind-out-file=%q/out %q %q"
  local text, ended = proc.run(shell.format(command, dir, proc.luajit, script))
  return ended and tonumber(text:match "Collected : (%d+)")
end

local function reason_not_to()
  if emulator.calls then return "valgrind counts the emulator's instructions" end
  return counting.refusal() or counting.lacks("valgrind", counting.VALGRIND)
end

local why = reason_not_to()
if why then T.skip(1, why) else
  local dir = net.tmpdir()
  local with, without = instructions(dir, 'require "llsocket"'), instructions(dir, "")
  local cost = with and without and with - without
  T.ok(cost and cost > 1e6 and cost <= INSTRUCTIONS, ("loading takes at most %d instructions"):format(INSTRUCTIONS))
  print("# instructions: " .. tostring(cost))
end

-- What so many calls of fn add to the heap, one call's share; the least of some runs.
local SIZE = ffi.sizeof(require("llsocket.socket.object").type)
local COUNT, RUNS = 100, 6
local keep = {}
for i = 1, COUNT do keep[i] = false end

local function clear()
  for i = 1, COUNT do keep[i] = false end
  for _ = 1, 3 do collectgarbage() end
  return #keep
end

local function cost(fn)
  assert(clear() == COUNT)
  collectgarbage "stop"
  local start = collectgarbage "count"
  for i = 1, COUNT do keep[i] = fn() end
  local used = (collectgarbage "count" - start) * 1024 / COUNT
  collectgarbage "restart"
  return used
end

local listener, ai = net.listener(L.AF_INET)
listener:listen(COUNT)

-- Any object of that size with any finaliser in C.
ffi.cdef "size_t llsocket_t_strlen(const void *text) __asm__(\"strlen\");"
local object_t = ffi.typeof("struct { uint8_t byte[$]; }", SIZE)
local function object() return ffi.gc(object_t(), ffi.C.llsocket_t_strlen) end

local function accept() return assert(listener:accept()) end

-- The same, with a connection waiting for each call.
local function cost_of_accept()
  local clients = {}
  for i = 1, COUNT do
    clients[i] = assert(L.socket.new(ai))
    assert(not clients[i]:connect())
  end
  local used = cost(accept)
  for _, client in ipairs(clients) do client:close() end
  return used
end

local function least(measure, ...)
  local used = math.huge
  for _ = 1, RUNS do used = math.min(used, measure(...)) end
  return used
end

if why and not why:find "valgrind" then T.skip(2, why) elseif missing.flags then T.skip(2, missing.flags) else
  local accepted, bare = least(cost_of_accept), least(cost, object)
  T.ok(accepted - bare < 2, "an accepted socket is one allocation and a finaliser's slot: no more than any such object")
  T.is(SIZE, BYTES, ("of %d bytes"):format(BYTES))
  print(("# bytes: accepted %.1f, an object %.1f"):format(accepted, bare))
end
clear()
listener:close()
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
