-- tree: no test is missing from a list, no exception outlives its test, CONTRIBUTING.md names all files, and all tools have
-- one line limit.
local leak = require "leak"
local proc = require "proc"
local shell = require "shell"
local before = leak.count()
local source = os.getenv "LLSOCKET_SOURCE"
local T = require("tap").plan(11)

local function read(path)
  local file = assert(io.open(source .. "/" .. path))
  local text = file:read "*a"
  file:close()
  return text
end

local function lines(command)
  local out = {}
  for line in proc.run(("cd %s && "):format(shell.quote(source)) .. command):gmatch "[^\n]+" do out[#out + 1] = line end
  return out
end

-- The quoted words of a text.
local function words(text)
  local out = {}
  for word in text:gmatch "'([^'\n]*)'" do out[word] = true end
  return out
end

-- What has no place in a list, each with what to do.
local function without(names, list, advice)
  local out = {}
  for _, name in ipairs(names) do if not list[name] then out[#out + 1] = advice:format(name) end end
  return table.concat(out, "; ")
end

local function files(folder)
  local out = {}
  for _, path in ipairs(lines(("ls %s/*.t.lua"):format(folder))) do out[#out + 1] = path:match "([^/]+)%.t%.lua$" end
  return out
end

local function set(names)
  local out = {}
  for _, name in ipairs(names) do out[name] = true end
  return out
end

local build, own = read "t/meson.build", files "t"
local tests = words(build:match "\ntests = %[(.-)\n%]")
T.is(#own > 100 and without(own, tests, "add '%s' to `tests` in t/meson.build, or nothing runs it"), "",
  "t/meson.build names every test file")
for _, folder in ipairs { "nginx", "package" } do
  local list = words((read("t/" .. folder .. "/meson.build"):gsub("%.t%.lua'", "'")))
  T.is(without(files("t/" .. folder), list, "add '%s' to t/" .. folder .. "/meson.build, or nothing runs it"), "",
    ("t/%s/meson.build names its test files"):format(folder))
end

-- A name that was changed in one place only would take a test out of a suite without a word.
local function keys(text)
  local out = {}
  for name in text:gmatch "\n  '([%w-]+)'" do out[#out + 1] = name end
  return out
end
local inside = read "t/nginx/meson.build"
local named = {}
for _, list in ipairs { "core", "slow", "starving" } do
  for _, name in ipairs(keys(build:match("\n" .. list .. " = %[.-\n%]"))) do named[#named + 1] = name end
end
for _, list in ipairs { "main", "ordinary", "never" } do
  for _, name in ipairs(keys(inside:match("\n" .. list .. " = {.-\n}"))) do named[#named + 1] = name end
end
T.is(#named > 50 and without(named, set(own), "'%s' is no test file: change it in t/meson.build or t/nginx/meson.build"), "",
  "every name in core, slow and starving, and in nginx's lists, is a test file's")

-- t/abi/skips excuses parts of a test's name.  Names are made of what stands in the file, in the helpers that it requires,
-- in the rows of the options, and, where it reads them, in the pages.
local pages = table.concat(lines "cat doc/*.md", "\n")
local options = read "lua/llsocket/socket/option.lua" .. read "lua/llsocket/socket/multicast.lua"
local function sources(name)
  local text = read("t/" .. name .. ".t.lua")
  local out = { text, options, text:find("/doc", 1, true) and pages or nil }
  for helper in text:gmatch 'require%(?%s?"(%w+)"' do
    local file = io.open(("%s/t/lib/%s.lua"):format(source, helper))
    if file then
      out[#out + 1] = file:read "*a"
      file:close()
    end
  end
  return table.concat(out, "\n")
end

local function is_made(part, text)
  for word in part:gmatch "[%w_]+" do
    if #word > 1 and not text:find(word, 1, true) then return false end
  end
  return true
end

local function stale(row)
  local targets, names, parts = row:match "^([^|]*)|([^|]*)|([^|]*)|"
  if not targets then return "no row: " .. row end
  for name in names:gmatch "[^;%s]+" do
    if not tests[name] then return ("no test file %s: %s"):format(name, row) end
  end
  for part in parts:gmatch "[^;]+" do
    part = part:match "^%s*(.-)%s*$"
    local found = part == "the rest"
    for name in names:gmatch "[^;%s]+" do found = found or is_made(part, sources(name)) end
    if not found then return ("no test's name has %q any more: %s"):format(part, row) end
  end
end

local old, rows = {}, 0
for row in read "t/abi/skips":gmatch "[^\n]+" do
  if row:find "^[^#]" then
    rows = rows + 1
    old[#old + 1] = stale(row)
  end
end
T.is(rows > 50 and table.concat(old, "\n"), "", "every row of t/abi/skips excuses a test that is there: else change or remove it")

-- CONTRIBUTING.md: what looks like a file stands in the tree, or in the folder of which the sentence speaks.
local guide = read "CONTRIBUTING.md"
local FOLDERS = { "", "csrc/", "lua/llsocket/", "lua/llsocket/socket/" }
local function is_there(path)
  for _, folder in ipairs(FOLDERS) do
    local file = io.open(("%s/%s%s"):format(source, folder, path:gsub("%*.*$", "")))
    if file then return file:close() end
  end
end

local ENDINGS, TOP = set { "c", "def", "h", "lua", "md" }, set { "csrc", "doc", "examples", "bench", "debian", "lua", "t", ".ci" }
local named_paths, lost = 0, {}
for text in guide:gmatch "`([%w_./*-]+)" do
  local is_path = ENDINGS[text:match "%.(%l+)$"] or TOP[text:match "^([^/]+)/"]
  if is_path and not text:find "%u%u.*[/.]" or text == "CHANGELOG.md" then
    named_paths = named_paths + 1
    if not is_there(text) then lost[#lost + 1] = text end
  end
end
T.is(named_paths > 30 and table.concat(lost, " "), "", "every file that CONTRIBUTING.md names is there")

local commands, unknown = 0, {}
for command in guide:gmatch "meson test %-C build ([^\n`]+)" do
  commands = commands + 1
  for suite in command:gmatch "%-%-suite (%l+)" do
    if not build:find("'" .. suite .. "'", 1, true) then unknown[#unknown + 1] = suite end
  end
  for name in command:gsub("%-%-suite %l+", ""):gsub('"[^"]*"', ""):gmatch "%f[%w-]%l[%l-]+" do
    if not tests[name] then unknown[#unknown + 1] = name end
  end
end
T.is(commands > 10 and table.concat(unknown, " "), "", "every test and suite that it names is there")
T.ok(#lines "cat CONTRIBUTING.md" <= 170, "it is short enough to be read")

local limit = tonumber(read ".clang-format":match "\nColumnLimit: (%d+)")
local editor = tonumber(read ".editorconfig":match "%[%*%.{c,h}%][^%[]-max_line_length = (%d+)")
T.is(editor, limit, "the limit of columns in .editorconfig is that of .clang-format")
T.is(table.concat(lines(("find csrc t bench examples -name '*.[ch]' | xargs awk 'length > %d { print FILENAME \":\" FNR }'")
  :format(limit)), " "), "", "no line of C is longer: clang-format leaves comments as they are")

T.is(leak.count(), before, "no descriptor is left")
T.done()
