-- cost-wait: what a wait in the loop of coroutines costs: instructions, system calls, garbage and memory; and a crowd of 10,000.
local L = require "llsocket"
local W = require "llsocket.wait.coroutine"
local counting = require "counting"
local emulator = require "emulator"
local example = require "example"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local sys = require "sys"
local trace = require "trace"
local T = require("tap").plan(12)

local before = leak.count()
local source, dir = os.getenv "LLSOCKET_SOURCE", net.tmpdir()
local judged = jit.status() and not os.getenv "LLSOCKET_STRESS"

local INSTRUCTIONS, WORST, CALLS, GARBAGE, MEMORY = 2400, 1.5, 3.01, 2, 1000
local TURNS = 3

-- The echo server.  What is counted lies between a call of getppid(2) and one of getpgrp(2).
local SERVER = [[
local ffi = require "ffi"
ffi.cdef "int llsocket_t_begin(void) __asm__(\"getppid\"); int llsocket_t_end(void) __asm__(\"getpgrp\");"
local L = require "llsocket"
local loop = require "llsocket.wait.coroutine"
local from, to, seconds = tonumber(arg[1]), tonumber(arg[2]), tonumber(arg[3])
local listener = assert(L.socket.new(L.inet.getaddrinfo("127.0.0.1", "0")[1], true))
assert(not (listener:bind() or listener:listen()))
print(listener:getsockname():port())
io.stdout:flush()
local open, rounds = 0, 0
local function mark() return rounds == from and ffi.C.llsocket_t_begin() or rounds == to and ffi.C.llsocket_t_end() end
jit.off(mark)
local function echo(sock)
  while true do
    sock:recvable(seconds)
    local message = sock:recv()
    if not message then break end
    sock:send(message)
    rounds = rounds + 1
    if rounds == from or rounds == to then mark() end
  end
  sock:close()
  open = open - 1
  if open == 0 then listener:close() end
end
loop.spawn(function()
  while listener:recvable() do
    local sock = listener:accept()
    while sock do
      open = open + 1
      loop.spawn(echo, sock)
      sock = listener:accept()
    end
  end
end)
loop.run()
]]

local function prepare()
  local file = assert(io.open(dir .. "/server.lua", "w"))
  file:write(SERVER)
  file:close()
  local text, ok = proc.run(shell.format("cc -O2 -std=gnu11 -o %q/load %q/bench/load.c", dir, source))
  assert(ok, text)
end

-- Runs the server below `tool`, which gets its own arguments.
local function serve(tool, connections, from, to, seconds)
  local each = math.ceil(to / connections) + 20
  local command = shell.format("cd %q && ./load new %d -%d %s %q server.lua %d %d %s", dir, connections, each, tool, proc.luajit,
    from, to, seconds or "")
  local text, ok = proc.run(command)
  if not ok then print("# " .. text:gsub("\n", "\n# ")) end
end

local function instructions(connections, seconds)
  local from, to = 10000, 20000
  serve("valgrind --tool=callgrind --smc-check=all-non-file --callgrind-out-file=out --zero-before=getppid --dump-before=getpgrp",
    connections, from, to, seconds)
  local out = io.open(dir .. "/out.1")
  local count = out and tonumber(out:read("*a"):match "\ntotals: (%d+)") or 0
  if out then out:close() end
  return count / (to - from)
end

-- The compiler begins differently in each run: the median of some, and the worst of them.
local function several(...)
  local runs = {}
  for i = 1, TURNS do runs[i] = instructions(...) end
  table.sort(runs)
  return runs[math.ceil(TURNS / 2)], runs[TURNS]
end

local function has(command)
  local said, ok = proc.run(command)
  return ok or nil, said:gsub("\n", " ")
end

local function reason_not_to_count()
  if require("missing").nosignal then return require("missing").nosignal end
  local why = counting.refusal() or counting.lacks("valgrind", counting.VALGRIND)
  if why then return why end
  if not L.EPOLLIN then return "load.c needs epoll" end
  if not example.has "cc" then return "this machine has no cc" end
end

local why = reason_not_to_count()
if why then
  T.skip(3, why)
else
  prepare()
  for _, connections in ipairs { 1, 50 } do
    local median, worst = several(connections)
    T.ok(median > 500 and median <= INSTRUCTIONS and worst <= WORST * median,
      ("with %d connections a round takes at most %d instructions: %.0f, at most %.0f")
        :format(connections, INSTRUCTIONS, median, worst))
  end
  local limited = several(50, 60)
  T.ok(limited > 500 and limited <= INSTRUCTIONS, ("so it does where each wait has a limit: %.0f"):format(limited))
end

-- System calls ---------------------------------------------------------------------------------------------

