-- wait-luv: what stays registered in libuv's loop while a coroutine runs never stands in the way of the program's own handles.
local L = require "llsocket"
local leak = require "leak"
local loops = require "loops"
local net = require "net"
local show = require("values").show
local sys = require "sys"
local T = require("tap").plan(16)
local loop, why = loops.open "luv"
if not loop then
  T.skip(16, why)
  T.done()
  return
end

local uv = require "luv"
uv.new_pipe(false):close() -- with the first one libuv opens a descriptor that it keeps
loops.settle()
local before = leak.count()
L.wait.set(loop.wait)

local function pair() return net.pair(L.SOCK_STREAM, true) end

local function active()
  local n = 0
  uv.walk(function(handle) if handle:is_active() then n = n + 1 end end)
  return n
end

-- A pipe handle of the program over a copy of socket `a`, which gets the number `fd` if that is free: answers whether, and a
-- function that answers what the handle has read from `b`.
local function read_through(fd, a, b)
  local number = assert(sys.copy(a:fd(), fd))
  local pipe, got = uv.new_pipe(false), nil
  pipe:open(number)
  pipe:read_start(function(_, text)
    got = got or text
    pipe:close()
  end)
  b:send "for the program"
  return number == fd, function() return got end
end

-- In the run of a coroutine that was told of an event, its descriptor goes and the number becomes the program's.
local function handed_over(what, begin)
  local a, b = pair()
  local c, d = pair()
  local same, result
  loop.spawn(function()
    local fd = a:fd()
    local wait, close = begin(a)
    T.is(show(wait()), "true", what .. ": the wait ends with data")
    close()
    same, result = read_through(fd, c, d)
  end)
  loop.spawn(function() b:send "x" end)
  loop.run()
  T.ok(same, what .. ": its number goes to a handle of the program")
  T.is(result(), "for the program", what .. ": which libuv watches")
  b:close(); c:close(); d:close()
end

handed_over("a socket that is closed", function(a)
  return function() return a:recvable(5) end, function() a:close() end
end)

handed_over("a bare number", function(a)
  local fd = a:unwrap()
  return function() return loop.wait(fd, "r", 5) end, function() sys.close(fd) end
end)

handed_over("a borrowed descriptor", function(a)
  local one = assert(L.socket.wrap(a:fd(), { own = false }))
  return function() return one:recvable(5) end, function() a:close() end
end)

-- A socket is collected once its coroutine has gone on: not before, even where nothing else refers to it.
local function collected()
  local near, during = setmetatable({}, { __mode = "v" }), nil
  local far
  loop.spawn(function()
    local a, b = pair()
    near[1], far = a, b
    a:recvable(5)
    a = nil -- luacheck: ignore
    collectgarbage(); collectgarbage()
    during = near[1] ~= nil
    far:recvable(0.001)
  end)
  loop.spawn(function() far:send "x" end)
  loop.run()
  T.is(during, true, "a socket that was told of an event is not collected while its coroutine runs")
  collectgarbage(); collectgarbage()
  T.is(near[1], nil, "but when it has ended")
  far:close()
end
collected()

-- The timer of an earlier wait is left to run, and changes nothing.
local function times()
  local a, b = pair()
  local got, start = {}, sys.clock()
  loop.spawn(function()
    got[1] = show(a:recvable(0.05))
    loop.spawn(function() b:send "x" end)
    got[2] = show(a:recvable(60))
    a:recv()
    got[3] = show(a:recvable(0.02))
    loop.spawn(function() b:send "x" end)
    got[4] = show(a:recvable(0.001) or a:recvable())
  end)
  loop.run()
  T.is(table.concat(got, " "), "false true false true", "each wait ends when it should, whatever the one before it asked for")
  T.ok(sys.clock() - start < 30, "the loop does not wait for the time of an earlier wait")
  T.is(active(), 0, "nothing is left started")
  a:close(); b:close()
end
times()

local function watched_twice()
  local a, b = pair()
  local poll = assert(uv.new_poll(a:fd()))
  poll:start("r", function() end)
  local got
  loop.spawn(function() got = show(a:recvable(5)) end)
  poll:stop()
  poll:close()
  loop.run()
  T.is(got, show(nil, "File exists", L.EEXIST), "a socket that the program watches with a handle of its own is EEXIST")
  a:close(); b:close()
end
watched_twice()

L.wait.set()
uv.run()
T.is(leak.count(), before, "no descriptor is left")
T.done()
