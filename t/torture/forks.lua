-- forks.lua SEED FORKS -- a loop under which the process forks after so many instructions; t/torture/threads.lua starts it.
--
-- The parent's clients must get back what they sent, whatever a child does with its copies.  A child ends at once, collects
-- all, closes its VM, or goes on: its copies of the coroutines end, and it serves clients of its own in the same loop.  It does
-- so from the first of these copies that notices, not from the hook, which must not use the loop that it interrupts.
local L = require "llsocket"
local loop = require "llsocket.wait.coroutine"
local net = require "net"
local proc = require "proc"

local SEED, FORKS = tonumber(arg[1]), tonumber(arg[2])
math.randomseed(SEED)
math.random()
io.stdout:setvbuf "line"
L.wait.set(loop.wait)

local children, me, failed = {}, proc.getpid(), 0
local begin -- in a child that goes on: makes its clients

-- Tells whether this is still the process `was`.
local function is_same(was)
  if proc.getpid() == was then return true end
  local fn = begin
  begin = nil
  if fn then fn() end
  return false
end

local function is_child() return proc.getpid() ~= me end

local PATIENCE = tonumber(os.getenv "LLSOCKET_TORTURE_PATIENCE" or 20) -- seconds

-- Waits for a message, in short waits; a process that was forked meanwhile gives up.
local function is_ready(sock, was)
  for _ = 1, PATIENCE * 5 do
    local ready = sock:recvable(0.2)
    if not is_same(was) then return false end
    if ready then return true end
  end
end

-- Between a look at the process's number and the transfer behind it a child that goes on would take its parent's bytes.
local busy = false

local function serve(sock, was)
  repeat
    local ready = is_ready(sock, was)
    busy = true
    local text = ready and is_same(was) and sock:recv(65536)
    if text then sock:send(text) end
    busy = false
  until not text
  sock:close()
end

local function is_sent(sock, text, was)
  busy = true
  local ours = is_same(was)
  if ours then sock:send(text) end
  busy = false
  return ours
end

local function received(sock, was)
  local ready = is_ready(sock, was)
  busy = true
  local ours = is_same(was)
  local text = ours and (ready and sock:recv(65536) or "nothing")
  busy = false
  return text
end

-- Runs until `stop` answers something true; a process that was forked meanwhile drops it.
local function talk(sock, was, name, stop)
  local turn = 0
  repeat
    turn = turn + 1
    local text = ("%s %d;"):format(name, turn):rep(50)
    local back = is_sent(sock, text, was) and received(sock, was)
    if back and back ~= text then
      failed = failed + 1
      print(("%d: %s got %s"):format(was, text:sub(1, 30), back:sub(1, 30)))
      break
    end
  until not back or stop(turn)
  sock:close()
end

local function clients(name, n, stop)
  local was = proc.getpid() -- here, because a coroutine may begin in a child
  for i = 1, n do
    local a, b = net.pair(L.SOCK_STREAM, true)
    if i % 2 == 0 then
      a:close(); b:close()
      a, b = net.tcp(L.AF_INET, true)
    end
    loop.spawn(serve, b, was)
    loop.spawn(talk, a, was, name .. i, stop)
  end
end

local CHILD = {}

function CHILD.ends() os.exit(0, false) end

function CHILD.collects()
  collectgarbage(); collectgarbage()
  os.exit(0, false)
end

function CHILD.closes() os.exit(0, true) end

function CHILD.waits()
  local a, b = net.pair(L.SOCK_STREAM, true)
  local p = assert(L.poll.new())
  assert(p:add(a, "r"))
  b:send "x"
  os.exit(p:wait(5) == 1 and L.wait.poll(a:fd(), "r", 5) and a:recv() == "x" and 0 or 1, false)
end

-- New coroutines in the loop that runs; the old ones are woken within their time, and end.
local goes_on = false
function CHILD.goes_on()
  goes_on, children, failed = true, {}, 0
  begin = function() clients("child", 4, function(turn) return turn >= 5 end) end
end

local KINDS = { "ends", "collects", "closes", "waits", "goes_on" }
local forks = 0

-- Called after so many instructions, wherever those are.
local function fork()
  if forks >= FORKS or is_child() then return debug.sethook() end
  forks = forks + 1
  local kind = KINDS[math.random(#KINDS - (busy and 1 or 0))]
  local pid = proc.split()
  if pid > 0 then
    children[#children + 1] = { pid = pid, kind = kind }
    return debug.sethook(fork, "", math.random(1, 3000))
  end
  debug.sethook()
  CHILD[kind]()
end

jit.off()
clients("parent", 6, function() return is_child() or forks >= FORKS end)
debug.sethook(fork, "", math.random(1, 1000))
loop.run()
if goes_on then os.exit(failed == 0 and 0 or 1, false) end
for _, child in ipairs(children) do
  local status, signal = proc.wait(child.pid)
  if status ~= 0 then
    failed = failed + 1
    print(("a child that %s ends with %s, signal %d"):format(child.kind, tostring(status), signal))
  end
end
print(("%d forks, %d failures"):format(forks, failed))
os.exit(failed == 0 and 0 or 1, true)
