-- bench-verdict: what the echo of bench/ is judged by, with figures that are made up.
local leak = require "leak"
local before = leak.count()
package.path = os.getenv "LLSOCKET_SOURCE" .. "/?.lua;" .. package.path
local verdict = require "bench.lib.verdict"
local question = require "bench.echo"
local T = require("tap").plan(18)

-- One who does `cpu` and `rate` in the time in which C does 1; another's `cpu` is nil, for it has threads.
local function measured(name, cpu, rate, more)
  local row = { name = name, samples = {} }
  for turn = 1, 3 do row.samples[turn] = { cpu = 1000 / (cpu or 100), wall = 1000 / rate } end
  for key, value in pairs(more or {}) do row[key] = value end
  return row
end

-- C, whoever is given, and every other row at a tenth of C.
local function results(given)
  local out = { C = measured("C", 1, 1) }
  for _, row in ipairs(question.rows) do
    if row.name ~= "C" then out[row.name] = given[row.name] or measured(row.name, not row.threads and 0.1, 0.1) end
  end
  local list = {}
  for _, row in pairs(out) do list[#list + 1] = row end
  return list
end

-- Judges one goal of a row in a case, by the words with which the goal begins; answers the verdict, the excuse, and the name.
local function judge(case, who, goal, given)
  local good, excuse, name, known
  verdict.each(question.rows, question.cases[case], function(text, judged, short)
    if text:sub(1, #who + 2 + #goal) == who .. ": " .. goal then
      good, excuse, name, known = judged(results(given)), short, text, true
    end
  end)
  assert(known, who .. " has no goal " .. goal)
  return good, excuse, name
end

local ONE, FIFTY, THOUSAND = 1, 2, 3
local CO = "llsocket, coroutines"

local function to_c(case, cpu, rate) return judge(case, CO, "at least", { [CO] = measured(CO, cpu, rate) }) end

T.is(to_c(FIFTY, 0.88, 0.9), true, "coroutines at 0.88 of C are good with 50 connections")
T.is(to_c(THOUSAND, 0.9, 0.88), true, "with 1,000, too")
T.is(to_c(ONE, 0.94, 0.96), false, "with one connection 0.94 by CPU time is a miss")
T.is(to_c(ONE, 0.96, 0.94), false, "and 0.94 by rate")
T.is(to_c(ONE, 0.951, 0.951), true, "above 0.95 by both is good")
T.is(select(2, to_c(FIFTY, 0.87, 1)), nil, "a miss has no excuse")

local function ahead(case, peer, cpu, rate)
  return judge(case, CO, "ahead of", { [CO] = measured(CO, 0.9, 0.9), [peer] = measured(peer, cpu, rate) })
end

for _, peer in ipairs { "lua-luv", "lua-cqueues", "lua-copas" } do
  T.is(ahead(THOUSAND, peer, 0.8, 0.95), false, "who is behind " .. peer .. " by rate is behind")
end
T.is(ahead(THOUSAND, "lua-luv", 0.95, 0.8), false, "and who is behind by CPU time")
T.is(ahead(THOUSAND, "Node.js", nil, 0.8), true, "a peer with threads is compared by rate alone")
T.is(ahead(THOUSAND, "Node.js", nil, 0.95), false, "and may not be faster with 1,000 connections")
T.is(ahead(FIFTY, "Go", nil, 0.95), false, "Go may not with 50")
T.is(ahead(THOUSAND, "Go", nil, 0.95), true, "but with 1,000")

local function counted(goal, more) return (judge(ONE, CO, goal, { [CO] = measured(CO, 1, 1, more) })) end

T.is(counted("at most 3000 instructions", { instructions = 2000, instruction_runs = { 1900, 2000, 3100 } }), false,
  "a run that costs more than 1.5 times the median is a miss")
T.is(counted("at most 3 system calls", { calls = 3.01 }), false, "and so is a system call in a hundred rounds too much")
local files, skipped = require "bench.files", nil
verdict.each(files.rows, files.cases[1], function(_, judged) skipped = judged { measured(files.rows[2].name, 1, 1) } == nil end)
T.is(skipped, true, "without nginx the file server is not judged")
T.is(leak.count(), before, "no descriptor is left")
T.done()
