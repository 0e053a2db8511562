-- echoserver: ten thousand clients at once, slow and silent ones, and what happens when descriptors run out.
local L = require "llsocket"
local example = require "example"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local sys = require "sys"
local T = require("tap").plan(19)

local MANY = 10000
local before = leak.count()

local function start(seconds)
  local child, line = example.start("echoserver", "0 " .. seconds)
  return child, line:match "^listening on 127%.0%.0%.1:(%d+)$"
end

local function dial(ai)
  local sock = assert(L.socket.new(ai))
  assert(not sock:connect())
  sock:rcvtimeo(20)
  return sock
end

local function receive(sock, size)
  local parts, n = {}, 0
  while n < size do
    local msg = sock:recv(65536)
    if not msg then break end
    parts[#parts + 1], n = msg, n + #msg
  end
  return table.concat(parts)
end

-- How many descriptors a process has; nil without /proc.
local function descriptors(pid)
  local text, ok = proc.run(("ls /proc/%d/fd | wc -l"):format(pid))
  return ok and tonumber(text)
end

local function text_of(name)
  local file = assert(io.open(example.dir .. name .. ".lua"))
  local text = file:read "*a"
  file:close()
  return text
end

local handler = text_of "echoserver":match "\nlocal function echo%b().-\nend\n"
T.ok(handler and text_of "loops":find(handler, 1, true), "its handler is that of the other loops, unchanged")
T.ok(select(2, text_of "echoserver":gsub("\n", "")) < 80, "it is shorter than 80 lines")

local old = sys.limit_descriptors(MANY + 200)
local child, port = start(60)
T.ok(port, "it says where it listens: " .. tostring(port))
local ai = net.addr(L.AF_INET, L.SOCK_STREAM, port)
local sock = dial(ai)
sock:send "hello"
T.is(sock:recv(), "hello", "it sends every message back")
local long = ("0123456789abcdef"):rep(65536)
local pid = proc.fork(function()
  local rest = long
  while rest ~= "" do rest = rest:sub(assert(sock:send(rest)) + 1) end
end)
T.ok(receive(sock, #long) == long, "also a message longer than every buffer")
proc.wait(pid)
sock:shutdown(L.SHUT_WR)
T.is(select("#", sock:recv()), 0, "and ends when its client does")
sock:close()

-- Ten thousand ------------------------------------------------------------------------------------------------

-- The listener's queue is short with some systems, and the kernel forgets who comes while it is full.  Whoever is
-- answered has left it, and so have those before.
local BACKLOG = 64

local function exchange(one, text)
  one:send(text)
  return one:recv()
end

-- Answers how many got back in this round what they sent.
local function round(socks, n)
  local right = 0
  for i, one in ipairs(socks) do one:send(("%d of client %d"):format(n, i)) end
  for i, one in ipairs(socks) do
    if one:recv() == ("%d of client %d"):format(n, i) then right = right + 1 end
  end
  return right
end

if old then
  local idle = descriptors(child.pid)
  local socks = {}
  for i = 1, MANY do
    socks[i] = dial(ai)
    if i % BACKLOG == 0 then exchange(socks[i], "here") end
  end
  for n = 1, 3 do T.is(round(socks, n), MANY, ("round %d: each of %d clients gets its own bytes"):format(n, MANY)) end
  local busy = descriptors(child.pid)
  for _, one in ipairs(socks) do
    one:linger(0) -- no TIME_WAIT: other tests want ports, too
    one:close()
  end
  if idle then
    T.is(busy - idle, MANY, "all were there at once")
    T.ok(net.await(function() return descriptors(child.pid) == idle end), "and none is left")
  else T.skip(2, "this machine has no /proc") end
else T.skip(5, ("this process may not have %d descriptors"):format(MANY + 200)) end
T.is(example.stop(child), "", "it printed nothing")

-- Silence -----------------------------------------------------------------------------------------------------

child, port = start(3)
ai = net.addr(L.AF_INET, L.SOCK_STREAM, port)
local silent, lively = dial(ai), dial(ai)
local began, n = sys.clock(), 0
while silent:recvable(0.1) == false and n < 100 do
  n = n + 1
  lively:send "x"
  lively:recv()
end
T.ok(sys.clock() - began > 2.9 and select("#", silent:recv()) == 0, "a silent client is closed after its time")
lively:send "still"
T.is(lively:recv(), "still", "one that talks is not")
silent:close(); lively:close()
example.stop(child)

-- Out of descriptors ------------------------------------------------------------------------------------------

local usual = sys.limit_descriptors(20)
child, port = start(60)
sys.limit_descriptors(usual)
ai = net.addr(L.AF_INET, L.SOCK_STREAM, port)
local clients = {}
for i = 1, 30 do
  clients[i] = dial(ai)
  clients[i]:send("client " .. i)
end
T.is(clients[1]:recv(), "client 1", "with few descriptors the first clients are served")
T.is(clients[30]:recvable(0.2), false, "the last must wait")
for i = 2, 29 do clients[i]:close() end
T.is(clients[30]:recv(), "client 30", "until others leave")
clients[1]:send "again"
T.is(clients[1]:recv(), "again", "and other clients do not notice")
clients[1]:close(); clients[30]:close()
example.stop(child)
sys.limit_descriptors(old or usual)
T.is(leak.count(), before, "no descriptor is left")
T.done()
