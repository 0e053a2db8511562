-- finalisers.lua -- one process of t/torture/hooks: finalisers use the library, close, modify, remove and raise at every
-- allocation of every operation.
--
-- finalisers.lua SEED SECONDS [kqueue]: SECONDS 0 does everything.  A line that begins with "! " is a fault.
if arg[3] == "kqueue" then require("kqueue").load(true) end
local finalising = require "finalising"
local interfere = require "interfere"
local operations = require "operations"
local random = require "random"
local shapes = require "shapes"
local sys = require "sys"
local verdict = require "verdict"

local draw, seconds = random.new(tonumber(arg[1])), tonumber(arg[2])
local TOP, start = 64, sys.clock()
io.stdout:setvbuf "line"
local before

local function judge_answer(op, way, ok, answer)
  if not ok then return not (way.raises and interfere.is_hostile(answer)) and "it raises " .. tostring(answer) end
  local outcome, _, as_wanted = operations.judge(op, answer)
  if way.harmless and not as_wanted then return "it answers " .. shapes.line(answer) end
  if interfere.is_told(op, way, answer) then return end
  if not outcome then return "its answer has no shape: " .. shapes.line(answer) end
end

local function judge_again(op, case)
  if op.number or interfere.takes_over[op.name] then return end
  local ok, answer = pcall(operations.run, case)
  if not ok then return "called again it raises " .. tostring(answer) end
  if not operations.judge(op, answer) then return "called again its answer has no shape: " .. shapes.line(answer) end
end

local function once_more(op)
  local case = operations.ready(op)
  local ok, answer = pcall(operations.run, case)
  local as_wanted = ok and select(3, operations.judge(op, answer))
  interfere.dispose(case)
  if not as_wanted then return "done once more it answers " .. (ok and shapes.line(answer) or tostring(answer)) end
end

-- Answers whether there was a k-th allocation.
local function try(op, way, k)
  if interfere.takes_over[op.name] then collectgarbage() end
  local case = operations.ready(op)
  local act, undo = way.prepare(op, case)
  local reached, ok, answer = finalising.run(k, act, operations.run, case)
  local said = judge_answer(op, way, ok, answer)
  if ok then case.answer = answer end
  said = said or judge_again(op, case)
  interfere.dispose(case)
  said = undo() or said
  case, answer, act, undo = nil, nil, nil, nil -- luacheck: ignore
  local changed = verdict.changed(before)
  if changed then verdict.restore(before) end
  if changed and op.mask and changed:find "mask" then changed = nil end
  -- An error behind the call, where its answer is packed here, loses the number that it answered.
  if changed and op.number and way.raises and changed:find "is left" then changed = nil end
  said = said or changed or once_more(op)
  if said then print(("! %s, a finaliser that %s at allocation %d: %s"):format(op.title, way.name, k, said)) end
  return reached
end

-- LuaJIT 2.1 of Debian 12 crashes by itself where a finaliser raises below compiled code.
local function is_left_out(op, way) return interfere.is_vain(op, way) or way.raises and (jit.status() or arg[3] == "kqueue") end

local function is_ready(op)
  local made, case = pcall(operations.ready, op)
  if made then pcall(operations.run, case); operations.dispose(case) end
  return made
end

local only = os.getenv "LLSOCKET_TORTURE_ONLY" or ""
local list = {}
for _, op in ipairs(operations.all) do
  local backend = op.title:match "^pol.*, (%a+)$"
  if is_ready(op) and op.title:find(only) and (arg[3] ~= "kqueue" or backend == "kqueue") then list[#list + 1] = op end
end
for i = #list, 2, -1 do
  local j = draw(i)
  list[i], list[j] = list[j], list[i]
end

collectgarbage(); collectgarbage()
before = verdict.state(TOP)
local runs, done = 0, 0
for _, op in ipairs(list) do
  for _, way in ipairs(interfere.finalisers) do
    local k = is_left_out(op, way) and 100 or 0
    while k < 100 do
      k, runs = k + 1, runs + 1
      if not try(op, way, k) then break end
    end
  end
  done = done + 1
  if seconds > 0 and sys.clock() - start > seconds then break end
end
require("net").cleanup()
print(("# finalisers %d in %d operations"):format(runs, done))
