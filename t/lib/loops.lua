-- loops.lua -- the event loops that tests run in, all under the same two calls: spawn and run.
local only = os.getenv "LLSOCKET_LOOP"
local M = { names = only and { only } or { "coroutine", "luv", "cqueues", "copas" } }

-- What the coroutines of a test do wrong comes out of run, whatever a loop does with errors.
local errors, live = {}, 0

local function guarded(fn)
  return function(...)
    live = live + 1
    local ok, err = xpcall(fn, debug.traceback, ...)
    live = live - 1
    if not ok then errors[#errors + 1] = err end
  end
end

local function finish()
  local text = table.concat(errors, "\n")
  errors = {}
  if text ~= "" then error(text, 0) end
end

local MAKE = {}

function MAKE.coroutine(_, wait)
  return { spawn = wait.spawn, run = wait.run }
end

function MAKE.luv(uv)
  return { spawn = function(fn, ...) coroutine.wrap(fn)(...) end, run = uv.run }
end

function MAKE.cqueues(cqueues)
  local controller = cqueues.new()
  return { spawn = function(fn, ...) controller:wrap(fn, ...) end, run = function() assert(controller:loop()) end }
end

-- Copas of Debian 12 and 13 runs for ever: step by step while anybody lives, and a bit longer for what it has of its own.  It
-- gives a thread nil before its arguments.  A newer one starts a thread when it goes round.
function MAKE.copas(copas)
  local unstarted, gives_nil = 0, not copas.pause
  local function spawn(fn, ...)
    unstarted = unstarted + 1
    return copas.addthread(function(...)
      unstarted = unstarted - 1
      fn(select(gives_nil and 2 or 1, ...))
    end, ...)
  end
  return { spawn = spawn, spawn_thread = copas.addthread, run = function()
    while live > 0 or unstarted > 0 do copas.step(5) end
    copas.step(0.15)
  end }
end

local function try(name)
  local ok, module = pcall(require, name)
  return ok and type(module) == "table" and module or nil
end

-- Has libuv open the descriptors that its loop keeps for good, before a test counts.
function M.settle()
  local uv = try "luv"
  if uv then uv.run() end
end

-- A loop, with `wait` set to its way of waiting; or nil and the reason.
function M.open(name)
  local base = name == "coroutine" or try(name)
  if not base then return nil, "this machine has no " .. name .. " for LuaJIT" end
  local wait = require("llsocket.wait." .. name)
  local loop = MAKE[name](base, wait)
  local spawn, run = loop.spawn, loop.run
  function loop.spawn(fn, ...) return spawn(guarded(fn), ...) end
  function loop.run()
    run()
    finish()
  end
  loop.name, loop.wait = name, wait.wait
  return loop
end

return M
