-- report.lua -- what was measured as text: a table to read while it runs, and one for the README.
local M = {}

-- 1234567 is "1,230,000": three digits tell.
local function short(n)
  if n < 100 then return ("%.3g"):format(n) end
  local unit = 10 ^ (math.floor(math.log10(n)) - 2)
  local text = ("%d"):format(math.floor(n / unit + 0.5) * unit)
  return (text:reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", ""))
end

local function maybe(format, value) return value and format:format(value) or "-" end

-- Operations a second, or what one costs where the question is that.
local function amount(question, ns)
  if question.once then return ns / (question.per or 1) end
  return (question.scale or 1) * 1e9 / ns
end

local LINE = "# %-23s %12s %-23s %6s %-11s %6s %10s %6s %8s"

local function line(question, row)
  local low, high = amount(question, row.wall.high), amount(question, row.wall.low)
  if question.once then low, high = high, low end
  print(LINE:format(row.name, short(amount(question, row.wall.median)), short(low) .. "-" .. short(high),
    ("%.2f"):format(row.cpu_ratio.median), ("%.2f-%.2f"):format(row.cpu_ratio.low, row.cpu_ratio.high),
    ("%.2f"):format(row.rate_ratio.median), maybe("%.0f", row.instructions), maybe("%.2f", row.calls), maybe("%.0f", row.more)))
end

-- One case of a question: how much each does, and its ratios to the first.
function M.case(question, case, rows, count)
  print(("#\n# %s: %s; %d turns\n#"):format(question.title, case.name, count))
  print(LINE:format("", question.unit .. (question.once and "" or "/s"), "quartiles", "by CPU", "quartiles", "rate",
    "instr.", "calls", question.extra and "heap" or "garbage"))
  for _, row in ipairs(rows) do line(question, row) end
end

local function markdown(head, rows)
  local out = { "| " .. table.concat(head, " | ") .. " |", "|" .. (" --- |"):rep(#head) }
  for _, row in ipairs(rows) do out[#out + 1] = "| " .. table.concat(row, " | ") .. " |" end
  return table.concat(out, "\n") .. "\n"
end

local function cell(question, row)
  local text = short(amount(question, row.wall.median))
  if question.once then return text .. (row.more and (" (%s)"):format(short(row.more)) or "") end
  return ("%s (%.2f; %.2f)"):format(text, row.cpu_ratio.median, row.rate_ratio.median)
end

local function times(result)
  local question, head, rows = result.question, { "" }, {}
  for _, case in ipairs(result.cases) do
    head[#head + 1] = case.name
    for i, row in ipairs(case.rows) do
      rows[i] = rows[i] or { row.name }
      table.insert(rows[i], cell(question, row))
    end
  end
  local note = question.once and (question.extra and " (" .. question.extra .. ")" or "") or " a second"
  return ("**%s**, %s%s\n\n%s\n"):format(question.title:gsub("^%l", string.upper), question.unit, note, markdown(head, rows))
end

-- The counts of all cases that have some: they repeat on any machine.
local function counts(results)
  local rows = {}
  for _, result in ipairs(results) do
    for _, case in ipairs(result.cases) do
      for _, row in ipairs(case.rows) do
        if row.instructions or row.calls then
          rows[#rows + 1] = { result.question.title .. ", " .. case.name, row.name, maybe("%.0f", row.instructions),
            maybe("%.2f", row.calls), maybe("%.0f", row.more) }
        end
      end
    end
  end
  return markdown({ "one of", "by", "user-space instructions", "system calls", "bytes of garbage" }, rows)
end

local function machine_text(machine)
  return ("%s, %s CPUs, %s, %s, %s; load average %s when it began. %s. Measured on %s.\n\n"):format(machine.cpu, machine.cpus,
    machine.kernel, machine.luajit:match "LuaJIT %S+", machine.compiler, machine.load, machine.peers, machine.date)
end

-- All of it for bench/README.md.
function M.markdown(machine, results)
  local out = { machine_text(machine) }
  for _, result in ipairs(results) do out[#out + 1] = times(result) end
  out[#out + 1] = counts(results)
  return table.concat(out)
end

-- What JSON holds of it.
function M.plain(machine, results)
  local list = {}
  for _, result in ipairs(results) do
    for _, case in ipairs(result.cases) do
      for _, row in ipairs(case.rows) do
        list[#list + 1] = {
          question = result.question.name, case = case.name, by = row.name, unit = result.question.unit,
          amount = amount(result.question, row.wall.median), wall = row.wall, cpu = row.cpu, rate_to_first = row.rate_ratio,
          cpu_to_first = row.cpu_ratio, instructions = row.instructions, calls = row.calls,
          [result.question.extra and "heap" or "garbage"] = row.more,
        }
      end
    end
  end
  return { machine = machine, results = list }
end

return M
