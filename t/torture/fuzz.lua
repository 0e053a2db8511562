-- fuzz: nasty values at every position of every operation, and random sequences of operations over shared objects, in three
-- modes that must answer alike.  README.md tells more.
local net = require "net"
local proc = require "proc"
local random = require "random"
local reduce = require "reduce"
local sequence = require "sequence"
local shell = require "shell"
local torture = require "torture"

local MODES = { "-jon", "-joff", "-Ohotloop=2,hotexit=1" }
local LENGTH = 400 -- steps of a sequence
local WHOLE = 400 -- sequences of a whole run
local LIMIT = torture.seconds and 300 or 900 -- seconds that one process may take
local only = os.getenv "LLSOCKET_TORTURE_ONLY" or ""

local folder = debug.getinfo(1, "S").source:match "^@(.*/)" or "./"
local dir = net.tmpdir()

-- Processes -----------------------------------------------------------------------------------------------------

local function lines_of(path)
  local out = {}
  for line in io.lines(path) do out[#out + 1] = line end
  return out
end

local function command(i, mode, worker, arguments)
  return shell.format("( timeout -s KILL %d %q %s %q %s >%q 2>%q </dev/null; echo $? >%q ) &", LIMIT, proc.luajit, mode,
    folder .. worker, arguments, dir .. "/out" .. i, dir .. "/err" .. i, dir .. "/status" .. i)
end

-- Runs a worker in some modes at once; answers of each { mode =, status =, lines =, err = }.
local function run(worker, arguments, modes)
  local script, out = {}, {}
  for i, mode in ipairs(modes) do script[i] = command(i, mode, worker, arguments) end
  proc.run(table.concat(script, "\n") .. "\nwait")
  for i, mode in ipairs(modes) do
    out[i] = {
      mode = mode, status = tonumber(lines_of(dir .. "/status" .. i)[1]), lines = lines_of(dir .. "/out" .. i),
      err = lines_of(dir .. "/err" .. i)[1],
    }
  end
  return out
end

-- Judging -------------------------------------------------------------------------------------------------------

-- A fault without what differs from run to run: the number of the step, of a descriptor.
local function kind_of(line) return (line:gsub("^! %d* ?", ""):gsub("%d+", "N")) end

local function first_fault(result)
  if result.status ~= 0 then return { kind = "ends with status " .. result.status, mode = result.mode } end
  for _, line in ipairs(result.lines) do
    if line:find "^! " then return { kind = kind_of(line), line = line, mode = result.mode } end
  end
end

-- Whether lines differ for a reason of the library's.  An address is free once the collector has closed the socket that had it,
-- which is at another step in each mode.
local function differ(a, b)
  local function plain(line) -- the kernel chooses an autobound name, and the number of each socket
    return line and (line:gsub("unix:@%x+", "unix:@"):gsub('\\0%x+"', '\\0"'):gsub("(sock:cookie.*: )%d+ULL", "%1ULL"))
  end
  if plain(a) == plain(b) then return false end
  local both = tostring(a) .. tostring(b)
  return not both:find("Address already in use", 1, true)
end

-- The first line that is not the same in all modes.
local function first_difference(results)
  for i = 1, #results[1].lines do
    for k = 2, #results do
      if differ(results[k].lines[i], results[1].lines[i]) then
        local other = results[k].lines[i] or "nothing"
        return { kind = "differs", line = results[1].lines[i], other = other, mode = results[k].mode }
      end
    end
  end
end

local function judge(results)
  for _, result in ipairs(results) do
    local fault = first_fault(result)
    if fault then return fault end
  end
  return first_difference(results)
end

-- Sequences -----------------------------------------------------------------------------------------------------

local function write_steps(steps)
  local file = assert(io.open(dir .. "/steps", "w"))
  for _, step in ipairs(steps) do file:write(step, "\n") end
  file:close()
end

local function perform(seed, steps, modes)
  write_steps(steps)
  return run("sequences.lua", shell.format("%d %d %q", seed, LENGTH, dir .. "/steps"), modes)
end

-- Whether these steps have the fault, too; modes that differ must do so twice, since a kernel's timing may differ once.
local function fails(seed, fault)
  local modes = fault.kind == "differs" and MODES or { fault.mode }
  return function(steps)
    for _ = 1, fault.kind == "differs" and 2 or 1 do
      local found = judge(perform(seed, steps, modes))
      if not found or found.kind ~= fault.kind then return false end
    end
    return true
  end
end

local function all_steps()
  local out = {}
  for i = 1, LENGTH do out[i] = i end
  return out
end

local function tell(seed, steps, fault)
  print(("# seed %d: %s"):format(seed, fault.line or fault.kind))
  if fault.other then print(("# in %s: %s"):format(fault.mode, fault.other)) end
  print(("# the shortest sequence has %d of %d steps, mode %s:"):format(#steps, LENGTH, fault.mode))
  local drawn = sequence.draw(seed, LENGTH)
  for _, i in ipairs(steps) do print(("#   %d %s"):format(i, sequence.show(drawn[i]))) end
end

-- The step at which the fault shows; nil where it shows at the end.
local function step_of(fault)
  local step = tonumber((fault.line or ""):match "^!? ?(%d+)")
  return step and step > 0 and step or nil
end

-- Answers whether the fault stays.
local function settle(seed, fault)
  local test = fails(seed, fault)
  if not test(all_steps()) then
    print(("# seed %d: once only, so it is the kernel's timing: %s"):format(seed, fault.line or fault.kind))
    return false
  end
  tell(seed, reduce.shortest(all_steps(), test, step_of(fault)), fault)
  return true
end

local function sequences(seed)
  local draw, done, faults = random.new(seed), 0, 0
  repeat
    local one = draw(1000000000)
    local fault = judge(perform(one, all_steps(), MODES))
    if fault and settle(one, fault) then faults = faults + 1 end
    done = done + 1
  until (torture.seconds and torture.is_time_up()) or (not torture.seconds and done == WHOLE) or faults == 5
  return done, faults
end

-- Positions -----------------------------------------------------------------------------------------------------

-- How many of 1,000 cases a share has time for, at `rate` a second: one of positions.lua takes a fifth of a millisecond,
-- one of the faces more, since connections are made and some calls wait in vain.
local function share(rate)
  return torture.seconds and math.max(1, math.min(1000, math.floor(torture.seconds * rate))) or 1000
end

local function show_all(results)
  local n = 0
  for _, result in ipairs(results) do
    if result.status ~= 0 then
      print(("# %s ends with status %d after: %s (%s)"):format(result.mode, result.status, result.lines[#result.lines] or "",
        result.err or "no error text"))
      n = n + 1
    end
    for _, line in ipairs(result.lines) do
      if line:find "^! " then
        print(("# %s: %s"):format(result.mode, line))
        n = n + 1
      end
    end
  end
  return n
end

local T = require("tap").plan(6)
torture.announce()
local total = 0

-- Passes nasty values to the operations that a worker has.
local function positions(worker, rate, whose)
  local results = run(worker, shell.format("%d %d %q", torture.seed, share(rate), only), MODES)
  total = total + (tonumber((results[1].lines[#results[1].lines] or ""):match "^# calls (%d+)") or 0)
  print(("# %d calls in each of three modes, %d s"):format(total, torture.elapsed()))
  T.is(show_all(results), 0, whose .. ": each value is refused by function, argument and caller's line, or answered in shape")
  local difference = first_difference(results)
  T.is(difference and ("%s: %s; %s"):format(difference.line, difference.mode, difference.other), nil,
    whose .. ": the three modes answer alike")
end

positions("positions.lua", 2, "the library")
positions("facepositions.lua", 1, "the faces")
T.ok(total > 0, "nasty values are passed to operations")

if only == "" then
  local done, faults = sequences(torture.seed)
  print(("# %d sequences of %d steps in each of three modes, %d s"):format(done, LENGTH, torture.elapsed()))
  T.is(faults, 0, "random sequences lose nothing, and the three modes answer alike")
else
  T.skip(1, "sequences have all operations")
end
net.cleanup()
T.done()
