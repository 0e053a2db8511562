-- doc-errnos: the error numbers under a function's **Branch on** in doc/ are those of its annotation.
local cmsghdr = require "llsocket.cmsghdr"
local multicast = require "llsocket.socket.multicast"
local leak = require "leak"
local owners = require "owners"
local shell = require "shell"
local source = os.getenv "LLSOCKET_SOURCE"
local before = leak.count()

-- Adds the error numbers in a text to a set: errno names and codes of the resolver.
local function add_numbers(set, text)
  for name in text:gmatch "%f[%w_]E[%u%d_]+%f[^%w_]" do
    if not name:find "_" or name:find "^EAI_" then set[name] = true end
  end
end

local function listed(set)
  local names = {}
  for name in pairs(set) do names[#names + 1] = name end
  table.sort(names)
  return table.concat(names, " ")
end

-- Adds the sections of a page: by title, the text under **Branch on**, "" where there is none.
local function add_page(out, path)
  local title, is_part
  for line in io.lines(path) do
    if line:find "^#" then
      title, is_part = (line:match "^### .-(%l+[.:][%w_]+)%(.-%)$"), false
      if title then out[title] = out[title] or "" end
    end
    if line == "" or line:find "^%s*%- %*%*" then is_part = line:find "%*%*Branch on%*%*" ~= nil end
    if title and is_part then out[title] = out[title] .. line .. " " end
  end
end

local function branches()
  local out, pipe = {}, assert(io.popen(shell.format("ls %q/doc/*.md", source)))
  for path in pipe:lines() do add_page(out, path) end
  pipe:close()
  return out
end

-- The comment lines directly above a function, in order.
local function block_above(fn)
  local info, block, number = debug.getinfo(fn, "S"), {}, 0
  for line in io.lines(info.source:sub(2)) do
    number = number + 1
    if number < info.linedefined then
      if line:find "^%-%-%-" then block[#block + 1] = line else block = {} end
    end
  end
  return block
end

-- The values of an answer that tell an error number.
local TELLS = { errno = true, code = true, again = true }

-- What an annotation says about these; nil where there is no annotation.
local function returned(fn)
  local out, block, is_part = {}, block_above(fn), false
  for _, line in ipairs(block) do
    if line:find "^%-%-%-@" then is_part = TELLS[line:match "^%-%-%-@return %S+ (%w+)"] end
    if is_part then out[#out + 1] = line:sub(4) end
  end
  return block[1] and table.concat(out, " ")
end

-- The functions whose numbers a text takes over, on a page "what `send` and `sendto` name", in an annotation "as for send".
local TAKEN = {
  page = function(text)
    local names = ""
    for part in text:gmatch "what (`[%w_` and]-) names?%f[%W]" do names = names .. part .. " " end
    return names:gmatch "`([%w_]+)`"
  end,
  note = function(text) return text:gmatch "as for ([%w_]+)" end,
}

-- The rows of options, multicast and ancillary numbers, whose annotation is one line that names no error.
local ROWS = {}
for _, row in ipairs(require("methods").options) do ROWS["sock:" .. row[1]] = true end
for _, row in ipairs(multicast.OPTIONS) do ROWS["sock:" .. row[1]] = true end
for _, row in ipairs(multicast.MEMBERSHIPS) do ROWS["sock:" .. row[1]] = true end
for _, row in ipairs(cmsghdr.NUMBERS) do ROWS["cmsghdr." .. row[1]] = true end

local cases, by_title, without = {}, {}, {}
local functions = owners.functions()
for title, page in pairs(branches()) do
  local note = functions[title] and returned(functions[title])
  if note then
    by_title[title] = { title = title, owner = title:match "^%l+[.:]", page = page, note = note }
    cases[#cases + 1] = by_title[title]
  elseif not ROWS[title] then
    without[#without + 1] = title
  end
end
table.sort(cases, function(a, b) return a.title < b.title end)

local function add_all(set, case, which, seen)
  if seen[case] then return end
  seen[case] = true
  add_numbers(set, case[which])
  for name in TAKEN[which](case[which]) do
    add_all(set, assert(by_title[case.owner .. name], case.title .. " takes over " .. name), which, seen)
  end
end

local function numbers(case, which)
  local set = {}
  add_all(set, case, which, {})
  return listed(set)
end

local T = require("tap").plan(#cases + 2)
T.is(table.concat(without, " "), "", #cases .. " functions are compared; a section without an annotation is a row's")
for _, case in ipairs(cases) do
  T.is(numbers(case, "note"), numbers(case, "page"), "annotation and page of " .. case.title .. " name the same error numbers")
end
T.is(leak.count(), before, "no descriptor is left")
T.done()
