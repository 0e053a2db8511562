-- wait-copas: the way of waiting works in the Copas of other releases of Debian, which are fetched and not installed: that of
-- Debian 13 has no timers, like Debian 12's; that of sid is Copas 4.
local leak = require "leak"
local proc = require "proc"
local shell = require "shell"
local before = leak.count()

local ROWS = {
  { suite = "trixie", version = "Copas 1.1.7" },
  { suite = "sid", version = "Copas [4-9]%.%d+" },
}
local FILES = { "wait-loops", "wait-dropped", "wait-killed" }
local T = require("tap").plan(#ROWS * (#FILES + 2) + 1)
local source, dir = os.getenv "LLSOCKET_SOURCE", os.getenv "LLSOCKET_COPAS"
local flags = jit.status() and "" or "-joff"

-- Runs luajit with the Copas of a suite before others; answers its output, and whether it ended well.
local function run(suite, arguments)
  return proc.run(shell.format("LLSOCKET_LOOP=copas LUA_PATH=%q/t/copas/'?.lua;'%q/%s/usr/share/lua/5.1/'?.lua;'\"$LUA_PATH\" "
    .. "%q %s ", source, dir, suite, proc.luajit, flags) .. arguments)
end

-- Answers the version; nil and the reason to skip where there is none.
local function fetch(suite)
  if os.getenv "LLSOCKET_RUN" then return nil, "the packages are of this machine, and luasocket of another" end
  if not dir then return nil, "LLSOCKET_COPAS names no folder to unpack Copas in" end
  if not pcall(require, "socket") then return nil, "this machine has no luasocket for LuaJIT" end
  local text, ok = proc.run(shell.format("%q/t/copas/fetch %q %s", source, dir, suite))
  if not ok then return nil, (text:gsub("%s+$", ""):gsub("\n", "; ")) end
  return (run(suite, "-e 'io.write(require \"copas\"._VERSION)'"))
end

local function judge(row, version)
  T.ok(version:find(row.version), ("%s: it is %s"):format(row.suite, version))
  for _, name in ipairs(FILES) do
    local text, ok = run(row.suite, shell.format("%q/t/%s.t.lua", source, name))
    T.ok(ok and not text:find "\nnot ok", ("%s: %s passes"):format(row.suite, name))
    if not ok or text:find "\nnot ok" then print("# " .. text:gsub("\n", "\n# ")) end
  end
  local text = run(row.suite, shell.format("%q/t/wait-killed.t.lua", source))
  local can = version:find "4%." and text:find "ok %d+ %- copas: a thread that was removed" or text:find "SKIP this Copas cannot"
  T.ok(can, row.suite .. ": threads that are removed are tried where it can remove them")
end

for _, row in ipairs(ROWS) do
  local version, why = fetch(row.suite)
  if version then judge(row, version) else T.skip(#FILES + 2, why) end
end
T.is(leak.count(), before, "no descriptor is left")
T.done()
