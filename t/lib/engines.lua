-- engines.lua -- what the loop of coroutines stands on: a test runs over the best that the system has, and then again in
-- processes of its own over poll(2) and over a stand-in of kqueue(2).  Require it first.
local proc = require "proc"
local shell = require "shell"

local M = { name = arg[1], names = { "poll", "kqueue" } }

if M.name == "kqueue" then require("kqueue").load(false) end
if M.name then require("llsocket.core.const").EPOLLIN = nil end

-- Runs the file again over the others: a test for each.
function M.others(T)
  for _, name in ipairs(M.names) do
    if M.name then
      T.skip(1, "this is one of them")
    elseif name == "kqueue" and not require("llsocket.core.const").EPOLLIN then
      T.skip(1, "the stand-in for kqueue needs an epoll")
    else
      local flag = jit.status() and "" or "-joff"
      local text, ok = proc.run(shell.format("%q %s %q %s", proc.luajit, flag, arg[0], name))
      if not ok then print("# " .. text:gsub("\n", "\n# ")) end
      T.ok(ok, "over " .. name .. " it is the same")
    end
  end
end

-- Counts the calls of the engine from now on: new, add, modify, remove, wait.
function M.count()
  local const = require "llsocket.core.const"
  local name = const.EPOLLIN and "epoll" or const.EV_ADD and "kqueue" or "poll"
  local engine, calls = require("llsocket.poll." .. name), {}
  for _, call in ipairs { "new", "add", "modify", "remove", "wait" } do
    local real = engine[call]
    calls[call] = 0
    engine[call] = function(...)
      calls[call] = calls[call] + 1
      return real(...)
    end
  end
  return calls
end

return M
