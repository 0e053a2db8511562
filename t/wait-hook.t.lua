-- wait-hook: a debug hook raises an error (a time limit, Ctrl-C) in the midst of the loop, or of a coroutine that waits in it:
-- nobody else is harmed, nobody who is gone is waited for, and the loop can be used again.
--
-- t/torture/hooks.lua does so at every instruction.
local L = require "llsocket"
local leak = require "leak"
local midst = require "midst"

jit.off() -- compiled code asks no hook

local STRIDE = 1499 -- of the instructions, some 14,000 in a run
local LOST = 2 -- descriptors: one that is made when the error comes may be lost, as llsocket.md says
local before = leak.count()
local T = require("tap").plan(#midst.OPERATIONS + 2)

local function walk(op, way, name, start)
  local n, fault = start, nil
  repeat
    local where, wrong = midst.try(op, way, n)
    fault = fault or wrong and ("%s, instruction %d, %s: %s"):format(name, n, where, wrong)
    n = n + STRIDE
  until not where
  return fault
end

for i, op in ipairs(midst.OPERATIONS) do
  local fault
  for name, way in pairs(midst.WAYS) do fault = fault or walk(op, way, name, 10 + i * 37) end
  T.is(fault, nil, ("an error in the midst of a loop whose coroutine does %s harms nobody else"):format(op[1]))
end

-- Every instruction of a short run, its edges too.
local W, is_set, set = require "llsocket.wait.coroutine", L.wait.is_set, L.wait.set
local function run(n)
  debug.sethook(function()
    n = n - 1
    if n == 0 then error "enough" end
  end, "", 1)
  W.run()
  debug.sethook()
end
local still_set = {}
for n = 1, 500 do
  W.spawn(function() end)
  pcall(run, n)
  debug.sethook()
  if is_set() then still_set[#still_set + 1] = n end
  set()
  pcall(W.run)
end
T.is(table.concat(still_set, " "), "", "an error at any instruction of run gives the way of waiting back")
collectgarbage(); collectgarbage()
T.ok(leak.count() - before <= LOST, "no descriptor is left but what the error came upon: " .. leak.count() - before)
T.done()
