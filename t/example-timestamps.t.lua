-- timestamps: they are the times when the kernel got a datagram, not when a stopped program later read it.
local L = require "llsocket"
local example = require "example"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local T = require("tap").plan(9)
local before = leak.count()

local LINE = "^(%d%d:%d%d:%d%d)%.(%d%d%d%d%d%d%d%d%d) %+(%d+%.%d%d%d%d%d%d%d%d%d) s: (%d+) bytes from ([%d.:]+)$"

local child, line = example.start("timestamps", "0")
local port = line:match "^listening on 127%.0%.0%.1:(%d+)$"
T.ok(port, "it says where it listens: " .. line)
local ai = net.addr(L.AF_INET, L.SOCK_DGRAM, port)
local sock, name = net.bound(L.AF_INET, L.SOCK_DGRAM)

local function next_line() return child.pipe:read "*l" or "" end

local function pause(sec) sock:recvable(sec) end -- nobody writes to it

local function is_stopped()
  local file = io.open("/proc/" .. child.pid .. "/stat")
  local text = file and file:read "*a" or ""
  if file then file:close() end
  return text:find "%) T "
end

local from = os.time()
sock:sendto("first", ai)
local time, _, gap, size, who = next_line():match(LINE)
local is_now = time and (time == os.date("%H:%M:%S", from) or time == os.date "%H:%M:%S")
T.ok(is_now, "it tells the time of arrival: " .. tostring(time))
T.is(gap, "0.000000000", "the first has none before it")
T.is(size, "5", "it tells the size")
T.is(who, tostring(name), "and the sender")

-- Sends two datagrams, 60 ms apart, to the stopped program; answers the gap that it tells when it goes on.
local function told_gap()
  proc.kill(child.pid, L.SIGSTOP)
  net.await(is_stopped)
  sock:sendto("a", ai)
  pause(0.06)
  sock:sendto("bb", ai)
  proc.kill(child.pid, L.SIGCONT)
  next_line()
  return tonumber((select(3, next_line():match(LINE))))
end

-- The kernel begins to stamp a moment after it is asked to, and stamps what came before when it is read.
local function patient_gap()
  for _ = 1, 20 do
    local told = told_gap()
    if told >= 0.059 then return told end
  end
  return 0
end

if not is_stopped() and io.open "/proc/self/stat" then
  local told = patient_gap()
  T.ok(told >= 0.059 and told < 5, ("waiting datagrams keep their times of arrival: %.3f s"):format(told))
else
  T.skip(1, "this system has no /proc to see that a process is stopped")
end
proc.kill(child.pid, L.SIGCONT)
T.is(example.stop(child), "", "nothing more is printed")

local text, ok = example.run("timestamps", "70000")
T.ok(not ok and text:find "^timestamps: ", "a port that cannot be is refused")
sock:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
