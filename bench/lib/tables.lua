-- tables.lua -- what result.json holds, as tables in Markdown.
local M = {}

-- 1234567 is "1,230,000": three digits tell.
function M.short(n)
  if n < 100 then return ("%.3g"):format(n) end
  local unit = 10 ^ (math.floor(math.log10(n)) - 2)
  local text = ("%d"):format(math.floor(n / unit + 0.5) * unit)
  return (text:reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", ""))
end

function M.maybe(format, value) return value and format:format(value) or "-" end

local short, maybe = M.short, M.maybe

function M.markdown(head, rows)
  local out = { "| " .. table.concat(head, " | ") .. " |", "|" .. (" --- |"):rep(#head) }
  for _, row in ipairs(rows) do out[#out + 1] = "| " .. table.concat(row, " | ") .. " |" end
  return table.concat(out, "\n") .. "\n"
end

-- The rows of a question, by participant and case, and the participants in their order; nil if it was not asked.
function M.rows_of(plain, name)
  local order, rows = {}, {}
  for _, row in ipairs(plain.results) do
    if row.question == name then
      if not rows[row.by] then
        rows[row.by] = {}
        order[#order + 1] = row.by
      end
      rows[row.by][row.case] = row
    end
  end
  if #order > 0 then return order, rows end
end

-- The ratios to the first: by CPU time, which a participant with threads does not have, and by rate.
function M.ratios(row)
  return ("%s; %.2f"):format(maybe("%.2f", row.cpu_to_first and row.cpu_to_first.median), row.rate_to_first.median)
end

local function cell(question, row)
  if not row then return "-" end
  if question.once then return short(row.amount) .. (row.heap and (" (%s)"):format(short(row.heap)) or "") end
  return ("%s (%s)"):format(short(row.amount), M.ratios(row))
end

local function times(plain, question)
  local order, by = M.rows_of(plain, question.name)
  local rows, head = {}, { "", unpack(question.cases) }
  for i, name in ipairs(order) do
    rows[i] = { name }
    for k, case in ipairs(question.cases) do rows[i][k + 1] = cell(question, by[name][case]) end
  end
  local unit = question.once and (question.extra and " (" .. question.extra .. ")" or "") or " a second"
  return ("**%s**, %s%s\n\n%s%s\n"):format(question.title:gsub("^%l", string.upper), question.unit, unit,
    question.note and question.note .. "\n\n" or "", M.markdown(head, rows))
end

-- The counts of all cases that have some: they repeat on any machine.
local function counts(plain)
  local rows, titles = {}, {}
  for _, question in ipairs(plain.questions) do titles[question.name] = question.title end
  for _, row in ipairs(plain.results) do
    if row.instructions or row.calls then
      rows[#rows + 1] = { titles[row.question] .. ", " .. row.case, row.by, maybe("%.0f", row.instructions),
        maybe("%.2f", row.calls), maybe("%.0f", row.garbage) }
    end
  end
  return M.markdown({ "one of", "by", "user-space instructions", "system calls", "bytes of garbage" }, rows)
end

local function machine_text(machine)
  return ("%s, %s CPUs, %s, %s, %s; load average %s when it began. %s. Measured on %s.\n\n"):format(machine.cpu, machine.cpus,
    machine.kernel, machine.luajit:match "LuaJIT %S+", machine.compiler, machine.load, machine.peers, machine.date)
end

-- All of it for bench/README.md.
function M.all(plain)
  local out = { machine_text(plain.machine) }
  for _, question in ipairs(plain.questions) do out[#out + 1] = times(plain, question) end
  out[#out + 1] = counts(plain)
  return table.concat(out)
end

return M
