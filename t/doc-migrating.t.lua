-- doc/migrating.md: each table is one program in two columns; both run, and variables that both set are equal.
local install = require "install"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local before = leak.count()

-- The module whose presence says that the left column can be run.
local PEER = { luasocket = "socket", luaposix = "posix.sys.socket" }
local DIFFERS = { port = true, fd = true, from_port = true, path = true } -- numbers and names that the system chose

-- LuaSocket's dns.toip of a number asks for a name first: without /etc/hosts 127.0.0.1 may have none.
local has_socket, luasocket = pcall(require, "socket")
local NAMELESS = has_socket and not luasocket.dns.toip "127.0.0.1"

local function cells(line)
  local out = {}
  for cell in line:match "^|(.*)|$":gmatch "[^|]+" do out[#out + 1] = cell:match "^%s*(.-)%s*$" end
  return out
end

-- Answers the statements of a cell.
local function statements(cell, into)
  for code in (cell or ""):gmatch "`([^`]+)`" do into[#into + 1] = code end
end

-- The tables of the page: each the title of its left column, and two lists of statements.
local function tables()
  local out, current = {}, nil
  for line in install.read(install.source .. "/doc/migrating.md"):gmatch "([^\n]*)\n" do
    if not line:find "^|" then
      current = nil
    elseif not current then
      current = { title = cells(line)[1], {}, {} }
      out[#out + 1] = current
    elseif not line:find "^| %-%-%- " then
      local row = cells(line)
      statements(row[1], current[1])
      statements(row[2], current[2])
    end
  end
  return out
end

-- The names that a program sets, and a statement that prints them.
local function report(program)
  local seen, out = {}, {}
  for names in table.concat(program, "\n"):gmatch "local ([%w_, ]+) =" do
    for name in names:gmatch "[%w_]+" do
      if not seen[name] then
        seen[name] = true
        out[#out + 1] = ("show('%s', %s)"):format(name, name)
      end
    end
  end
  return table.concat(out, "\n")
end

local SHOW = [[
local kinds = { string = true, number = true, boolean = true, ["nil"] = true }
local function show(name, value) if kinds[type(value)] then print(name, type(value), tostring(value)) end end
]]

-- Runs a program in a process of its own; answers its output, and what it set: name -> { type, value }.
local function run(program)
  local code = table.concat(program, "\n") .. "\n"
  local text, ok = proc.lua(SHOW .. code .. report(program), not jit.status() and "-joff" or "")
  local values = {}
  for name, kind, value in text:gmatch "([%w_]+)\t(%w+)\t([^\n]*)\n" do values[name] = { kind, value } end
  return ok, text, values
end

-- The values that differ between two programs.
local function differences(a, b)
  local out, compared = {}, 0
  if NAMELESS then b.ip = nil end
  for name, value in pairs(a) do
    local other = b[name]
    if other then
      compared = compared + 1
      if value[1] ~= other[1] or not DIFFERS[name] and value[2] ~= other[2] then
        out[#out + 1] = ("%s: %s %s"):format(name, value[2], other[2])
      end
    end
  end
  return table.concat(out, ", "), compared
end

local all = tables()
local T = require("tap").plan(#all * 4 + 3)
T.ok(#all >= 5, "there are tables: " .. #all)
for i, t in ipairs(all) do
  local name = ("table %d, from %s, "):format(i, t.title)
  local ok, text, values = run(t[2])
  T.ok(#t[2] > 10 and ok, name .. "runs in llsocket's column")
  if not ok then print("# " .. text:gsub("\n", "\n# ")) end
  local module = PEER[t.title:match "^[%w-]+"]
  if not module then
    T.skip(3, t.title .. " cannot be installed from Debian")
  elseif not pcall(require, module) then
    T.skip(3, "there is no " .. module)
  else
    local peer_ok, peer_text, peer_values = run(t[1])
    T.ok(#t[1] > 10 and peer_ok, name .. "runs in the other column")
    if not peer_ok then print("# " .. peer_text:gsub("\n", "\n# ")) end
    local wrong, compared = differences(values, peer_values)
    T.is(wrong, "", name .. "sets the same values in both")
    T.ok(compared > 0, ("%sof which there are some: %d"):format(name, compared))
  end
end
if NAMELESS then T.skip(1, "127.0.0.1 has no name here, and LuaSocket's dns.toip wants one: ip is not compared")
else T.ok(true, "ip is compared, too") end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
