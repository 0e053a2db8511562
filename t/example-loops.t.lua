-- loops: the handler of the echo server in every event loop, one program each.
local L = require "llsocket"
local example = require "example"
local leak = require "leak"
local loops = require "loops"
local net = require "net"
local proc = require "proc"
local T = require("tap").plan(#loops.names * 5 + 2)
loops.settle()
local before = leak.count()

local LONG = ("0123456789abcdef"):rep(20000)

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

-- Sends a text that fills the buffers, which wants a process of its own; answers what came back.
local function long_one(ai)
  local sock = dial(ai)
  local pid = proc.fork(function()
    local rest = LONG
    while rest ~= "" do rest = rest:sub(assert(sock:send(rest)) + 1) end
  end)
  local text = receive(sock, #LONG)
  proc.wait(pid)
  sock:close()
  return text
end

local function many(ai)
  local socks, right = {}, 0
  for i = 1, 50 do
    socks[i] = dial(ai)
    socks[i]:send("client " .. i)
  end
  for i, sock in ipairs(socks) do
    if sock:recv() == "client " .. i then right = right + 1 end
    sock:shutdown(L.SHUT_WR)
    if select("#", sock:recv()) == 0 then right = right + 1 end
    sock:close()
  end
  return right
end

local function exercise(name)
  local child, line = example.start("loops", name .. " 0 2>&1")
  local port = line:match "^listening on 127%.0%.0%.1:(%d+)$"
  T.ok(port, ("%s says where it listens: %s"):format(name, line))
  local ai = net.addr(L.AF_INET, L.SOCK_STREAM, port)
  local idle = dial(ai)
  T.is(many(ai), 100, name .. ": fifty clients at once get back what they sent, and their end")
  T.ok(long_one(ai) == LONG, name .. ": so does one who fills the buffers")
  local rude = dial(ai)
  rude:send "x"
  rude:linger(0)
  rude:close()
  idle:send "late"
  T.is(idle:recv(), "late", name .. ": one that came first and spoke last is served after a reset")
  idle:close()
  local said = example.stop(child):gsub("EBADF: bad file descriptor\n", "") -- what luv writes at a reset
  T.is(said, "", name .. ": it printed nothing else")
end

for _, name in ipairs(loops.names) do
  local has = name == "coroutine" or pcall(require, name)
  if has then exercise(name) else T.skip(5, "this machine has no " .. name .. " for LuaJIT") end
end
local text, ok = example.run("loops", "nosuch 0 2>&1")
T.ok(not ok and text:find "there is no loop nosuch", "an unknown loop is refused")
T.is(leak.count(), before, "no descriptor is left")
T.done()
