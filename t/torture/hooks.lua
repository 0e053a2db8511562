-- hooks: a debug hook raises an error, calls the library, or collects garbage whose finalisers close, modify and remove what
-- is in use, at every n-th instruction of every operation; and finalisers do so where the collector itself runs.
-- README.md tells more.  LLSOCKET_TORTURE_WAYS names the ways to go, by default all.
local interfere = require "interfere"
local midst = require "midst"
local operations = require "operations"
local proc = require "proc"
local shapes = require "shapes"
local shell = require "shell"
local net = require "net"
local torture = require "torture"
local verdict = require "verdict"

jit.off() -- compiled code asks no hook

local TOP = 64
local WHOLE, HOOKS = 900, 0.5 -- seconds that all hooks take at every instruction; their part of a share
local LIBRARY = debug.getinfo(require("llsocket.socket").new, "S").source:match "^(.*llsocket)/" -- where its sources are
local MODES = { "-joff" } -- finalisers at every allocation of compiled code hang and crash LuaJIT 2.1 of Debian 12 itself
local folder = debug.getinfo(1, "S").source:match "^@(.*/)" or "./"

-- The most instructions of an operation at which a raised error may lose a descriptor: between the system call and the
-- field of the owner.  Figures are of LuaJIT 2.1 of Debian 12.
local LOSES = {
  ["socket.new"] = 4, ["socket.pair"] = 8, ["sock:dup"] = 4, ["sock:accept"] = 4, ["sock:accept, named"] = 6, ["pipe.new"] = 11,
  ["poll.new"] = 8, ["poll.timer"] = 4, ["poll.signal"] = 4, ["poll.child"] = 4,
  ["device.getifaddrs"] = 4, ["device.macaddrs"] = 4, ["device.list"] = 4, ["sock:mcastfilter, of any interface"] = 4,
  ["addrinfo.inet6"] = 4, ["addrinfo.packet"] = 4, ["ai:fields, of an interface"] = 4,
  ["device.index"] = 4, ["device.name"] = 4, ["cmsghdr.pktinfo"] = 4, ["inet.getaddrinfo6"] = 4, ["sock:recvfd"] = 8,
  ["socket.supports"] = 4, ["loop.wait"] = 8,
  ["sock:recvmsg, descriptors"] = 7, ["sock:unwrap"] = 1, ["desc:unwrap"] = 3,
  ["sock:close"] = 5, ["desc:close"] = 4, ["event:close"] = 10, ["tube:close"] = 8, ["poller:close"] = 14,
  -- These make a socket, some a poller or a waker, and close them.
  ["luasocket.connect"] = 4, ["luasocket.tcp4"] = 4, ["luasocket.udp4"] = 4, ["luasocket:accept"] = 4, ["luasocket:close"] = 5,
  ["cosocket:connect"] = 4, ["cosocket:setpeername"] = 4, ["cosocket:close"] = 5, ["cosocket.drain"] = 5,
  ["cosocket.sleep"] = 14,
  ["stream.listen"] = 4, ["stream.connect"] = 4, ["stream.connect, two addresses"] = 26, ["s:close"] = 5, ["luasec.secure"] = 13,
  ["stream.serve"] = 14,
}

