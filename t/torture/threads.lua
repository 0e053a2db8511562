-- threads: VMs that live side by side in threads, that are closed with everything in flight, and loops that fork at any point.
--
-- Each run is a process of its own, t/torture/vms, which tells how many VMs failed and how many descriptors are left.
local loops = require "loops"
local operations = require "operations"
local proc = require "proc"
local shell = require "shell"
local torture = require "torture"

local VMS = os.getenv "LLSOCKET_VMS"
local here = os.getenv "LLSOCKET_SOURCE" .. "/t/torture/"

local only = os.getenv "LLSOCKET_TORTURE_ONLY" or ""

-- Title; how often in a whole; the command, given a seed.
local ROWS = {}

local function has_operation()
  for _, op in ipairs(operations.all) do
    if op.title:find(only) then return true end
  end
end

local function threads(title, times, n, rounds, ...)
  if not title:find(only) and not ((...) == "operations" and has_operation()) then return end
  local words = shell.format("%q -t %d -r %d %%s %q %s %%d %s", VMS, n, rounds, here .. "vm.lua", ...)
  ROWS[#ROWS + 1] = { title = title, times = times, vms = n * rounds, command = function(seed)
    return words:format(({ "", "-joff", "-Ohotloop=2,hotexit=1" })[seed % 3 + 1], seed)
  end }
end

local function forks(times, n)
  if not ("a loop that forks at any instruction"):find(only) then return end
  ROWS[#ROWS + 1] = { title = "a loop that forks at any instruction", times = times, forks = n, command = function(seed)
    return shell.format("%q %q %d %d", VMS, here .. "forks.lua", seed, n)
  end }
end

if VMS then
  threads("every operation in four threads at once", 20, 4, 3, "operations", "0.6")
  for _, name in ipairs(loops.names) do
    if name == "coroutine" or pcall(require, name) then
      threads("echo in eight threads at once: " .. name, 10, 8, 4, "echo", name)
    end
  end
  threads("VMs closed with everything in flight", 50, 4, 25, "flight", "")
  forks(100, 40)
end

local T = require("tap").plan(math.max(#ROWS, 1))
torture.announce()
if not VMS then
  T.skip(1, "LuaJIT has no headers here, so there is no t/torture/vms")
  T.done()
end

-- Errors of a process that a signal ended have no other sign than its status.
local function run(row)
  local seed = math.random(2 ^ 31 - 1)
  local command = "timeout 120 " .. row.command(seed)
  local said, well, code = proc.run(command)
  row.runs = (row.runs or 0) + 1
  if well then return end
  row.failed = ("# status %d of: %s\n# %s"):format(code, command, said:sub(1, 4000):gsub("\n", "\n# "))
end

local function left()
  local list = {}
  for _, row in ipairs(ROWS) do
    if (row.runs or 0) < row.times and not row.failed then list[#list + 1] = row end
  end
  return list
end

-- Each has its turn, so that a share has a bit of all.
local rows = left()
while #rows > 0 and not (torture.is_time_up() and ROWS[#ROWS].runs) do
  for _, row in ipairs(rows) do
    if not (torture.is_time_up() and row.runs) then run(row) end
  end
  rows = left()
end

local vms, forked = 0, 0
for _, row in ipairs(ROWS) do
  vms, forked = vms + (row.vms or 0) * row.runs, forked + (row.forks or 0) * row.runs
  if not T.ok(not row.failed, row.title) then print(row.failed) end
end
print(("# %d VMs in threads, %d forks, %d s"):format(vms, forked, torture.elapsed()))
T.done()
