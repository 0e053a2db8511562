-- cost-loops: what a round of an echo handler costs in each loop, and what a wait leaves to the collector.
--
-- Two handlers answer each other, so that a wait never finds its socket ready, and each round goes through the loop.  How LuaJIT
-- compiles differs from run to run; the median of several counts.  Most of a round is the loop's own: with bare FFI calls in
-- place of the handler, a round in cqueues costs 5,700 instructions and one in Copas 17,000.
local counting = require "counting"
local leak = require "leak"
local loops = require "loops"
local missing = require "missing"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
loops.settle()
local before = leak.count()

-- instructions, calls, bytes: most of each in one round
local ROWS = {
  { name = "luv", instructions = 4200, calls = 3, bytes = 48 },
  { name = "cqueues", instructions = 9800, calls = 7.1, bytes = 2 },
  { name = "copas", instructions = 21000, calls = 4, bytes = 880 },
}

-- COUNT: prints the garbage of a round between a quarter and the whole of so many rounds, and ends.
local SCRIPT = [[
local name, last, sec = ..., tonumber((select(2, ...))), tonumber((select(3, ...)))
local L = require "llsocket"
local loop = require("loops").open(name)
L.wait.set(loop.wait)
local socks, rounds, start = L.socket.pair(L.SOCK_STREAM, true), 0, nil
local function count()
  rounds = rounds + 1
  if rounds == last / 4 then start = collectgarbage "count" end
  if rounds < last then return end
  io.write(("%.3f\n"):format((collectgarbage "count" - start) * 1024 / (last * 3 / 4)))
  io.stdout:flush()
  os.exit(0)
end
local function echo(sock)
  while true do
    sock:recvable(sec)
    local message = sock:recv()
    count()
    sock:send(message)
  end
end
collectgarbage()
collectgarbage "stop"
for i = 1, 2 do loop.spawn(echo, socks[i]) end
socks[1]:send(("x"):rep(64))
loop.run()
]]

local SHORT, LONG = 2000, 8000 -- what starting costs drops out
local dir = net.tmpdir()
local script, log = dir .. "/script.lua", dir .. "/log"

local function write_script()
  local file = assert(io.open(script, "w"))
  file:write(SCRIPT)
  file:close()
end

local function run(tool, name, rounds, sec)
  local text, ok = proc.run(tool .. shell.format("%q %q %s %d %s", proc.luajit, script, name, rounds, sec or ""))
  if not ok then print("# " .. text:gsub("\n", "\n# ")) end
  return text
end

local function read(path)
  local file = io.open(path)
  local text = file and file:read "*a" or ""
  if file then file:close() end
  return text
end

local function instructions(name, rounds)
  run(shell.format("valgrind --tool=callgrind --trace-children=yes --smc-check=all-non-file --callgrind-out-file=%q ", log), name,
    rounds)
  return tonumber(read(log):match "\ntotals: (%d+)") or math.huge
end

-- The allocator's own.
local MEMORY = { mmap = true, munmap = true, mremap = true, mprotect = true, brk = true, madvise = true }

local function calls(name, rounds)
  run(shell.format("strace -o %q ", log), name, rounds)
  local n = 0
  for call in read(log):gmatch "\n([%w_]+)%(" do
    if not MEMORY[call] then n = n + 1 end
  end
  return n
end

local function a_round(measure, name) return (measure(name, LONG) - measure(name, SHORT)) / (LONG - SHORT) end

local function median(list)
  table.sort(list)
  return list[math.ceil(#list / 2)]
end

local function median_instructions(name)
  local list = {}
  for i = 1, 3 do list[i] = a_round(instructions, name) end
  return median(list)
end

-- A trace that is made now and then counts as well, hence the least of three.
local function garbage(name, sec)
  local least = math.huge
  for _ = 1, 3 do least = math.min(least, tonumber(run("", name, LONG, sec)) or math.huge) end
  return least
end

local T = require("tap").plan(#ROWS * 4 + 1)

local function judge(cost, ceiling, sentence, ...)
  T.ok(cost <= ceiling, sentence:format(...))
  print(("# %.1f"):format(cost))
end

local function judge_instructions(row)
  local cost = median_instructions(row.name)
  if cost > row.instructions then cost = math.min(cost, median_instructions(row.name)) end
  judge(cost, row.instructions, "%s: at most %d instructions a round", row.name, row.instructions)
end

local function judge_loop(row, no_valgrind, no_strace)
  if no_valgrind then T.skip(1, no_valgrind) else judge_instructions(row) end
  if no_strace then T.skip(1, no_strace) else
    judge(a_round(calls, row.name), row.calls + 0.05, "%s: at most %s system calls a round", row.name, row.calls)
  end
  judge(garbage(row.name), row.bytes + 0.9, "%s: at most %d bytes of garbage a round", row.name, row.bytes)
  judge(garbage(row.name, 5), row.bytes + 24.9, "%s: with a time of 5 s at most %d", row.name, row.bytes + 24)
end

write_script()
local general = counting.refusal() or not require("llsocket").EPOLLIN and "no epoll on this system"
  or missing.nosignal or missing.flags
local no_valgrind = general or counting.lacks("valgrind", counting.VALGRIND)
local no_strace = general or counting.lacks("strace", "strace -o /dev/null true")
for _, row in ipairs(ROWS) do
  local why = general or select(2, loops.open(row.name))
  if why then T.skip(4, why) else judge_loop(row, no_valgrind, no_strace) end
end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
