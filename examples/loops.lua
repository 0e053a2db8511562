-- loops.lua [LOOP [PORT]] -- the echo server's handler, unchanged, in another event loop.
--
-- LOOP is coroutine (llsocket's own), luv, cqueues or copas.  PORT is 7000 by default; 0 lets the kernel choose.
-- After llsocket.wait.set, recvable and sendable yield to the loop.
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

-- For each loop: a function that runs another one in a coroutine, a function that runs the loop, and one that pauses, where
-- that is not pause().
local LOOPS = {}

function LOOPS.coroutine()
  local W = require "llsocket.wait.coroutine"
  return W.spawn, W.run, W.sleep
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

-- Catch errors here: an error that leaves the coroutine would end most loops for all clients.
local function guarded(sock)
  local ok, err = xpcall(echo, debug.traceback, sock)
  if not ok then io.stderr:write(err, "\n") end
  sock:close()
end

local nobody = assert(L.socket.pair(L.SOCK_STREAM)) -- keep both ends: if one were closed, the other would be ready

-- Waits for `nobody`, which never sends.  The loop itself may need a descriptor to wait; if it gets none, poll(2) waits.
local function pause(sec)
  if nobody[1]:recvable(sec) == nil then L.wait.poll(nobody[1]:fd(), "r", sec) end
end

-- If accept fails, for example because no descriptor is free, it pauses.
local function serve(listener, spawn, sleep)
  while true do
    local ready = listener:recvable()
    local sock, _, again = listener:accept()
    if sock then spawn(function() guarded(sock) end) elseif not (ready and again) then sleep(0.2) end
  end
end

local make = LOOPS[LOOP] or error("there is no loop " .. LOOP)
local spawn, run, sleep = make()
L.wait.set(require("llsocket.wait." .. LOOP).wait)
local listener = open(arg[2] or "7000")
print("listening on " .. tostring(listener:getsockname()))
io.stdout:flush()
spawn(function() serve(listener, spawn, sleep or pause) end)
run()
