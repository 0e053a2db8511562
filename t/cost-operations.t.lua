-- cost-operations: what each operation costs in user-space instructions, system calls and bytes of garbage, its loop
-- included.  The collector stands still meanwhile.  A ceiling is what was measured and about a seventh of it.
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local leak = require "leak"
local missing = require "missing"
local before = leak.count()

-- name, what makes `run`, a function that does the operation n times; ceilings of instructions, calls and bytes; how often.
-- A string that nobody wants the compiler would not make: so `got` outlives the loop.
local ROWS = {
  { "send and recv", [[run = function(n)
      local a, b, message, got = a, b, message, nil
      for _ = 1, n do a:send(message); got = b:recv(64) end
      return got
    end]], 215, 2, 0 },
  { "sendfrom and recvinto", [[run = function(n)
      local a, b, from, into = a, b, from, into
      for _ = 1, n do a:sendfrom(from); b:recvinto(into) end
    end]], 85, 2, 0 },
  { "sendmsg, recvmsg and data", [[local out, got = L.msghdr.new { data = message }, nil
    local box = L.msghdr.new { size = 64 }
    run = function(n) for _ = 1, n do a:sendmsg(out); b:recvmsg(box); got = box:data() end return got end]], 330, 2, 0 },
  { "sendto and recvfrom", [[local got, ai
    run = function(n)
      for _ = 1, n do udp:sendto(message, name); got, ai = udp:recvfrom(64) end
      return got, ai
    end]], 500, 2, 165 },
  { "sendtofrom and recvfrominto", [[local ai = udp:getsockname()
    run = function(n) for _ = 1, n do udp:sendtofrom(from, 64, name); udp:recvfrominto(into, 64, ai) end end]], 135, 2, 0 },
  { "sendbatch and recvbatch of 64 messages", [[local batch = require "llsocket.batch"
    local out, box = batch.new { count = 64, size = 64 }, batch.new { count = 64, size = 64 }
    for i = 1, 64 do out:data(i, message) end
    run = function(n)
      for _ = 1, n do assert(c:sendbatch(out) == 64); assert(d:recvbatch(box) == 64) end
    end]], 3500, 2, 0, 500 },
  { "accept and close", [[prepare = function(n) crowd = {} for i = 1, n do crowd[i] = client() end end
    run = function(n) for _ = 1, n do listener:accept():close() end end]], 960, 2, 85, 100 },
  { "an option read", [[run = function(n) for _ = 1, n do a:rcvbuf() end end]], 50, 1, 0 },
  { "an option set", [[run = function(n) for _ = 1, n do a:reuseaddr(true) end end]], 50, 1, 0 },
  { "getaddrinfo of numbers", [[local list
    run = function(n) for _ = 1, n do list = L.inet.getaddrinfo("127.0.0.1", "80") end return list end]], 600, 0, 255 },
}

-- A call of this is seen by valgrind and by strace alike; none of its own makes it.
local HEAD = [[
local ffi = require "ffi"
local L = require "llsocket"
ffi.cdef 'int llsocket_t_mark(int pid) __asm__("getpgid");'
local tcp = L.inet.getaddrinfo("127.0.0.1", "0")[1]
local listener = L.socket.new(tcp)
listener:bind(); listener:listen()
local address = listener:getsockname()
local function client()
  local sock = L.socket.new(tcp)
  assert(not sock:connect(address))
  return sock
end
local a, b = unpack(L.socket.pair(L.SOCK_STREAM))
local c, d = unpack(L.socket.pair(L.SOCK_DGRAM))
c:sndbuf(2^20)
local udp = L.socket.new(L.inet.getaddrinfo("127.0.0.1", "0", L.SOCK_DGRAM)[1])
udp:bind()
local name = udp:getsockname()
local message, from, into = ("x"):rep(64), ffi.new "uint8_t[64]", ffi.new "uint8_t[64]"
local crowd, prepare, run

local function ready(n)
  if prepare then prepare(n) end
  collectgarbage(); collectgarbage "stop"
end

-- Bytes of garbage of one: the least of three, since a trace that is made now and then counts as well.
local function garbage(n)
  local least = math.huge
  for _ = 1, 3 do
    ready(n)
    local start = collectgarbage "count"
    run(n)
    least = math.min(least, (collectgarbage "count" - start) * 1024 / n)
    collectgarbage "restart"
  end
  return least
end

local function cost(i, n)
  for _ = 1, 3 do
    ready(n)
    collectgarbage "restart"
    run(n)
  end
  print(i, garbage(n))
  ready(n)
  ffi.C.llsocket_t_mark(-2 * i)
  run(n)
  ffi.C.llsocket_t_mark(-2 * i - 1)
  collectgarbage "restart"
end
]]

