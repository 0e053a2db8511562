-- coroutine.lua LOOP [buffer] -- the echo server with a coroutine for each connection, in llsocket's own loop or another one.
--
-- LOOP is coroutine (llsocket's own), luv, cqueues or copas.  Only the lines that start and run coroutines differ.  Messages
-- are strings, or pass through one buffer.
local ffi = require "ffi"
local L = require "llsocket"

local LOOPS = {}

function LOOPS.coroutine()
  local loop = require "llsocket.wait.coroutine"
  return loop.spawn, loop.run
end

function LOOPS.luv()
  local uv = require "luv"
  return function(fn, sock) coroutine.wrap(fn)(sock) end, uv.run
end

function LOOPS.cqueues()
  local controller = require("cqueues").new()
  return function(fn, sock) controller:wrap(fn, sock) end, function() assert(controller:loop()) end
end

function LOOPS.copas()
  local copas = require "copas"
  return function(fn, sock) copas.addthread(function() fn(sock) end) end, copas.loop
end

local spawn, run = LOOPS[arg[1]]()
L.wait.set(require("llsocket.wait." .. arg[1]).wait)

local listener = assert(L.socket.new(L.inet.getaddrinfo("127.0.0.1", "0")[1], true))
local err = listener:bind() or listener:listen()
assert(not err, err)
print(listener:getsockname():port())
io.stdout:flush()

local open = 0

local ECHO = {}

function ECHO.string(sock)
  repeat
    sock:recvable()
    local message = sock:recv()
  until not message or sock:send(message) ~= #message
end

-- No coroutine waits between the two calls, so one buffer does for all.
local buf = ffi.new "uint8_t[4096]"
function ECHO.buffer(sock)
  repeat
    sock:recvable()
    local n = sock:recvinto(buf)
  until not n or sock:sendfrom(buf, n) ~= n
end

local serve = ECHO[arg[2] or "string"]

local function echo(sock)
  serve(sock)
  sock:close()
  open = open - 1
  if open == 0 then os.exit(0) end -- some of the loops never end by themselves
end

spawn(function()
  while listener:recvable() do
    local sock = listener:accept()
    while sock do
      open = open + 1
      spawn(echo, sock)
      sock = listener:accept()
    end
  end
end)
run()
