-- one.lua -- one participant does the work of one question, in a process of its own.
--
--   luajit one.lua QUESTION ROW SECONDS|-OPERATIONS [ARG...]
--
-- Prints operations, the ns of the clock and of the CPU that they took, and, of seconds, the bytes of garbage of one.
local clock = require "bench.lib.clock"
local question = require("bench." .. arg[1])
local row, span = question.rows[tonumber(arg[2])], tonumber(arg[3])
local chunk = question.chunk or 100

local function print_line(...) print(("%d %.0f %.0f %.3f"):format(...)) end

if question.once then
  print_line(row.start(unpack(arg, 4)))
  os.exit(0, true)
end

local run, prepare = row.start(unpack(arg, 4))
prepare = prepare or function() end

local done, wall, cpu

local function one_chunk()
  prepare(chunk)
  local w, c = clock.wall(), clock.cpu()
  run(chunk)
  cpu = cpu + clock.cpu() - c
  wall = wall + clock.wall() - w
  done = done + chunk
end

local function work_until(over)
  done, wall, cpu = 0, 0, 0
  repeat one_chunk() until over()
end

-- The least of three, since a trace that is made now and then counts as well.
local function garbage()
  local least = math.huge
  for _ = 1, 3 do
    prepare(chunk)
    collectgarbage()
    collectgarbage "stop"
    local before = collectgarbage "count"
    run(chunk)
    least = math.min(least, (collectgarbage "count" - before) * 1024 / chunk)
    collectgarbage "restart"
  end
  return least
end

-- So many operations; the second half of them lies between two marks.
if span < 0 then
  work_until(function()
    if done == -span / 2 then clock.mark() end
    return done >= -span
  end)
  clock.mark()
  print(("%d %.0f %.0f"):format(done, wall, cpu))
  os.exit(0)
end

work_until(function() return wall >= span * 5e8 end) -- to warm up
work_until(function() return wall >= span * 1e9 end)
local operations, on_wall, on_cpu = done, wall, cpu
print_line(operations, on_wall, on_cpu, garbage())
os.exit(0)
