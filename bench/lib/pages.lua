-- pages.lua -- puts what result.json holds into the pages that show it, between marks: `figures: NAME` and `end of figures`.
local tables = require "bench.lib.tables"

local M = {}

M.LIST = { "README.md", "bench/README.md", "doc/buffer.md" }

local function ratio(row)
  local cpu = row.cpu_to_first and (" (%.2f)"):format(row.cpu_to_first.median) or ""
  return ("%.2f%s"):format(row.rate_to_first.median, cpu)
end

-- A table of the ratios to the first participant, of those that `choose` takes.
local function ratio_table(plain, name, title, choose)
  local order, by = tables.rows_of(plain, name)
  if not order then return nil end
  local rows, cases = {}, nil
  for _, question in ipairs(plain.questions) do
    if question.name == name then cases = question.cases end
  end
  for _, who in ipairs(order) do
    if choose(who) then
      local row = { who }
      for k, case in ipairs(cases) do row[k + 1] = by[who][case] and ratio(by[who][case]) or "-" end
      rows[#rows + 1] = row
    end
  end
  return tables.markdown({ title, unpack(cases) }, rows)
end

local SECTIONS = {}

SECTIONS.tables = tables.all

-- Whoever runs handlers, and what C and a loop without handlers do.
local ECHO = {
  ["llsocket, buffers"] = true, ["llsocket, coroutines"] = true, ["llsocket, callbacks"] = true, ["lua-luv"] = true,
  ["lua-cqueues"] = true, ["lua-copas"] = true, Go = true, ["Node.js"] = true,
}

function SECTIONS.echo(plain)
  return ratio_table(plain, "echo", "echo of 64 bytes, C = 1", function(who) return ECHO[who] end)
end

local RECEIVE = { ["llsocket, strings"] = true, ["llsocket, buffers"] = true, ["bare FFI, strings"] = true }

function SECTIONS.receive(plain)
  return ratio_table(plain, "receive", "C = 1", function(who) return RECEIVE[who] end)
end

-- Answers a page with its figures made anew.  What was not measured stays as it is.
function M.fill(page, plain)
  return (page:gsub("(<!%-%- figures: (%l+) %-%->\n)(.-)(<!%-%- end of figures %-%->)", function(from, name, old, to)
    return from .. (SECTIONS[name](plain) or old) .. to
  end))
end

return M
