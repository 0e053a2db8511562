-- load-globals: no function of the library looks a global up when it runs.  A program may replace type or select; then its
-- function would run inside every call, and a Lua function could become a finaliser.
local shell = require "shell"
local funcbc, funck = require("jit.util").funcbc, require("jit.util").funck
local names = require("jit.vmdef").bcnames
local dir = os.getenv "LLSOCKET_SOURCE" .. "/lua"

local function opcode(ins) return (names:sub(bit.band(ins, 0xff) * 6 + 1, bit.band(ins, 0xff) * 6 + 6):gsub(" +$", "")) end

local function lookups(proto, found)
  local pc, ins = 1, funcbc(proto, 1)
  while ins do
    if opcode(ins) == "GGET" then found[#found + 1] = funck(proto, -bit.rshift(ins, 16) - 1) end
    pc = pc + 1
    ins = funcbc(proto, pc)
  end
  return found
end

local function walk(proto, found)
  local i = -1
  local k = funck(proto, i)
  while k ~= nil do
    if type(k) == "proto" then walk(k, lookups(k, found)) end
    i = i - 1
    k = funck(proto, i)
  end
  return found
end

local files = {}
local pipe = assert(io.popen("cd " .. shell.quote(dir) .. " && find . -name '*.lua' | LC_ALL=C sort"))
for file in pipe:lines() do files[#files + 1] = file:sub(2) end
pipe:close()

local T = require("tap").plan(#files + 2)
T.ok(#files > 40, "all modules are looked at")
for _, file in ipairs(files) do
  local found = walk(assert(loadfile(dir .. file)), {})
  T.is(table.concat(found, " "), "", file .. " takes its globals as locals when it is loaded")
end
T.is(table.concat(walk(loadstring "return function() return type(1) end", {}), " "), "type", "a lookup would be seen")
T.done()
