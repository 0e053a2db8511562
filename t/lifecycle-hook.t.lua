-- lifecycle-hook: a debug hook raises an error (a time limit, Ctrl-C) at each instruction of each call that makes a descriptor:
-- nothing stays open, except in the few instructions between the system call and the owner's field.
local L = require "llsocket"
local net = require "net"
local proc = require "proc"
local sys = require "sys"
local leak = require "leak"
local before = leak.count()
local pipe, poll, device = L.pipe, L.poll, L.device
local backend = poll.new "poll" -- its module is read
local ai = net.addr()
local listener, there = net.listener(L.AF_INET, true)
local peer = net.addr()

jit.off() -- compiled code asks no hook

-- The most instructions of a call at which an error may leak: one descriptor is given away by 4, two by 12 or 16 and, where
-- they are made by two calls, 8.
local BIRTHS = {
  { "new", 4, function() return L.socket.new(ai) end },
  { "a non-blocking new", 4, function() return L.socket.new(ai, true) end },
  { "pair", 12, function() return L.socket.pair(L.SOCK_STREAM) end },
  { "dup", 4, function() return listener:dup() end },
  { "accept", 4, function() return listener:accept() end, true },
  { "accept with an address", 6, function() return listener:accept(true, peer) end, true },
  { "pipe", 16, function() return pipe.new() end },
  { "poller", L.EFD_CLOEXEC and 8 or 12, function() return poll.new() end },
  { "timer", 4, function() return poll.timer(1) end },
  { "signal", 4, function() return poll.signal(10) end },
  { "child", 4, function() return poll.child(proc.getpid()) end },
  { "getifaddrs", 4, function() return device.getifaddrs() end },
}
-- The same of what closes: the object lets go of the number first, which may be another's as soon as close(2) returns.
local dying
local function made() dying = assert(L.socket.pair(L.SOCK_STREAM))[1] end
local function with_hook()
  made()
  dying:onclose(function() end)
end
local function closed(err) return not err, err end
local DEATHS = {
  { "close", 6, made, function() return closed(dying:close()) end },
  { "close that shuts down", 6, made, function() return closed(dying:close(L.SHUT_RDWR)) end },
  { "close with a hook", 6, with_hook, function() return closed(dying:close()) end },
}
local T = require("tap").plan((#BIRTHS + #DEATHS) * 2 + 1)

local TOP = 200
local function open()
  local set, n = {}, 0
  for fd = 0, TOP do if sys.is_open(fd) then set[fd], n = true, n + 1 end end
  return set, n
end

-- Closes what was not open before; answers how many those are.
local function tidy(was)
  collectgarbage(); collectgarbage()
  local n = 0
  for fd = 0, TOP do
    if sys.is_open(fd) and not was[fd] then
      sys.close(fd)
      n = n + 1
    end
  end
  return n
end

local armed

local function stop()
  if not armed then return end
  armed = false
  error("stopped", 0)
end

local function guarded(fn)
  armed = true
  local got, err = fn()
  armed = false
  return got, err
end

-- Runs fn until its instruction `i`; answers whether it ended before.
local function run(fn, i)
  debug.sethook(stop, "", i)
  local ended, got, err = pcall(guarded, fn)
  debug.sethook()
  return ended, got, err
end

local function dial()
  local client = assert(L.socket.new(there))
  assert(not client:connect())
  return client
end

-- Answers at how many instructions something leaked, and how many there are.
local function judge(fn, accepts, prepare)
  local leaks, i = 0, 0
  repeat
    i = i + 1
    local client = accepts and dial()
    local was = open()
    if prepare then prepare() end
    local ended, got, err = run(fn, i)
    if ended and err ~= "stopped" then assert(got, err) end -- close tells what its hooks ran into
    ended = ended and got and true
    if dying then dying:close() end -- which it must still do
    got, dying = nil, nil -- luacheck: ignore
    if tidy(was) > 0 then leaks = leaks + 1 end
    if client then
      client:close()
      local left = listener:accept()
      while left do left = left:close() or listener:accept() end
    end
  until ended
  return leaks, i
end

for _, birth in ipairs(BIRTHS) do
  local name, most, fn, accepts = birth[1], birth[2], birth[3], birth[4]
  local leaks, instructions = judge(fn, accepts)
  T.ok(leaks <= most, ("%s: an error leaks at no more than %d instructions"):format(name, most))
  print(("# at %d of %d"):format(leaks, instructions))
  T.ok(instructions > 20, name .. ": it was stopped at each")
end

for _, death in ipairs(DEATHS) do
  local name, most, prepare, fn = death[1], death[2], death[3], death[4]
  local leaks, instructions = judge(fn, false, prepare)
  T.ok(leaks <= most, ("%s: an error leaks at no more than %d instructions"):format(name, most))
  print(("# at %d of %d"):format(leaks, instructions))
  T.ok(instructions > 20, name .. ": it was stopped at each")
end

backend:close(); listener:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
