-- loops.lua [LOOP [PORT]] -- the echo server's handler, unchanged, in another event loop.
--
-- LOOP is coroutine (llsocket's own), luv, cqueues or copas; PORT is 7000 where none is given, and 0 lets the kernel
-- choose.  recvable and sendable give way to the loop as soon as llsocket.wait knows it.
local L = require "llsocket"

local LOOP, PATIENCE = arg[1] or "coroutine", 60

-- The same as in echoserver.lua.
local function echo(sock)
  while sock:recvable(PATIENCE) do
    local msg, _, again = sock:recv(65536)
    if not (msg or again) then return end -- the end, or a reset
    while msg and msg ~= "" do
      local n, _, more = sock:send(msg)
      if not n or more and not sock:sendable(PATIENCE) then return end
      msg = msg:sub(n + 1)
    end
  end
end

-- Each runs a function in a coroutine of its loop, and the loop.
local LOOPS = {}

function LOOPS.coroutine()
  local W = require "llsocket.wait.coroutine"
  return W.spawn, W.run
end

function LOOPS.luv()
  local uv = require "luv"
  return function(fn) coroutine.wrap(fn)() end, uv.run
end

function LOOPS.cqueues()
  local controller = require("cqueues").new()
  return function(fn) controller:wrap(fn) end, function() assert(controller:loop()) end
end

function LOOPS.copas()
  local copas = require "copas"
  return copas.addthread, copas.loop
end

local function open(port)
  local listener = assert(L.socket.new(assert(L.inet.getaddrinfo("127.0.0.1", port))[1], true))
  listener:reuseaddr(true)
  local err = listener:bind() or listener:listen()
  if err then error(err) end
  return listener
end

-- An error must not come out: most loops would end for all.
local function guarded(sock)
  local ok, err = xpcall(echo, debug.traceback, sock)
  if not ok then io.stderr:write(err, "\n") end
  sock:close()
end

-- Out of descriptors, or where accept fails otherwise, it tries again after a while: nothing ever comes from `nobody`.
-- The loop itself may want a descriptor to wait with: then poll(2) waits.
local function serve(listener, spawn)
  local nobody = assert(L.socket.pair(L.SOCK_STREAM)) -- both ends are kept: the end of one would be ready
  while true do
    local ready = listener:recvable()
    local sock, _, again = listener:accept()
    if sock then
      spawn(function() guarded(sock) end)
    elseif not (ready and again) and nobody[1]:recvable(0.2) == nil then
      L.wait.poll(nobody[1]:fd(), "r", 0.2)
    end
  end
end

local make = LOOPS[LOOP] or error("there is no loop " .. LOOP)
local spawn, run = make()
L.wait.set(require("llsocket.wait." .. LOOP).wait)
local listener = open(arg[2] or "7000")
print("listening on " .. tostring(listener:getsockname()))
io.stdout:flush()
spawn(function() serve(listener, spawn) end)
run()
