-- poll-walk: a finaliser or a hook changes a poller during its wait: the wait ends, and reports no object twice, no closed
-- object, and no new object under an old number.
local ffi = require "ffi"
local leak = require "leak"
local kqueue = require "kqueue"
io.stdout:setvbuf "line"
local before = leak.count()
local L = kqueue.load(true) -- all three back-ends
local net = require "net"
local pollers = require "pollers"
local proc = require "proc"
local poll = L.poll

ffi.cdef "unsigned int llsocket_t_alarm(unsigned int seconds) __asm__(\"alarm\");"

local T = require("tap").plan(#pollers.names * 8 + 3)
local READY = 6

local function close_all(list) for _, sock in pairs(list) do sock:close() end end

-- A poller with sockets that are ready, by their numbers, and their other ends.
local function scene(name, word)
  local s = { p = assert(poll.new(name)), socks = {}, far = {}, gone = {}, more = {} }
  for i = 1, READY do
    s.socks[i], s.far[i] = net.pair()
    s.far[i]:send "x"
    assert(s.p:add(s.socks[i], word, i))
  end
  return s
end

local function strike(s)
  close_all(s.socks); close_all(s.far); close_all(s.more)
  s.p:close()
end

local ACTIONS = {}
local function close(s, i) s.socks[i]:close(); s.gone[i] = true end

function ACTIONS.close_first(s) close(s, 1) end
function ACTIONS.close_last(s) close(s, READY) end
function ACTIONS.close_all(s) for i = 1, READY do close(s, i) end end
function ACTIONS.remove(s) assert(s.p:remove(s.socks[3])); s.gone[3] = true end
function ACTIONS.modify(s) assert(s.p:modify(s.socks[2], "r")) end

-- The number of one that is closed gets a socket that has nothing to tell.
function ACTIONS.exchange(s)
  local number = s.socks[4]:fd()
  close(s, 4)
  local a, b = net.pair()
  s.more = { a, b }
  assert(a:fd() == number)
  assert(s.p:add(a, "r", "quiet"))
end

-- So many that the poll(2) back-end moves to another block of memory.
function ACTIONS.add_many(s)
  local a, b = net.pair()
  s.more = { a, b } -- the end of one that is collected would be told
  for i = 1, 70 do
    s.more[i + 2] = assert(a:dup())
    assert(s.p:add(s.more[i + 2], "r", "quiet"))
  end
end

-- Waits with fn run after so many instructions; answers whether it was, and what was told, by value.
local function interrupted(s, instructions, fn)
  local ran, told = false, {}
  local function spins() error("wait spins", 0) end
  local function hook()
    if ran then return end -- the stand-in for kevent may have set it once more
    ran = true
    fn(s)
    debug.sethook(spins, "", 1e6)
  end
  debug.sethook(hook, "", instructions)
  local n = s.p:wait(0)
  debug.sethook()
  for i = 1, n do
    local value = s.p:event(i)
    if value ~= nil then told[value] = (told[value] or 0) + 1 end
  end
  return ran, told
end

local function judge(s, told)
  for value, times in pairs(told) do
    if times > 1 then return ("%s was told %d times"):format(value, times) end
    if s.gone[value] or value == "quiet" then return ("%s was told"):format(value) end
  end
  assert(s.p:wait(0))
  for _, value in s.p:events() do
    if value == "quiet" or s.gone[value] then return ("%s was told later"):format(value) end
    told[value] = true
  end
  for i = 1, READY do if not (told[i] or s.gone[i]) then return i .. " was never told" end end
end

local function try(name, action)
  for instructions = 1, 2000 do
    local s = scene(name, "r")
    local ok, ran, told = pcall(interrupted, s, instructions, ACTIONS[action])
    debug.sethook()
    local why = not ok and ran or judge(s, told)
    strike(s)
    if why then return ("after %d instructions: %s"):format(instructions, why) end
    if not ran then return nil, instructions end
  end
end

local NAMES = { "close_first", "close_last", "close_all", "remove", "modify", "exchange" }
local was_on = jit.status()
jit.off() -- machine code runs no hooks
for _, name in ipairs(pollers.names) do
  for _, action in ipairs(NAMES) do
    T.is(try(name, action), nil, ("%s: %s at any instruction of wait"):format(name, (action:gsub("_", " "))))
  end
end
T.is(try("poll", "add_many"), nil, 'poll: many are added at any instruction of wait')
if was_on then jit.on() end

-- Garbage whose finaliser runs fn.
local function litter(fn) getmetatable(newproxy(true)).__gc = fn end

-- Finalisers that take a ready socket out and put it back, while the poller waits again and again; a one-shot that was
-- told is armed again.  Each socket is told, and none twice by one wait.
local function littered(name, word)
  ffi.C.llsocket_t_alarm(30)
  collectgarbage("setpause", 50) -- a cycle after the other
  local s, runs, told = scene(name, word), 0, {}
  local function put_back()
    runs = runs + 1
    local i = runs % READY + 1
    assert(s.p:remove(s.socks[i]))
    assert(s.p:add(s.socks[i], word, i))
  end
  for round = 1, 5000 do
    local seen = { text = ("x"):rep(2000) .. round } -- machine code would make no garbage without it
    if round % 4 == 0 then litter(put_back) end
    for i = 1, assert(s.p:wait(0)) do
      local value = s.p:event(i)
      if value and seen[value] then error(value .. " was told twice by a wait") end
      if value then
        seen[value], told[value] = true, (told[value] or 0) + 1
        if word == "ro" then assert(s.p:modify(s.socks[value], word)) end
      end
    end
  end
  for i = 1, READY do if told[i] < 2500 then error(("%d was told %d times only"):format(i, told[i])) end end
  if runs < 100 then error(("%d finalisers ran"):format(runs)) end
end
for _, name in ipairs(pollers.names) do
  for _, word in ipairs { "r", "ro" } do
    T.is(proc.wait(proc.fork(littered, name, word)), 0, ("%s, %q: finalisers change it all the time"):format(name, word))
  end
end

-- What a timer is made of, and what signals, is not mixed up with those that a finaliser makes.
local function timers()
  local wrong = 0
  for _ = 1, 3000 do
    litter(function()
      poll.timer(3000):close()
      poll.signal(L.SIGUSR2):close()
    end)
    local timer, signals = assert(poll.timer(0)), assert(poll.signal(L.SIGURG))
    L.wait.poll(timer:fd(), "r", 1)
    if not timer:read() then wrong = wrong + 1 end
    timer:close(); signals:close()
  end
  return wrong == 0
end
T.is(proc.wait(proc.fork(timers)), 0, "a timer runs out in its own time, whatever timers finalisers make")
T.is(leak.count(), before, "no descriptor is left")
T.done()