local found, before = {}, nil
local function note(op, way, n, text)
  found[#found + 1] = ("%s, %s at instruction %d: %s"):format(op.title, way.name, n, text)
end

-- Whether a function of the library is running, from a level of the caller on, and no ssl.wrap of LuaSec's: where an error
-- ends that, LuaSec 1.2 closes a descriptor that it has not set yet, mostly 0.
local function in_library(level)
  local is_ours = false
  while true do
    local info = debug.getinfo(level, "S")
    if not info then return is_ours end
    if info.source:find "/ssl%.lua$" then return false end
    is_ours = is_ours or info.source:sub(1, #LIBRARY) == LIBRARY
    level = level + 1
  end
end

-- Sets a hook that acts once, at the n-th instruction from here, where that is one of the library.  Answers "acts",
-- "elsewhere" or, behind the operation, nil, and what the operation answered.
local interrupted
function interrupted(case, n, act)
  local where
  debug.sethook(function()
    debug.sethook()
    if debug.getinfo(2, "f").func == interrupted then return end
    where = in_library(3) and "acts" or "elsewhere"
    if where == "acts" then act() end
  end, "", n)
  local ok, answer = pcall(operations.run, case)
  debug.sethook()
  return where, ok, answer
end

local function judge_answer(op, way, ok, answer)
  if not ok then
    return (way.spoils or way.raises and interfere.is_hostile(answer)) and "" or "it raises " .. tostring(answer)
  end
  local outcome, _, as_wanted = operations.judge(op, answer)
  if way.harmless and not as_wanted then return "it answers " .. shapes.line(answer) end
  if interfere.is_told(op, way, answer) then return "" end
  if not outcome and not way.spoils then return "its answer has no shape: " .. shapes.line(answer) end
  return ""
end

-- The same objects again, without a hook.
local function judge_again(op, case)
  local ok, answer = pcall(operations.run, case)
  if not ok then return "called again it raises " .. tostring(answer) end
  if not operations.judge(op, answer) then return "called again its answer has no shape: " .. shapes.line(answer) end
  return ""
end

-- New objects, without a hook.
local function once_more(op)
  local case = operations.ready(op)
  local ok, answer = pcall(operations.run, case)
  local as_wanted = ok and select(3, operations.judge(op, answer))
  interfere.dispose(case)
  return as_wanted and "" or "done once more it answers " .. (ok and shapes.line(answer) or tostring(answer))
end

local function first_of(...)
  for i = 1, select("#", ...) do
    local text = select(i, ...)
    if text and text ~= "" then return text end
  end
end

-- One operation, interrupted at its n-th instruction; answers whether it was, and whether a descriptor was lost.
local function try(op, way, n)
  if interfere.takes_over[op.name] then collectgarbage() end
  local case = operations.ready(op)
  local act, undo = way.prepare(op, case)
  local where, ok, answer = interrupted(case, n, act)
  local said = judge_answer(op, way, ok, answer)
  if ok then case.answer = answer end
  if not ok and interfere.takes_over[op.name] then collectgarbage() end
  local again = not (op.number or interfere.takes_over[op.name]) and judge_again(op, case) or ""
  interfere.dispose(case); undo()
  case, answer, act, undo = nil, nil, nil, nil -- luacheck: ignore
  local changed = verdict.changed(before)
  local lost = changed and changed:find "is left"
  if changed then verdict.restore(before) end
  if op.mask and changed and changed:find "mask" then changed = nil end
  local known = lost and (way.raises or way.spoils) -- a hook that calls the library may lose what the call has just made
  local fault = first_of(said, again, not known and changed, once_more(op))
  if fault then note(op, way, n, fault) end
  return where, way.raises and lost and true or false
end

local interrupts = 0
local function walk(op, way, stride)
  local n, lost, began = 10 + math.random(stride), 0, false -- the first ten are of `interrupted`
  repeat
    local where, loses = try(op, way, n)
    began = began or where
    if loses then lost = lost + 1 end
    if where == "acts" then interrupts = interrupts + 1 end
    n = n + stride
  until not where and (began or n > 100)
  return lost
end

-- Lets a share see a part of the instructions of each operation.
local function stride()
  return torture.seconds and math.max(1, math.ceil(WHOLE / torture.seconds / HOOKS)) or 1
end

local chosen = torture.chosen()

local function go(way)
  local losing = {}
  for _, op in ipairs(torture.shuffle(chosen)) do
    if torture.is_time_up() then break end
    local lost = interfere.is_vain(op, way) and 0 or walk(op, way, stride())
    if lost > 0 then losing[#losing + 1] = ("%s %d"):format(op.title, lost) end
    if lost > (LOSES[op.title] or LOSES[op.name] or 0) then
      note(op, way, 0, ("descriptors are lost at %d instructions"):format(lost))
    end
  end
  table.sort(losing)
  if #losing > 0 then print("# an error loses descriptors: " .. table.concat(losing, "; ")) end
end

local figures = { raised = 0, others = 0, finalisers = 0 }

local function report(name, count)
  local figure = name:find "hook that raises" and "raised" or name:find "hook" and "others" or "finalisers"
  figures[figure] = figures[figure] + count
  table.sort(found)
  for i = 1, math.min(#found, 40) do print("# " .. found[i]) end
  require("tap").is(#found, 0, ("%s: %d times, nothing is lost, and objects stay usable"):format(name, count))
  found = {}
end

local names = os.getenv "LLSOCKET_TORTURE_WAYS"
local ways = {}
for _, way in ipairs(interfere.ways) do
  if not names or names:find(way.name, 1, true) then ways[#ways + 1] = way end
end

-- Finalisers where the collector runs them -----------------------------------------------------------------------

local function lines_of(path)
  local out = {}
  for line in io.lines(path) do out[#out + 1] = line end
  return out
end

-- Runs finalisers.lua in a process of its own.
local function finalisers(seconds, kind, title)
  local dir, script, performed = net.tmpdir(), {}, 0
  for i, mode in ipairs(MODES) do
    script[i] = shell.format("( %q %s %q %d %d %s >%q 2>&1 </dev/null; echo $? >%q ) &", proc.luajit, mode,
      folder .. "finalisers.lua",
      torture.seed, seconds, kind, dir .. "/out" .. i, dir .. "/status" .. i)
  end
  proc.run(table.concat(script, "\n") .. "\nwait")
  for i, mode in ipairs(MODES) do
    local lines = lines_of(dir .. "/out" .. i)
    local last, status = lines[#lines] or "", lines_of(dir .. "/status" .. i)[1]
    performed = performed + (tonumber(last:match "^# finalisers (%d+)") or 0)
    if status ~= "0" then found[#found + 1] = ("%s ends with status %s: %s"):format(mode, status, last) end
    for _, line in ipairs(lines) do
      if line:find "^! " then found[#found + 1] = mode .. ": " .. line:sub(3) end
    end
  end
  net.cleanup()
  report(title, performed)
end

-- In the midst of a loop with others ------------------------------------------------------------------------------

local MIDST = 5000 -- seconds that all these take at every instruction

local function walk_midst(op, way, name, step, is_over)
  local n, count = 10 + math.random(step), 0
  repeat
    local where, fault = midst.try(op, way, n)
    if fault then found[#found + 1] = ("%s, %s, instruction %d, %s: %s"):format(op[1], name, n, where, fault) end
    n, count = n + step, count + 1
  until not where or is_over()
  return count
end

local function in_the_midst(seconds)
  local step, count = seconds > 0 and math.ceil(MIDST / seconds) or 11, 0
  local stop_at = seconds > 0 and torture.elapsed() + seconds or math.huge
  local function is_over() return torture.elapsed() > stop_at end
  for _, op in ipairs(torture.shuffle(midst.OPERATIONS)) do
    for name, way in pairs(midst.WAYS) do
      if not is_over() then count = count + walk_midst(op, way, name, step, is_over) end
    end
  end
  report("a hook that raises in the midst of a loop with others", count)
end

local function part(share) return torture.seconds and math.ceil(torture.seconds * share) or 0 end

-- Not where operations are chosen and the loop's are not: it takes minutes.
local has_midst = ("loop.wait"):find(os.getenv "LLSOCKET_TORTURE_ONLY" or "") ~= nil

require("tap").plan(#ways + (names and 0 or has_midst and 3 or 2))
torture.announce()
for _, op in ipairs(operations.all) do -- modules that are read at their first use, traces, spare objects
  local made, case = pcall(operations.ready, op)
  if made then pcall(operations.run, case); operations.dispose(case) end
end
collectgarbage(); collectgarbage()
before = verdict.state(TOP)
for _, way in ipairs(ways) do
  interrupts = 0
  go(way)
  report("a hook that " .. way.name, interrupts)
end
if not names then
  if has_midst then in_the_midst(part(0.1)) end
  finalisers(part(0.3), "", "a finaliser at every allocation")
  finalisers(part(0.1), "kqueue", "the same of pollers over a stand-in for kqueue")
end
print(("# %d errors raised by hooks, %d hooks that did something else, %d finalisers, %d s"):format(figures.raised,
  figures.others, figures.finalisers, torture.elapsed()))
require("tap").done()
