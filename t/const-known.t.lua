-- const: a row that no system has, or a struct that its guard drops, would be nil everywhere without an error.
local const = require "llsocket" -- the constants of csrc/protocols.def, too
local layout = require "llsocket.core.layout"
local leak = require "leak"
local proc = require "proc"
local shell = require "shell"
local sys = require "sys"
local before = leak.count()
local source = os.getenv "LLSOCKET_SOURCE"
local T = require("tap").plan(11)

local function read(path)
  local file = assert(io.open(source .. "/" .. path))
  local text = file:read "*a"
  file:close()
  return text
end

-- What t/elsewhere lists: names, and "struct NAME" and "field STRUCT.NAME".
local elsewhere, names = {}, {}
for line in read "t/elsewhere":gmatch "[^\n]+" do
  if line:find "^%l" then elsewhere[line] = true
  elseif not line:find "^#" then
    for name in line:gmatch "%S+" do
      elsewhere[name] = true
      names[#names + 1] = name
    end
  end
end

-- The rows of the tables, as text: what the compiler was given, whatever its guards left.
local constants, has = {}, {}
for name in (read "csrc/consts.def" .. read "csrc/protocols.def"):gmatch "\nK%(([%w_]+)%)" do
  constants[#constants + 1] = name
  has[name] = true
end
local structs, fields = {}, {}
for line in read "csrc/structs.def":gmatch "[^\n]+" do
  local kind, struct, name = line:match "^(%u+) *%(([%w_]+),? ?([%w_]*)"
  if kind == "STRUCT" then structs[#structs + 1] = struct
  elseif kind == "PART" then fields[#fields + 1] = { struct, line:match '"([%w_]+)"' }
  elseif kind then fields[#fields + 1] = { struct, name } end
end

-- The headers of Debian 12 are the oldest that know all of Linux's names; older ones lack some, and so does musl.
local function younger()
  if os.getenv "LLSOCKET_FALLBACKS" then return "a build with the option fallbacks takes names away" end
  if not (sys.linux and sys.glibc) then return "t/elsewhere says what glibc's headers lack" end
  local ask = "printf '#include <features.h>\\n#include <linux/version.h>\\n__GLIBC_MINOR__ LINUX_VERSION_CODE' | cc -E -P -"
  local text = proc.run(ask)
  local minor, linux = text:match "(%d+) (%d+)%s*$"
  if not minor then return "no C compiler: the age of the headers is unknown" end
  if tonumber(minor) < 36 or tonumber(linux) < 6 * 65536 + 256 then return "the headers are older than Debian 12's" end
end

-- A header that declares a name, where one does.
local function header_of(name)
  local find = [=[grep -rlwE '^[[:space:]]*(#[[:space:]]*define[[:space:]]+)?%s' /usr/include 2>/dev/null | head -n 1]=]
  local text = proc.run(find:format(name))
  return text:match "/usr/include/([^\n]+)"
end

local function advice(name)
  local header = header_of(name)
  if header then return ("%s: <%s> declares it, include that in csrc/facts.c or change the guard"):format(name, header) end
  return ("%s: no header here has it; if it is no typing error, add it to t/elsewhere"):format(name)
end

local function unknown()
  local out = {}
  for _, name in ipairs(constants) do
    if const[name] == nil and not elsewhere[name] then out[#out + 1] = advice(name) end
  end
  return table.concat(out, "\n")
end

local function dropped()
  local out = {}
  for _, name in ipairs(structs) do
    if layout[name] == nil and not elsewhere["struct " .. name] then
      out[#out + 1] = ("struct %s: its guard in csrc/structs.def drops it here; mend that, or add it to t/elsewhere"):format(name)
    end
  end
  return table.concat(out, "\n")
end

local function lacks_field(struct, name)
  for _, field in ipairs(layout.fields[struct]) do if field.name == name then return false end end
  return true
end

local function dropped_fields()
  local out = {}
  for _, row in ipairs(fields) do
    local title = table.concat(row, ".")
    if layout[row[1]] and lacks_field(row[1], row[2]) and not elsewhere["field " .. title] then
      out[#out + 1] = ("field %s: its guard in csrc/structs.def drops it here; mend that, or add it to t/elsewhere"):format(title)
    end
  end
  return table.concat(out, "\n")
end

T.ok(#constants > 1800 and #structs > 20 and #fields > 60, "the tables are read")
local why = younger()
if why then T.skip(3, why) else
  T.is(unknown(), "", "every constant of both is declared here, or t/elsewhere has it")
  T.is(dropped(), "", "so is every struct of structs.def")
  T.is(dropped_fields(), "", "and every field")
end

local old, twice = {}, {}
for i, name in ipairs(names) do
  if not has[name] then old[#old + 1] = name end
  if names[i - 1] == name then twice[#twice + 1] = name end
end
T.is(table.concat(old, " "), "", "t/elsewhere lists only what consts.def has: remove these")
T.is(table.concat(twice, " "), "", "and each once")

-- csrc/younger.def: numbers of Linux, which no header has to know.
local young, lost = {}, {}
for name in read "csrc/younger.def":gmatch "\nY%(([%w_]+)," do
  young[#young + 1] = name
  if not has[name] or sys.linux and not const[name] or elsewhere[name] then lost[#lost + 1] = name end
end
T.ok(#young > 20, #young .. " constants are younger than the oldest headers")
T.is(table.concat(lost, " "), "", "each has its row, is known here on Linux, and is not in t/elsewhere")

local csrc = source .. "/csrc"
local function compile(define) return (proc.run(shell.format("cc -S -o - -I%q %s %q", csrc, define, csrc .. "/facts.c"))) end
if not sys.linux or not select(2, proc.run "command -v cc") then
  T.skip(1, "no C compiler, or not Linux")
else
  T.ok(compile "-DSO_INQ=9999":find "SO_INQ differs from the number in the headers",
    "a header that has another number ends the build")
end

-- A module finds a constant of protocols.def by core/named.lua: the table has those only behind the public one.
local protocols, wrong = {}, {}
for name in read "csrc/protocols.def":gmatch "\nK%(([%w_]+)%)" do protocols[name] = true end
for path in proc.run(shell.format("cd %q && find lua -name '*.lua' ! -name meta.lua", source)):gmatch "[^\n]+" do
  for name in read(path):gmatch "%f[%w]const%.([%w_]+)" do
    if protocols[name] then wrong[#wrong + 1] = path .. ": " .. name end
  end
end
T.is(table.concat(wrong, ", "), "", "no module looks for a constant of protocols.def in the table")
T.is(leak.count(), before, "no descriptor is left")
T.done()
