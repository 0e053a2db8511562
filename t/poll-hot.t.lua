-- poll-hot: closing an object that a poller watches is compiled, and so is registering and changing it.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local pollers = require "pollers"
local trace = require "trace"
local poll = L.poll

local before = leak.count()
local T = require("tap").plan(#pollers.names * 4 + 2)
local ROUNDS = 300

local function compiles(name, fn)
  trace.is(T, function() for _ = 1, ROUNDS do fn() end end, name .. " compiles")
end

local function hot(name)
  local p, a, b = assert(poll.new(name)), net.pair()
  compiles(name .. ": closing a watched socket", function()
    local sock = a:dup()
    p:add(sock, "r")
    sock:close()
  end)
  compiles(name .. ": closing a watched timer", function()
    local timer = poll.timer(60)
    if timer then
      p:add(timer, "r")
      timer:close()
    end
  end)
  assert(p:add(a, "r"))
  compiles(name .. ": a change", function() p:modify(a, "rw"); p:modify(a, "r") end)
  compiles(name .. ": adding and removing", function() p:add(b, "w"); p:remove(b) end)
  a:close(); b:close(); p:close()
end

for _, name in ipairs(pollers.names) do hot(name) end

-- A way of waiting wants to know of the end, too.
require "llsocket.wait.coroutine"
local a, b = net.pair()
compiles("beside llsocket.wait.coroutine: closing a watched socket", function()
  local sock = a:dup()
  sock.about.watched = true
  sock:close()
end)
a:close(); b:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
