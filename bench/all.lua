-- all.lua -- asks every question, shows what came out, and judges it.
--
--   luajit bench/all.lua BUILD [--quick] [--write] [QUESTION...]
--
-- BUILD was made by `meson setup -Dbenchmarks=true BUILD`.  It gets result.json, result.md and result.svg in its folder
-- bench; with --write these go to bench/ here, too, and into its README.md.
local root = arg[0]:match "^(.*)/bench/[^/]*$" or "."
if arg[0]:find "^all%.lua$" then root = ".." end

local wanted, options, build = {}, {}, nil
for _, word in ipairs(arg) do
  if word:find "^%-%-" then options[word] = true
  elseif build then wanted[word], options.some = true, true
  else build = word end
end
assert(build, "luajit bench/all.lua BUILD [--quick] [--write] [QUESTION...]")

package.path = root .. "/?.lua;" .. root .. "/lua/?.lua;" .. package.path
package.cpath = build .. "/csrc/?.so;" .. package.cpath
local json = require "bench.lib.json"
local participant = require "bench.lib.participant"
local plot = require "bench.lib.plot"
local report = require "bench.lib.report"
local turns = require "bench.lib.turns"
local verdict = require "bench.lib.verdict"
participant.place = { root = root, build = build, luajit = os.getenv "LLSOCKET_LUAJIT" or "luajit" }

local TURNS, SECONDS = options["--quick"] and 3 or 11, options["--quick"] and 0.02 or 0.04
local QUESTIONS = { "round", "udp", "echo", "accept", "sendfile", "resolve", "loading", "memory" }

local missing = {} -- who is not installed

-- A question with the participants that are installed; the others are named.
local function ask(name)
  local question = require("bench." .. name)
  question.name = name
  local rows = {}
  for i, row in ipairs(question.rows) do
    row.index = i
    if participant.present(row) then rows[#rows + 1] = row else missing[#missing + 1] = name .. ": " .. row.name end
  end
  question.rows = rows
  return question
end

local function count(question, case, row)
  if not case.counts then return end
  return participant.instructions(question, row, case), participant.calls(question, row, case)
end

local function measure(question, case)
  local n = math.min(question.turns or TURNS, TURNS)
  local samples = turns.take(question.rows, n, function(row)
    return participant.sample(question, row, case, question.operations and -question.operations or question.seconds or SECONDS)
  end)
  local out = {}
  for i, row in ipairs(question.rows) do
    out[i] = turns.summary(samples[i], samples[1])
    out[i].name = row.name
    out[i].instructions, out[i].calls = count(question, case, row)
  end
  report.case(question, case, out, n)
  return { name = case.name, rows = out }
end

local failures, number = 0, 0

-- What falls short for a reason that bench/README.md tells is no failure.
local function remark(good, short, figures)
  if good == nil then return " # SKIP " .. figures end
  return not good and short and " # TODO " .. short or ""
end

local function tell(good, name, short, figures)
  number = number + 1
  if good == false and not short then failures = failures + 1 end
  print(("%s %d - %s%s"):format(good == false and "not ok" or "ok", number, name, remark(good, short, figures)))
  print("#   " .. figures)
end

local questions, plan = {}, 0
for _, name in ipairs(QUESTIONS) do
  if not options.some or wanted[name] then
    local question = ask(name)
    questions[#questions + 1] = question
    for _, case in ipairs(question.cases) do verdict.each(question.rows, case, function() plan = plan + 1 end) end
  end
end
print("1.." .. plan)
io.stdout:setvbuf "line"
for _, who in ipairs(missing) do print("# without " .. who) end

local machine, results = participant.machine(), {}
for _, question in ipairs(questions) do
  local result = { question = question, cases = {} }
  for i, case in ipairs(question.cases) do
    result.cases[i] = measure(question, case)
    verdict.each(question.rows, case, function(name, judge, short)
      local good, figures = judge(result.cases[i].rows)
      tell(good, name, short, figures)
    end)
  end
  results[#results + 1] = result
end
participant.cleanup()

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

-- Puts the tables between the two marks of the README.
local function write_readme(path, tables)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  local _, from = text:find "<!%-%- tables %-%->\n"
  local to = text:find "<!%-%- end of tables %-%->"
  write(path, text:sub(1, from) .. tables .. text:sub(to))
end

local function write_all(folder)
  write(folder .. "/result.json", json(report.plain(machine, results)) .. "\n")
  if not plot.write(folder .. "/result.svg", results) then print "# without gnuplot no plot" end
end

local tables = report.markdown(machine, results)
write_all(build .. "/bench")
write(build .. "/bench/result.md", tables)
if options["--write"] then
  write_all(root .. "/bench")
  write_readme(root .. "/bench/README.md", tables)
end
os.exit(failures == 0 and 0 or 1)
