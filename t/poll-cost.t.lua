-- poll-cost: an event costs the same with any number of sockets, allocates nothing, and is compiled.
local L = require "llsocket"
local counting = require "counting"
local leak = require "leak"
local net = require "net"
local pollers = require "pollers"
local proc = require "proc"
local shell = require "shell"
local sys = require "sys"
local trace = require "trace"
local poll = L.poll

local before = leak.count()
local T = require("tap").plan(#pollers.names * 3 + 3)

local MOST = 500 -- for a send, a wait, an event and a recv

local judged = jit.status() and not os.getenv "LLSOCKET_STRESS"

-- Two sockets of which one is ready again and again.
local function loops(name)
  local p, a, b = assert(poll.new(name)), net.pair(L.SOCK_STREAM, true)
  assert(p:add(a, "r"))
  assert(p:add(b, "r"))
  local function by_number()
    local n = 0
    for _ = 1, 2000 do
      b:send "x"
      for i = 1, p:wait(1) do
        local sock, read = p:event(i)
        if read and sock:recv() then n = n + 1 end
      end
    end
    return n
  end
  local function by_iterator()
    local n = 0
    for _ = 1, 2000 do
      b:send "x"
      p:wait(1)
      for _, sock, read in p:events() do
        if read and sock:recv() then n = n + 1 end
      end
    end
    return n
  end
  trace.is(T, by_number, name .. ": wait and event compile")
  trace.is(T, by_iterator, name .. ": wait and events compile")
  if judged then
    local n
    local bytes = trace.garbage(function() n = by_number() + by_iterator() end)
    T.ok(n == 4000 and bytes < 1000, ("%s: 4,000 events allocate %d bytes"):format(name, bytes))
  else
    T.skip(1, "allocations are judged where the loop is machine code")
  end
  a:close(); b:close(); p:close()
end

-- What is counted lies between a call of getppid(2) and one of getpgrp(2).
local SCRIPT = [[
local ffi = require "ffi"
ffi.cdef "int llsocket_t_begin(void) __asm__(\"getppid\"); int llsocket_t_end(void) __asm__(\"getpgrp\");"
local L = require "llsocket"
local ai = L.inet.getaddrinfo("127.0.0.1", "0", L.SOCK_DGRAM)[1]
local p, socks = L.poll.new(), L.socket.pair(L.SOCK_STREAM)
local a, b, n = socks[1], socks[2], 0
for _ = 1, tonumber(arg[2]) do assert(p:add(assert(L.socket.new(ai)), "r")) end
assert(p:add(a, "r"))
local function rounds(most)
  for _ = 1, most do
    b:send "x"
    p:wait(0)
    local sock = p:event(1)
    if sock:recv(64) then n = n + 1 end
  end
end
jit.flush() -- what was compiled to register is another matter
collectgarbage(); collectgarbage "stop" -- the interpreter makes objects that machine code does without
rounds(tonumber(arg[1]))
ffi.C.llsocket_t_begin()
rounds(tonumber(arg[1]))
ffi.C.llsocket_t_end()
assert(n == 2 * arg[1])
]]

-- Instructions of one round, interpreted or compiled.
local function instructions(flag, rounds, idle)
  local dir = net.tmpdir()
  local script = assert(io.open(dir .. "/rounds.lua", "w"))
  script:write(SCRIPT)
  script:close()
  local command = "cd %q && valgrind --tool=callgrind --trace-children=yes --smc-check=all-non-file --callgrind-out-file=out"
    .. " --zero-before=getppid --dump-before=getpgrp %q %s rounds.lua %d %d"
  local text, ended = proc.run(shell.format(command, dir, proc.luajit, flag, rounds, idle))
  local out = io.open(dir .. "/out.1")
  local count = out and tonumber(out:read("*a"):match "\ntotals: (%d+)")
  if out then out:close() end
  if not (ended and count) then print("# " .. text:gsub("\n", "\n# ")) end
  return count and count / rounds or 0
end

local function reason_not_to()
  if require("missing").nosignal then return require("missing").nosignal end
  return counting.refusal() or counting.lacks("valgrind", counting.VALGRIND)
end

for _, name in ipairs(pollers.names) do loops(name) end
local why = reason_not_to()
-- Raised here: below valgrind a program may not raise the limit that valgrind started with.
local limit = not why and sys.limit_descriptors(10100)
if not (why or limit) then why = "10,000 idle sockets are more than the hard limit allows" end
if why then
  T.skip(2, why)
else
  -- Which traces the compiler makes differs from run to run; what the interpreter does is always the same.
  -- What happens once, as the growth of a large table, is shared by many rounds.
  local few, many = instructions("-joff", 3000, 10), instructions("-joff", 3000, 10000)
  T.ok(few > 1000 and math.abs(many - few) < few * 0.02,
    ("one ready socket costs the same beside 10,000 idle ones as beside 10: %.0f, %.0f instructions interpreted")
      :format(many, few))
  local compiled = instructions("-jon", 10000, 10000)
  T.ok(compiled > 40 and compiled <= MOST,
    ("and at most %d compiled, with a send and a recv: %.0f"):format(MOST, compiled))
  sys.limit_descriptors(limit)
end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
