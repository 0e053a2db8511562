-- lifecycle-collect: the collector closes each descriptor once, and does not close those of copies of the object and of forked
-- parents.
local ffi = require "ffi"
local L = require "llsocket"
local net = require "net"
local proc = require "proc"
local sys = require "sys"
local leak = require "leak"
local T = require("tap").plan(24)
local before = leak.count()
local socket = L.socket

local function collect() collectgarbage(); collectgarbage() end

-- Makes a socket in a frame of its own, so that no stack slot keeps it; answers its number.
local function dropped() return assert(socket.new(net.addr())):fd() end

local fd = dropped()
T.ok(sys.is_open(fd), "a socket that is dropped is open at first")
collect()
T.ok(not sys.is_open(fd), "the collector closes it")

-- exactly once
fd = dropped()
collect()
local s = assert(socket.new(net.addr()))
T.is(s:fd(), fd, "its number is free for the next")
collect(); collect()
T.ok(sys.is_open(fd), "and is not closed again")
s:close()

-- a copy of the object
s = assert(socket.new(net.addr()))
fd = s:fd()
local copy = ffi.new(ffi.typeof(s), s)
T.is(copy:fd(), fd, "a copy of the object has the number")
copy = nil -- luacheck: ignore
collect()
T.ok(sys.is_open(fd), "collecting the copy does not close")
s:close()
s = assert(socket.new(net.addr()))
T.is(s:fd(), fd, "the number is free for the next")
copy = ffi.new(ffi.typeof(s), s) -- luacheck: ignore 311
s:close()
local other = assert(socket.new(net.addr()))
copy = nil -- luacheck: ignore
collect()
T.ok(other:fd() == fd and sys.is_open(fd), "a copy that outlives the object does not close the next owner")
other:close()

-- a finaliser shuts nothing down
local a, b = net.pair()
local dup = assert(a:dup())
a = nil -- luacheck: ignore
collect()
dup:send "alive"
T.is(b:recv(), "alive", "collecting one copy of a descriptor leaves the connection")
dup:close()
T.is(select("#", b:recv()), 0, "closing the last ends it")
b:close()

-- fork
local conn = {}
conn.client, conn.server = net.tcp()
local child = proc.fork(function()
  local number = conn.client:fd()
  conn.client, conn.server = nil, nil
  collect()
  return not sys.is_open(number)
end)
T.is(proc.wait(child), 0, "a forked child collects its copies")
T.is(conn.client:send "ping", 4, "the parent still sends")
T.is(conn.server:recv(), "ping", "and receives")
child = proc.fork(function()
  local c = conn.client
  return c:close() == nil
end)
T.is(proc.wait(child), 0, "a forked child closes its copy")
T.is(conn.server:send "pong", 4, "the parent still sends the other way")
T.is(conn.client:recv(), "pong", "and receives")
conn.client:close(); conn.server:close()

-- the number of finalisers
local closes = 0
for _ = 1, 100 do
  local number = dropped()
  collect()
  if not sys.is_open(number) then closes = closes + 1 end
end
T.is(closes, 100, "a hundred dropped sockets are closed, each by its own collection")

-- ten thousand
local made = 0
for i = 1, 10000 do
  if socket.new(net.addr()) then made = made + 1 end
  if i % 200 == 0 then collectgarbage() end
end
T.is(made, 10000, "ten thousand sockets are made and dropped")
T.is(leak.count(), before, "and none is left")
made = 0
for i = 1, 2500 do
  local x, y = net.pair()
  if x:dup() and y:getsockname() then made = made + 1 end
  if i % 50 == 0 then collectgarbage() end
end
T.is(made, 2500, "so are pairs with copies")
T.is(leak.count(), before, "and none of them is left")

-- finalisers of the user's own that use sockets while others are born
local inside = 0
local function mischief()
  local x, y = net.pair()
  x:recvable(0)
  y:getsockname()
  x:dup():close()
  x:close()
  inside = inside + 1
end
local function litter()
  local proxy = newproxy(true)
  getmetatable(proxy).__gc = mischief
end
local wrong = 0
for i = 1, 500 do
  litter()
  if i % 5 == 0 then collectgarbage "step" end
  local x, y = net.pair()
  local one, two = x:fd(), y:fd()
  if one == two or x:send "x" ~= 1 or y:recv() ~= "x" or tostring(x:getsockname()) ~= "unix:" then wrong = wrong + 1 end
  if x:close() or y:close() then wrong = wrong + 1 end
end
collect()
T.is(wrong, 0, "sockets made while finalisers make their own are right")
T.is(inside, 500, "the finalisers ran")
T.is(leak.count(), before, "no descriptor is left")
T.done()
