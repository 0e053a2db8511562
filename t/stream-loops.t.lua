-- stream-loops: lines, a deadline and an end in every loop and without one, while a hostile sender cuts as it likes.
local L = require "llsocket"
local stream = require "llsocket.stream"
local leak = require "leak"
local loops = require "loops"
local net = require "net"
local proc = require "proc"
local sys = require "sys"

local T = require("tap").plan(#loops.names * 5 + 3)
loops.settle()
local before = leak.count()

local LINES = 20000

local function line_of(i) return ("y"):rep(i % 53) .. i end

local function text()
  local out = {}
  for i = 1, LINES do out[i] = line_of(i) .. (i % 3 == 0 and "\r\n" or "\n") end
  return table.concat(out)
end

local ALL = text()

-- Sends ALL in pieces of 1 to 4,000 bytes, then half a line and the end.
local function send(sock, seed, pause)
  local at, random = 1, seed
  while at <= #ALL do
    random = (random * 1103515245 + 12345) % 2^31
    local piece = ALL:sub(at, at + (random % 7 == 0 and random % 4000 or random % 90))
    local n, err, again = sock:send(piece)
    assert(n, err)
    at = at + n
    if again then assert(sock:sendable(20)) elseif random % 11 == 0 then pause() end
  end
  sock:send "the last"
  sock:close()
end

-- Reads it all; answers how many lines were right, and what came last.
local function receive(sock)
  local s, right, last = assert(stream.wrap(sock)), 0, nil
  s:deadline(60)
  for line in s:lines() do
    if line == line_of(right + 1) then right = right + 1 end
    last = line
  end
  s:close()
  return right, last
end

-- A peer that sends a byte now and then cannot extend a deadline.
local function drip(loop)
  local a, b = net.pair(L.SOCK_STREAM, true)
  local took, code, is_over
  loop.spawn(function()
    local s = assert(stream.wrap(a))
    s:deadline(0.2)
    local start = sys.clock()
    code = select(3, s:line())
    took, is_over = sys.clock() - start, true
    s:close()
  end)
  loop.spawn(function()
    while not is_over do
      b:send "."
      b:recvable(0.01)
    end
    b:close()
  end)
  loop.run()
  T.is(code, L.ETIMEDOUT, loop.name .. ": a byte now and then does not extend a deadline")
  T.ok(took >= 0.2 and took < 2, ("%s: it came after %.4f s of 0.2"):format(loop.name, took))
end

local function in_loop(loop)
  local a, b = net.pair(L.SOCK_STREAM, true)
  local right, last
  local rest, other = net.pair(L.SOCK_STREAM, true)
  loop.spawn(function() send(a, 7, function() rest:sendable(0.001) end) end)
  loop.spawn(function() right, last = receive(b) end)
  loop.run()
  rest:close(); other:close()
  T.is(right, LINES, loop.name .. ": every line arrives whole")
  T.is(last, "the last", loop.name .. ": also the last, which has no end")
  drip(loop)
  local c, d = net.pair(L.SOCK_STREAM, true)
  local ended
  loop.spawn(function()
    local s = assert(stream.wrap(c))
    ended = select("#", s:line())
    s:close()
  end)
  loop.spawn(function() d:close() end)
  loop.run()
  T.is(ended, 0, loop.name .. ": the end wakes a reader")
end

for _, name in ipairs(loops.names) do
  local loop, why = loops.open(name)
  if loop then
    L.wait.set(loop.wait)
    in_loop(loop)
    L.wait.set()
  else T.skip(5, why) end
end

local a, b = net.pair(L.SOCK_STREAM, true)
local pid = proc.fork(function() send(a, 11, function() end) end)
a:close()
local right, last = receive(b)
proc.wait(pid)
T.is(right, LINES, "without a loop every line arrives whole")
T.is(last, "the last", "and the last")
T.is(leak.count(), before, "no descriptor is left")
T.done()
