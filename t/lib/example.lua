-- example.lua -- starts the programs of examples/, in the mode in which the test itself runs.
local proc = require "proc"
local shell = require "shell"

local M = { dir = os.getenv "LLSOCKET_SOURCE" .. "/examples/" }

local function flags()
  if not jit.status() then return "-joff" end
  return os.getenv "LLSOCKET_STRESS" and "-Ohotloop=2,hotexit=1" or ""
end

-- The command that runs a Lua file: M.command("/tmp/x.lua", "arguments").
function M.command(path, args) return shell.format("%q %s %q %s", proc.luajit, flags(), path, args or "") end

-- Runs an example to its end; answers its output, and whether it ended well.
function M.run(name, args) return proc.run(M.command(M.dir .. name .. ".lua", args)) end

-- Starts a Lua file in the background, under another command if one is given.  Answers its process, and the first line
-- that it printed.
function M.start_file(path, args, under)
  local pipe = assert(io.popen("echo $$; exec " .. (under or "") .. " " .. M.command(path, args)))
  local child = { pid = tonumber(pipe:read "*l"), pipe = pipe }
  return child, pipe:read "*l" or ""
end

function M.start(name, args, under) return M.start_file(M.dir .. name .. ".lua", args, under) end

-- Ends a process; answers what it printed after the first line.
function M.stop(child)
  proc.kill(child.pid)
  local rest = child.pipe:read "*a"
  child.pipe:close()
  return rest
end

-- Whether the shell knows a program.
function M.has(program)
  local _, found = proc.run("command -v " .. program)
  return found
end

return M
