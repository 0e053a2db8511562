-- owner-emfile: descriptors run out, with and without sockets to collect.  Each case is a process of its own that
-- may have few descriptors.
local L = require "llsocket"
local net = require "net"
local proc = require "proc"
local sys = require "sys"
local leak = require "leak"
local T = require("tap").plan(13)
local before = leak.count()
local socket = L.socket
local ai = net.addr()
local listener, there = net.listener(L.AF_INET, true)

local function is(got, want, what)
  if got ~= want then error(("%s: got %s, want %s"):format(what, tostring(got), tostring(want)), 2) end
end

-- Runs fn in a child with 64 descriptors, where a connection waits to be accepted.
local function starved(name, fn, ...)
  local child = proc.fork(function(...)
    local client = assert(socket.new(there))
    assert(not client:connect())
    collectgarbage(); collectgarbage()
    assert(sys.limit_descriptors(64))
    fn(...)
    is(client:close(), nil, "the client's close")
  end, ...)
  T.is(proc.wait(child), 0, name)
  listener:nonblock(true)
  local waiting = listener:accept()
  while waiting do waiting = waiting:close() or listener:accept() end
end

-- The ways to get a descriptor.
local WAYS = {
  { "new", function() return socket.new(ai) end },
  { "pair", function() return socket.pair(L.SOCK_STREAM) end },
  { "dup", function() return listener:dup() end },
  { "accept", function() return listener:accept() end },
}

-- Fails where a way does not answer EMFILE in its own shape.
local function refused(way, first, second, third, fourth)
  local err, e = second, third
  if way == "accept" then
    is(third, false, "accept: again")
    err, e = third == false and second, fourth
  end
  is(first, nil, way)
  is(type(err), "string", way .. ": err")
  is(e, L.EMFILE, way .. ": errno")
end

-- Whether no descriptor is left to have, asked without the library.
local function full()
  local fd = sys.copy(listener:fd())
  return fd < 0 or not sys.close(fd)
end

local function fill()
  local kept = {}
  while not full() do kept[#kept + 1] = assert(socket.new(ai)) end
  return kept
end

local function nothing_to_collect(way, call)
  local kept = fill()
  for _ = 1, 50 do refused(way, call()) end
  kept[1]:close()
  if way == "pair" then
    refused(way, call()) -- room for one half
    is(full(), false, "the half that was made is closed")
    kept[2]:close()
  end
  local got = call()
  is(got ~= nil, true, way .. " once there is room")
  is(full(), true, "no descriptor left over")
end

local function drop() assert(socket.new(ai)) end

-- Fills the descriptors with sockets that nothing refers to.
local function fill_with_garbage()
  collectgarbage "stop"
  while not full() do drop() end
end

local function garbage_to_collect(_, call)
  fill_with_garbage()
  local got = call()
  is(got ~= nil, true, "a call with garbage to collect succeeds")
  is(full(), false, "the garbage is closed")
  is(collectgarbage "isrunning", false, "the collector still stands")
end

for _, way in ipairs(WAYS) do
  starved(way[1] .. " with nothing to collect: EMFILE, nothing leaked, and it works once there is room", nothing_to_collect,
    way[1], way[2])
  starved(way[1] .. " with dropped sockets collects them and succeeds; a stopped collector stays stopped",
    garbage_to_collect, way[1], way[2])
end

starved("a running collector runs on", function()
  fill_with_garbage()
  collectgarbage "restart"
  is(socket.new(ai) ~= nil, true, "new")
  is(collectgarbage "isrunning", true, "running")
end)

starved("descriptors are collected for at most once a second, and again later", function()
  local quiet, peer = net.pair()
  fill_with_garbage()
  local start = sys.clock()
  is(socket.new(ai) ~= nil, true, "the first time")
  fill_with_garbage()
  local _, _, e = socket.new(ai)
  if sys.clock() - start < 1 then is(e, L.EMFILE, "a second time at once") end
  is(quiet:recvable(2.1), false, "waiting")
  is(socket.new(ai) ~= nil, true, "a second time later")
  peer:close()
end)

-- accept: the connection waits until there is room
local client = assert(socket.new(there))
assert(not client:connect())
client:send "patient"
local child = proc.fork(function()
  sys.limit_descriptors(64)
  local kept = fill()
  refused("accept", listener:accept())
  is(listener:recvable(0), true, "it still waits")
  kept[1]:close()
  local server = assert(listener:accept())
  is(server:recv(), "patient", "its bytes")
end)
T.is(proc.wait(child), 0, "a connection that could not be accepted is there once there is room")
client:close()

-- wrap needs no descriptor
child = proc.fork(function()
  sys.limit_descriptors(64)
  fill()
  local s = assert(socket.wrap(listener:fd(), { own = false }))
  is(s:acceptconn(), true, "acceptconn")
end)
T.is(proc.wait(child), 0, "wrap needs no further descriptor")
listener:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
