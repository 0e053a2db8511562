-- cost-echo: a round of the echo server over llsocket.poll makes the system calls that the same server in C makes.
local emulator = require "emulator"
local example = require "example"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local before = leak.count()
local T = require("tap").plan(4)

local source, dir = os.getenv "LLSOCKET_SOURCE", net.tmpdir()
local SHORT, LONG = 200, 600 -- rounds on each connection: what starting costs drops out

local function build(name)
  local text, ok = proc.run(shell.format("cc -O2 -std=gnu11 -o %q/%s %q/bench/%s.c", dir, name, source, name))
  assert(ok, text)
end

-- The libc of some machines makes the longer call with nothing in it.
local SAME = { recv = "recvfrom", send = "sendto" }

-- How often each call was made, by name.
local function calls_of(server, connections, rounds)
  local log = dir .. "/log"
  local command = shell.format("%q/load new %d -%d strace -o %q %s", dir, connections, rounds, log, server)
  local text, ok = proc.run(command)
  assert(ok, text)
  local calls = {}
  for line in io.lines(log) do
    local name = line:match "^([%w_]+)%("
    name = SAME[name] or name
    if name then calls[name] = (calls[name] or 0) + 1 end
  end
  return calls
end

local MEMORY = { mmap = true, munmap = true, mremap = true, mprotect = true, brk = true, madvise = true }

-- What one round costs, as text: "recvfrom 1.00, sendto 1.00".
local function cost(server, connections)
  local few, many, list = calls_of(server, connections, SHORT), calls_of(server, connections, LONG), {}
  for name, n in pairs(many) do
    local each = (n - (few[name] or 0)) / ((LONG - SHORT) * connections)
    if each > 0.005 and not MEMORY[name] then list[#list + 1] = ("%s %.2f"):format(name, each) end
  end
  table.sort(list)
  return table.concat(list, ", "), list
end

-- With several connections how many events a wait tells depends on the machine, and only that.
local function but_waits(list)
  local rest = {}
  for _, one in ipairs(list) do
    if not one:find "^epoll_p?wait" then rest[#rest + 1] = one end
  end
  return table.concat(rest, ", ")
end

local function reason_not_to()
  if require("missing").nosignal then return require("missing").nosignal end
  if not require("llsocket").EPOLLIN then return "no epoll on this system" end
  if emulator.calls then return emulator.calls end
  if not example.has "cc" then return "this machine has no cc" end
  if not example.has "strace" then return "no strace on this machine" end
  local said, traces = proc.run "strace -o /dev/null true"
  if not traces then return "strace may not trace here: " .. said:gsub("\n", " ") end
end

local why = reason_not_to()
if why then
  T.skip(3, why)
else
  build "load"
  build "echo"
  local lua = example.command(source .. "/bench/server/buffer.lua")
  local in_c, in_c_list = cost(dir .. "/echo", 1)
  T.is(#in_c_list, 3, "in C a round is three calls: " .. in_c)
  T.is(cost(lua, 1), in_c, "over llsocket.poll it is the same calls")
  local _, many_in_c = cost(dir .. "/echo", 10)
  local _, many = cost(lua, 10)
  T.is(but_waits(many), but_waits(many_in_c), "with 10 connections, too")
end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
