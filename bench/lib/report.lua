-- report.lua -- what was measured: a table to read while it runs, and what JSON holds of it.
local tables = require "bench.lib.tables"

local M = {}

local short, maybe = tables.short, tables.maybe

-- Operations a second, or what one costs where the question is that.
local function amount(question, ns)
  if question.once then return ns / (question.per or 1) end
  return (question.scale or 1) * 1e9 / ns
end

local LINE = "# %-41s %12s %-23s %6s %-11s %6s %10s %6s %8s"

local function line(question, row)
  local low, high, cpu = amount(question, row.wall.high), amount(question, row.wall.low), row.cpu_ratio
  if question.once then low, high = high, low end
  print(LINE:format(row.name, short(amount(question, row.wall.median)), short(low) .. "-" .. short(high),
    cpu and ("%.2f"):format(cpu.median) or "-", cpu and ("%.2f-%.2f"):format(cpu.low, cpu.high) or "-",
    ("%.2f"):format(row.rate_ratio.median), maybe("%.0f", row.instructions), maybe("%.2f", row.calls), maybe("%.0f", row.more)))
end

-- One case of a question: how much each does, and its ratios to the first.
function M.case(question, case, rows, count)
  print(("#\n# %s: %s; %d turns\n#"):format(question.title, case.name, count))
  print(LINE:format("", question.unit .. (question.once and "" or "/s"), "quartiles", "by CPU", "quartiles", "rate",
    "instr.", "calls", question.extra and "heap" or "garbage"))
  for _, row in ipairs(rows) do line(question, row) end
end

local function plain_row(question, case, row)
  return {
    question = question.name, case = case.name, by = row.name, unit = question.unit,
    amount = amount(question, row.wall.median), wall = row.wall, cpu = row.cpu, rate_to_first = row.rate_ratio,
    cpu_to_first = row.cpu_ratio, instructions = row.instructions, instruction_runs = row.instruction_runs,
    calls = row.calls, [question.extra and "heap" or "garbage"] = row.more,
  }
end

-- What JSON holds of it, and the tables are made of.
function M.plain(machine, results)
  local list, questions = {}, {}
  for i, result in ipairs(results) do
    local question, cases = result.question, {}
    for k, case in ipairs(result.cases) do
      cases[k] = case.name
      for _, row in ipairs(case.rows) do list[#list + 1] = plain_row(question, case, row) end
    end
    questions[i] = {
      name = question.name, title = question.title, unit = question.unit, once = question.once, extra = question.extra,
      note = question.note, cases = cases,
    }
  end
  return { machine = machine, questions = questions, results = list }
end

return M
