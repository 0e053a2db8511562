-- all.lua -- asks every question, shows what came out, and judges it.
--
--   luajit bench/all.lua BUILD [--quick] [--write] [QUESTION...]
--
-- BUILD was made by `meson setup -Dbenchmarks=true BUILD`.  It gets result.json, result.md and result.svg in its folder
-- bench.  With --write JSON and plot go to bench/ here, too, and the figures into the pages that show them.
local root = arg[0]:match "^(.*)/bench/[^/]*$" or "."
if arg[0]:find "^all%.lua$" then root = ".." end

local wanted, options, build = {}, {}, nil
for _, word in ipairs(arg) do
  if word:find "^%-%-" then options[word] = true
  elseif build then wanted[word], options.some = true, true
  else build = word end
end
assert(build, "luajit bench/all.lua BUILD [--quick] [--write] [QUESTION...]")
assert(not (options["--write"] and (options.some or options["--quick"])), "--write shows a whole run, of all questions")

package.path = root .. "/?.lua;" .. root .. "/lua/?.lua;" .. package.path
package.cpath = build .. "/csrc/?.so;" .. package.cpath
local json = require "bench.lib.json"
local pages = require "bench.lib.pages"
local participant = require "bench.lib.participant"
local plot = require "bench.lib.plot"
local report = require "bench.lib.report"
local tables = require "bench.lib.tables"
local turns = require "bench.lib.turns"
local verdict = require "bench.lib.verdict"
local quick = options["--quick"]
participant.place = { root = root, build = build, luajit = os.getenv "LLSOCKET_LUAJIT" or "luajit", quick = quick }

local TURNS, SECONDS, RUNS = quick and 3 or 11, quick and 0.02 or 0.04, quick and 1 or 7
local QUESTIONS = {
  "round", "receive", "lines", "luasocket", "udp", "echo", "files", "accept", "sendfile", "resolve", "loading", "memory",
}

local missing = {} -- who is not installed

-- A question with the participants that are installed; the others are named.
local function ask(name)
  local question = require("bench." .. name)
  question.name = name
  local rows = {}
  for i, row in ipairs(question.rows) do
    row.index = i
    local present, why = participant.present(row)
    if present then rows[#rows + 1] = row else missing[#missing + 1] = name .. ": " .. row.name .. (why or "") end
  end
  question.rows = rows
  return question
end

-- The instructions of one operation in each of some runs, and their median.
local function instructions(question, case, row)
  local runs = {}
  for _ = 1, math.min(row.runs or question.runs or 1, RUNS) do
    runs[#runs + 1] = participant.instructions(question, row, case)
  end
  return runs[1] and turns.quartiles(runs).median, row.runs and runs[1] and runs
end

local function count(question, case, row, out)
  if not case.counts then return end
  out.instructions, out.instruction_runs = instructions(question, case, row)
  out.calls = participant.calls(question, row, case)
end

local function measure(question, case)
  local n = math.min(question.turns or TURNS, TURNS)
  local samples = turns.take(question.rows, n, function(row)
    return participant.sample(question, row, case, question.operations and -question.operations or question.seconds or SECONDS)
  end)
  local out = {}
  for i, row in ipairs(question.rows) do
    out[i] = turns.summary(samples[i], samples[1], row.threads)
    out[i].name = row.name
    count(question, case, row, out[i])
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

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

local function write_all(folder, text, plain)
  write(folder .. "/result.json", text)
  if not plot.write(folder .. "/result.svg", plain) then print "# no plot: there is no gnuplot, or nothing to show" end
end

-- Pages are made of what the file holds, whose numbers are rounded, so that they can be made of it again.
local text = json.write(report.plain(machine, results)) .. "\n"
local plain = json.read(text)
write_all(build .. "/bench", text, plain)
write(build .. "/bench/result.md", tables.all(plain))
if options["--write"] then
  write_all(root .. "/bench", text, plain)
  for _, name in ipairs(pages.LIST) do write(root .. "/" .. name, pages.fill(read(root .. "/" .. name), plain)) end
end
os.exit(failures == 0 and 0 or 1)
