-- loops.lua [LOOP [PORT]] -- the echo server's handler, unchanged, in another event loop.
--
-- LOOP is coroutine (llsocket's own), luv, cqueues or copas.  PORT is 7000 by default; 0 lets the kernel choose.
-- After llsocket.wait.set, everything that waits yields to the loop.
local L = require "llsocket"
local stream = require "llsocket.stream"

local LOOP, PATIENCE = arg[1] or "coroutine", 60

-- The same as in echoserver.lua.
local function echo(s)
  repeat
    s:deadline(PATIENCE)
    local msg = s:some()
  until not (msg and s:write(msg))
end

-- For each loop: a function that runs another one in a coroutine, and a function that runs the loop.
local LOOPS = {}

function LOOPS.coroutine()
  local W = require "llsocket.wait.coroutine"
  return W.spawn, W.run
end

function LOOPS.luv()
  local uv = require "luv"
  return function(fn, ...) coroutine.wrap(fn)(...) end, uv.run
end

function LOOPS.cqueues()
  local controller = require("cqueues").new()
  return function(fn, ...) controller:wrap(fn, ...) end, function() assert(controller:loop()) end
end

-- Some versions of Copas give a thread nil before its arguments: the function brings its own.
function LOOPS.copas()
  local copas = require "copas"
  local function spawn(fn, ...)
    local arguments = { ... }
    copas.addthread(function() fn(unpack(arguments)) end)
  end
  return spawn, copas.loop
end

local make = LOOPS[LOOP] or error("there is no loop " .. LOOP)
local spawn, run = make()
L.wait.set(require("llsocket.wait." .. LOOP).wait)
local listener = assert(stream.listen("127.0.0.1", arg[2] or 7000))
print("listening on " .. tostring(listener:getsockname()))
io.stdout:flush()
spawn(stream.serve, listener, echo, { spawn = spawn })
run()