local dir = net.tmpdir()
local script = dir .. "/script.lua"

local function write_script()
  local file = assert(io.open(script, "w"))
  file:write(HEAD)
  for i, row in ipairs(ROWS) do
    file:write(("do\nprepare = nil\n%s\ncost(%d, %d)\nend\n"):format(row[2], i, row[6] or 2000))
  end
  file:close()
end

local function rounds(row) return row[6] or 2000 end

-- Instructions by row: callgrind writes what it counted since the last mark to a file at each.
local function instructions()
  -- The interpreter may be started by a script: hence its children.
  local command = "valgrind --tool=callgrind --trace-children=yes --smc-check=all-non-file --dump-before=getpgid "
    .. "--callgrind-out-file=%q/out %q %q"
  local text, ended = proc.run(shell.format(command, dir, proc.luajit, script))
  if not ended then print("# " .. text:gsub("\n", "\n# ")) end
  local out = {}
  for i, row in ipairs(ROWS) do
    local file = io.open(dir .. "/out." .. 2 * i)
    out[i] = file and tonumber(file:read "*a":match "\ntotals: (%d+)") / rounds(row)
    if file then file:close() end
  end
  return out
end

-- The allocator's and the JIT's own.
local MEMORY = { mmap = true, munmap = true, mremap = true, mprotect = true, brk = true, madvise = true }

local function calls()
  local text, ended = proc.run(shell.format("strace -o %q/log %q %q", dir, proc.luajit, script))
  if not ended then print("# " .. text:gsub("\n", "\n# ")) end
  local out, row = {}, nil
  for line in io.lines(dir .. "/log") do
    local name, mark = line:match "^([%w_]+)%(", tonumber((line:match "^getpgid%(%-(%d+)"))
    if mark then row = mark % 2 == 0 and mark / 2 or nil
    elseif row and name and not MEMORY[name] then out[row] = (out[row] or 0) + 1 / rounds(ROWS[row]) end
  end
  for i = 1, #ROWS do out[i] = out[i] or 0 end
  return out
end

local function garbage()
  local text, ended = proc.run(shell.format("%q %q", proc.luajit, script))
  if not ended then print("# " .. text:gsub("\n", "\n# ")) end
  local out = {}
  for i, bytes in text:gmatch "(%d+)%s+(%S+)\n" do out[tonumber(i)] = tonumber(bytes) end
  return out
end

local function runs_under(tool, try)
  local _, found = proc.run("command -v " .. tool)
  if not found then return false, ("no %s on this machine"):format(tool) end
  local said, runs = proc.run(try)
  return runs, not runs and ("%s does not run here: %s"):format(tool, said:gsub("\n", " ")) or nil
end

local function general_reason()
  if not jit.status() or os.getenv "LLSOCKET_STRESS" then return "costs are counted in the default mode only" end
  if os.getenv "LLSOCKET_RUN" then return "the interpreter is of another machine, and its emulator would be counted" end
  return missing.nosignal or missing.flags
end

local KINDS = {
  { 3, "instructions", instructions, "valgrind", "valgrind --tool=none -q true" },
  { 4, "system calls", calls, "strace", "strace -o /dev/null true" },
  { 5, "bytes of garbage", garbage },
}

local T = require("tap").plan(#ROWS * #KINDS + 1)
local general = general_reason()
write_script()

local function is_over(costs, column)
  for i, row in ipairs(ROWS) do
    if (costs[i] or math.huge) > row[column] + 0.3 then return true end
  end
  return false
end

-- The least of at most three runs: where traces begin differs from run to run, and what costs more costs it always.
local function least(measure, column)
  local costs = measure()
  for _ = 1, 2 do
    if not is_over(costs, column) then break end
    local again = measure()
    for i = 1, #ROWS do costs[i] = math.min(costs[i] or math.huge, again[i] or math.huge) end
  end
  return costs
end

local function judge(kind)
  local column, unit, measure, tool, try = unpack(kind)
  local _, why = nil, general
  if not why and tool then _, why = runs_under(tool, try) end
  local costs = not why and least(measure, column)
  for i, row in ipairs(ROWS) do
    if why then T.skip(1, why) else
      local cost, most = costs[i], row[column]
      T.ok(cost and cost <= most + 0.3, ("%s: at most %d %s"):format(row[1], most, unit))
      print("# " .. tostring(cost))
    end
  end
end

for _, kind in ipairs(KINDS) do judge(kind) end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
