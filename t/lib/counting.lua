-- counting.lua -- why costs cannot be counted here, or nil where they can: the mode, the machine, the tool.
local proc = require "proc"

local M = {}

-- The mode and the machine.
function M.refusal()
  if not jit.status() or os.getenv "LLSOCKET_STRESS" then return "costs are counted in the default mode only" end
  if os.getenv "LLSOCKET_RUN" then return "the interpreter is of another machine, and its emulator would be counted" end
end

-- A tool: a command that tries it may fail where it is installed, for example because it may not trace here.
function M.lacks(tool, try)
  if not select(2, proc.run("command -v " .. tool)) then return ("no %s on this machine"):format(tool) end
  local said, runs = proc.run(try)
  return not runs and ("%s does not run here: %s"):format(tool, said:gsub("\n", " ")) or nil
end

M.VALGRIND = "valgrind --tool=none -q true"

return M
