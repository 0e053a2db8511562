-- shim: each C compiler at hand takes csrc without a warning, whatever its C library and headers are.
local proc = require "proc"
local shell = require "shell"
local leak = require "leak"
local before = leak.count()

local csrc = os.getenv "LLSOCKET_SOURCE" .. "/csrc"
local COMPILERS = { "gcc", "clang", "musl-gcc" }
local COMMAND = "%s -shared -fPIC -O0 -Wall -Wextra -Wconversion -Werror -I%q %q/*.c -o %q"

local T = require("tap").plan(#COMPILERS + 1)

local function compile(compiler)
  local path = os.tmpname()
  local out, ok = proc.run(shell.format(COMMAND, compiler, csrc, csrc, path))
  os.remove(path)
  if not ok then print("# " .. out:gsub("\n", "\n# ")) end
  return ok
end

local default = jit.status() and not os.getenv "LLSOCKET_STRESS"
for _, compiler in ipairs(COMPILERS) do
  if not default then
    T.skip(1, "a compiler does not care how Lua runs")
  elseif not select(2, proc.run("command -v " .. compiler)) then
    T.skip(1, "there is no " .. compiler)
  else
    T.ok(compile(compiler), compiler .. " compiles csrc without a warning")
  end
end
T.is(leak.count(), before, "no descriptor is left")
T.done()
