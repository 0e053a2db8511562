-- wait-dropped: coroutines that wait, are dropped and never resumed leave nothing behind.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local loops = require "loops"
local net = require "net"
local show = require("values").show
local sys = require "sys"

loops.settle()
io.stdout:setvbuf "line"
local before = leak.count()
local T = require("tap").plan(10)

local function collect()
  for _ = 1, 3 do collectgarbage() end
end

-- Begins coroutines that wait, in the midst of a thread of Copas, and lets them go.
local function begin(sock)
  for _, sec in ipairs { 5, 60, false } do
    coroutine.wrap(function() sock:recvable(sec or nil) end)()
    coroutine.wrap(function() sock:sendable(sec or nil) end)()
  end
end

-- The number of a socket that goes without a word, as a collector closes it, gets another one.
local function exchange(sock)
  local fd = sock:fd()
  ffi.gc(sock, nil)
  sys.close(fd)
  sock.sd = -1
  local more, c, d = {} -- what was collected before left lower numbers
  repeat
    c, d = net.pair(L.SOCK_STREAM, true)
    more[#more + 1], more[#more + 2] = c, d
  until c:fd() == fd or d:fd() == fd
  for i = 1, #more - 2 do more[i]:close() end
  if d:fd() == fd then return d, c end
  return c, d
end

-- Lets the loop do without those: answers what the next waits tell.
local function after(loop, a, b)
  local got = {}
  loop.spawn(function()
    collect() -- what is left of the last loop has lower numbers
    got[1] = show(a:recvable(0.01))
    b:send "x"
    got[2] = show(a:recvable(5))
    local c, d = exchange(a)
    got[3] = show(c:recvable(0.01))
    loop.spawn(function() d:send "y" end)
    got[4] = show(c:recvable(5))
    c:close(); d:close()
  end)
  loop.run()
  return got
end

local function fill(a)
  local text = ("x"):rep(65536)
  repeat local _, _, again = a:send(text) until again
end

local function dropped()
  local loop, why = loops.open "copas"
  if not loop then return T.skip(4, why) end
  L.wait.set(loop.wait)
  local a, b = net.pair(L.SOCK_STREAM, true)
  fill(a)
  local start = sys.clock()
  loop.spawn(function() begin(a) end)
  loop.run()
  collect()
  local got = after(loop, a, b)
  T.is(leak.count(), before + 1, "copas: once they are collected no descriptor is left of their waits")
  T.is(got[1] .. ", " .. got[2], "false, true", "copas: other coroutines can wait for the socket")
  T.is(got[3] .. ", " .. got[4], "false, true", "copas: its next owner is waited for, and the loop goes on")
  T.ok(sys.clock() - start < 4, "copas: the loop does not continue for dropped coroutines")
  b:close()
  L.wait.set()
end
dropped()

-- A controller that is dropped with one that waits in it; then another one waits for the socket, and for its number's
-- next owner.
local function drop_one(cqueues, sock)
  local controller = cqueues.new()
  controller:wrap(function() sock:recvable(60) end)
  assert(controller:step(0))
end

local function abandoned(cqueues, is_told)
  local a, b = net.pair(L.SOCK_STREAM, true)
  local second = cqueues.new()
  drop_one(cqueues, a)
  collect()
  local waits, c, d = {}, nil, nil
  second:wrap(function()
    if is_told then second:wrap(function() b:send "x" end) end
    waits[1] = show(a:recvable(is_told and 5 or 0.01))
    c, d = exchange(a)
    waits[2] = show(c:recvable(0.01))
    second:wrap(function() d:send "x" end)
    waits[3] = show(c:recvable(2))
  end)
  waits[4] = show((second:loop()))
  second:close()
  b:close(); c:close(); d:close()
  return table.concat(waits, ", ")
end

local cqueues = loops.open "cqueues" and require "cqueues"
if cqueues then
  L.wait.set(require("llsocket.wait.cqueues").wait)
  T.is(abandoned(cqueues, false), "false, false, true, true", "cqueues: after a controller was dropped the next one waits")
  T.is(abandoned(cqueues, true), "true, false, true, true", "cqueues: also where a wait has ended well")
  L.wait.set()
else
  T.skip(2, "this machine has no cqueues for LuaJIT")
end
T.is(leak.count(), before, "cqueues: controllers that are collected leave no descriptor")

-- nginx may kill a light thread that sleeps.
local function killed()
  local real = package.loaded.ngx
  package.loaded.ngx = { sleep = coroutine.yield, get_phase = function() return "content" end }
  local wait = require("llsocket.wait.nginx").wait
  package.loaded.ngx = real
  local a, b = net.pair(L.SOCK_STREAM, true)
  for _ = 1, 10 do coroutine.wrap(function() wait(a:fd(), "r", 60) end)() end
  local answer
  local co = coroutine.create(function() answer = show(wait(a:fd(), "r", 60)) end)
  coroutine.resume(co)
  collect()
  a:close()
  T.is(select(2, coroutine.resume(co)), nil, "nginx: a wait ends when its socket is closed, while others are killed")
  local c, d = net.pair(L.SOCK_STREAM, true)
  T.is(answer, show(nil, "Bad file descriptor", L.EBADF), "nginx: and with EBADF")
  b:close(); c:close(); d:close()
end
local is_ours = package.loaded.ngx
if is_ours then T.skip(2, "this is nginx itself") else killed() end
T.is(leak.count(), before, "no descriptor is left")
T.done()