local function reason_not_to_trace()
  if require("missing").nosignal then return require("missing").nosignal end
  if not L.EPOLLIN then return "load.c needs epoll" end
  if emulator.calls then return emulator.calls end
  if not example.has "cc" then return "this machine has no cc" end
  if not example.has "strace" then return "no strace on this machine" end
  local traces, said = has "strace -o /dev/null true"
  if not traces then return "strace may not trace here: " .. said end
end

local COUNTED = {
  recvfrom = true, recv = true, sendto = true, send = true, epoll_wait = true, epoll_pwait = true, epoll_ctl = true,
}

local function calls(connections, rounds, seconds)
  serve("strace -o log", connections, rounds, rounds, seconds)
  local n = 0
  for line in io.lines(dir .. "/log") do
    if COUNTED[line:match "^([%w_]+)%("] then n = n + 1 end
  end
  return n
end

why = reason_not_to_trace()
if why then
  T.skip(2, why)
else
  prepare()
  for i, name in ipairs { "a round makes three system calls", "so it does where each wait has a limit" } do
    local seconds = i == 2 and 60 or nil
    local n = (calls(1, 3000, seconds) - calls(1, 1000, seconds)) / 2000
    T.ok(n > 2 and n <= CALLS, ("%s: %.3f"):format(name, n))
  end
end

-- Garbage --------------------------------------------------------------------------------------------------

local function garbage(seconds)
  local a, b = net.pair(L.SOCK_STREAM, true)
  local bytes
  local function rounds()
    for _ = 1, 2000 do
      b:send "x"
      a:recvable(seconds)
      a:recv()
    end
  end
  W.spawn(function() bytes = trace.garbage(rounds) / 2000 end)
  W.run()
  a:close(); b:close()
  return bytes
end

if judged then
  local free, limited = garbage(), garbage(60)
  T.ok(free <= GARBAGE, ("a wait leaves at most %d bytes of garbage: %.2f"):format(GARBAGE, free))
  T.ok(limited <= GARBAGE, ("one with a limit, too: %.2f"):format(limited))
else
  T.skip(2, "allocations are judged where the loop is machine code")
end

-- A crowd ----------------------------------------------------------------------------------------------------

local ROUNDS = 3

-- The client, in a process of its own: each connection sends its number and the round's, and wants it back.
local function client(port, n)
  local ai, socks = L.inet.getaddrinfo("127.0.0.1", port)[1], {}
  for i = 1, n do
    socks[i] = assert(L.socket.new(ai))
    assert(not socks[i]:connect())
  end
  for round = 1, ROUNDS do
    for i = 1, n do socks[i]:send(("%d of %d;"):format(round, i)) end
    for i = 1, n do
      local want = ("%d of %d;"):format(round, i)
      assert(socks[i]:recv() == want, want)
    end
  end
  return true
end

local function echo(sock, done)
  while sock:recvable() do
    local message = sock:recv()
    if not message then break end
    sock:send(message)
    done()
  end
  sock:close()
end

local function accepted(listener, n)
  local socks = {}
  while #socks < n and listener:recvable(20) do
    local sock = listener:accept(true)
    while sock do
      socks[#socks + 1] = sock
      sock = listener:accept(true)
    end
  end
  return socks
end

local function used()
  for _ = 1, 3 do collectgarbage() end
  return collectgarbage "count" * 1024
end

-- Answers the bytes for each coroutine once all have waited again, how many rounds there were, and the client's status.
local function crowd(n)
  local listener = net.listener(nil, true)
  local pid = proc.fork(client, tostring(listener:getsockname():port()), n)
  local socks, rounds, base, bytes = accepted(listener, n), 0, nil, nil
  local function done()
    rounds = rounds + 1
    if rounds == 2 * n then bytes = (used() - base) / n end
  end
  base = used()
  for i = 1, #socks do W.spawn(echo, socks[i], done) end
  W.run()
  listener:close()
  return bytes or 0, rounds, proc.wait(pid)
end

local MOST = 10000
local limit = sys.limit_descriptors(MOST + 100)
local n = limit and not os.getenv "LLSOCKET_RUN" and MOST or 200
local bytes, rounds, status = crowd(n)
T.is(status, 0, ("each of %d connections gets its own bytes back, %d times"):format(n, ROUNDS))
T.is(rounds, ROUNDS * n, "by a coroutine for each")
if n == MOST and judged then
  T.ok(bytes > 300 and bytes <= MEMORY, ("one that waits takes at most %d bytes: %.0f"):format(MEMORY, bytes))
else
  T.skip(1, n == MOST and "stacks are judged in the default mode" or "the limit allows too few descriptors")
end
if limit then sys.limit_descriptors(limit) end

net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.ok(not L.wait.is_set(), "and the way of waiting is as it was")
T.done()
