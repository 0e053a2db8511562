-- vm.lua WHAT SEED [WORD] -- what one VM does in t/torture/threads.lua, while other threads do the same in theirs.
local ffi = require "ffi"
local L = require "llsocket"
local loops = require "loops"
local net = require "net"
local pollers = require "pollers"
local proc = require "proc"

local WHAT, SEED, WORD = ...
local thread, round = arg.thread or 1, arg.round or 1
math.randomseed((tonumber(SEED) + thread * 7919 + round * 104729) % 2^31)
math.random()

local DO = {}

-- Every operation, in an order of this VM's own.  Not those that are for the whole process: numbers from 3 on and the
-- environment; signals that are sent to the process, and so to any of its threads.
local PROCESS = { ["socket.activated"] = true, ["poll.signal"] = true }
local TITLES = { ["event:read, signals"] = true }

local operations, shapes = require "operations", require "shapes"

local lacking = require "lacking" -- valgrind has no pidfd_open(2), either

local function perform(op, case)
  if math.random(2) == 1 then collectgarbage() end -- what nobody holds is gone, which a sanitizer sees
  local answer = operations.run(case)
  local outcome, e, as_wanted = operations.judge(op, answer)
  local is_right = as_wanted or e == L.ENOSYS or lacking.is_lack(op, outcome, e)
  if not is_right then error(op.title .. " answers " .. shapes.line(answer)) end
  operations.dispose(case)
end

-- What LLSOCKET_TORTURE_ONLY chooses, or all where it chooses a row of threads.lua.
local function chosen()
  local only, list = os.getenv "LLSOCKET_TORTURE_ONLY" or "", {}
  for _, op in ipairs(operations.all) do
    if op.title:find(only) then list[#list + 1] = op end
  end
  return list[1] and list or operations.all
end

function DO.operations()
  local share, list = tonumber(WORD), {}
  for _, op in ipairs(chosen()) do
    if not (PROCESS[op.name] or TITLES[op.title]) and math.random() < share then
      table.insert(list, math.random(#list + 1), op)
    end
  end
  for _, op in ipairs(list) do
    local made, case = pcall(operations.ready, op)
    if made then perform(op, case) elseif not lacking.reason_in(case) then error(op.title .. ": " .. case) end
  end
  net.cleanup()
end

-- Echo -------------------------------------------------------------------------------------------------------
-- A message names its VM, its client and its turn, so that one that strays from another VM is found.

local function message(client, turn)
  return ("%d.%d.%d.%d;"):format(thread, round, client, turn):rep(math.random(1, 4000))
end

-- Every way to send and to receive: each answers a string or nil, or how many bytes were sent.
local SEND, RECV = {}, {}
local buffer = ffi.new "uint8_t[70000]"

SEND[1] = function(sock, text) return sock:send(text) end
SEND[2] = function(sock, text) return sock:sendmsg(assert(L.msghdr.new { data = text })) end
SEND[3] = function(sock, text)
  local half = math.floor(#text / 2)
  return sock:writev { text:sub(1, half + 1), text:sub(half + 2) .. "" }
end
SEND[4] = function(sock, text)
  ffi.copy(buffer, text, math.min(#text, 70000))
  return sock:sendfrom(buffer, math.min(#text, 70000))
end
RECV[1] = function(sock) return sock:recv(65536) end
RECV[2] = function(sock) return (sock:recvfrom(4096)) end
RECV[3] = function(sock)
  local n = sock:recvinto(buffer, 5000)
  return n and ffi.string(buffer, n)
end
RECV[4] = function(sock)
  local mh = assert(L.msghdr.new { size = 9000 })
  return sock:recvmsg(mh) and mh:data()
end
RECV[5] = function(sock)
  local parts = sock:readv { 100, 3000 }
  return parts and table.concat(parts)
end

local function send_all(sock, text)
  while text ~= "" do
    assert(sock:sendable(30))
    local n = SEND[math.random(#text > 2 and 4 or 1)](sock, text)
    text = text:sub((n or 0) + 1)
  end
end

local function receive(sock, size)
  local parts, n = {}, 0
  while n < size do
    assert(sock:recvable(30), "nothing comes back")
    local text = RECV[math.random(5)](sock)
    if text then parts[#parts + 1], n = text, n + #text end
  end
  return table.concat(parts)
end

local function serve(sock)
  while sock:recvable(30) do
    local text = sock:recv(65536)
    if text == nil then break end
    send_all(sock, text)
  end
  sock:close()
end

local function talk(sock, client)
  for turn = 1, 10 do
    local text = message(client, turn)
    send_all(sock, text)
    local back = receive(sock, #text)
    if back ~= text then error(("%d bytes of %s... come back as %s..."):format(#text, text:sub(1, 20), back:sub(1, 60))) end
  end
  sock:shutdown(L.SHUT_WR)
  assert(sock:recvable(30))
  sock:close()
end

-- Half of the clients meet their server over TCP, half over a pair of unix sockets.
local function echo(loop, clients)
  local listener, ai = net.listener(L.AF_INET, true)
  loop.spawn(function()
    for _ = 2, clients, 2 do
      assert(listener:recvable(30))
      loop.spawn(serve, assert(listener:accept()))
    end
    listener:close()
  end)
  for i = 1, clients do
    loop.spawn(function()
      local sock, other
      if i % 2 == 0 then
        sock = assert(L.socket.new(ai, true))
        sock:connect()
      else
        sock, other = net.pair(L.SOCK_STREAM, true)
        loop.spawn(serve, other)
      end
      talk(sock, i)
    end)
  end
end

function DO.echo()
  local loop = assert(loops.open(WORD))
  L.wait.set(loop.wait)
  echo(loop, 8)
  loop.run()
end

-- Everything in flight -----------------------------------------------------------------------------------------
-- Each leaves something that the end of the VM meets.

local FLIGHT, kept = {}, {}

local function keep(...)
  for i = 1, select("#", ...) do kept[#kept + 1] = (select(i, ...)) end
  return ...
end

local function fill(sock)
  local text = ("x"):rep(65536)
  repeat local _, _, again = sock:send(text) until again
  return sock
end

-- What waits in a loop; the loop ends by an error of one of its coroutines, or is left after a step.
local STEP = {
  coroutine = function()
    local loop = require "llsocket.wait.coroutine"
    loop.spawn(function() error "enough" end)
    pcall(loop.run)
  end,
  luv = function() require("luv").run "nowait" end,
  cqueues = function(loop) loop.step() end,
  copas = function() require("copas").step(0) end,
}

local function wait_in(name)
  local loop = name ~= "cqueues" and loops.open(name)
  if name == "cqueues" and pcall(require, "cqueues") then
    local controller = require("cqueues").new()
    loop = { spawn = function(fn) controller:wrap(fn) end, step = function() controller:step(0) end }
    loop.wait = require("llsocket.wait.cqueues").wait
  end
  if not loop then return end
  L.wait.set(loop.wait)
  for _, sec in ipairs { 60, 0.001, false } do
    local a, b = keep(net.pair(L.SOCK_STREAM, true))
    loop.spawn(function() a:recvable(sec or nil) end)
    loop.spawn(function() fill(b):sendable(sec or nil) end)
  end
  local listener = keep(net.listener(L.AF_INET, true))
  loop.spawn(function() listener:recvable() end)
  STEP[name](loop)
  L.wait.set()
end

for _, name in ipairs(loops.names) do
  FLIGHT["waits in " .. name] = function() wait_in(name) end
end

FLIGHT["zero-copy sends"] = function()
  local a, b = keep(net.tcp(L.AF_INET, true))
  local memory = ffi.new "uint8_t[65536]"
  for _ = 1, 8 do a:sendzerocopy(memory, 65536) end
  if math.random(2) == 1 then b:recv() else a:linger(0) end
end

for _, backend in ipairs(pollers.names) do
  FLIGHT["a poller: " .. backend] = function()
    local p = keep(assert(L.poll.new(backend)))
    local a, b = keep(net.pair(L.SOCK_STREAM, true))
    assert(p:add(a, "rw"))
    assert(p:add(b, "r", function() return a end))
    assert(p:add(keep(L.poll.timer(0.0001, 0.0001)), "r"))
    if p:fd() >= 0 then
      local outer = keep(assert(L.poll.new(backend)))
      outer:add(p, "r")
      outer:wake()
    end
    a:send "x"
    p:wait(1)
    for _, value in p:events() do
      if type(value) == "function" then break end
    end
  end
end

FLIGHT["a child"] = function()
  local pid = proc.ended()
  local child, _, e = keep(L.poll.child(pid))
  if e == L.ENOSYS then return end
  if math.random(2) == 1 then
    L.wait.poll(child:fd(), "r", 5)
    child:read()
  end
end

FLIGHT["a message with descriptors that nobody took"] = function()
  local a, b = keep(net.pair(L.SOCK_DGRAM, true))
  for _ = 1, 3 do b:sendmsg(assert(L.msghdr.new { data = "x", control = { assert(L.cmsghdr.rights(a, b, 0)) } })) end
  local mh = keep(assert(L.msghdr.new { size = 10, controlsize = 100 }))
  a:recvmsg(mh)
  keep(mh:control())
  local msgs = keep(assert(L.batch.new { count = 4, size = 10, controlsize = 100 }))
  a:recvbatch(msgs, 1)
  keep(a:recvfd())
end

FLIGHT["a pipe with bytes"] = function()
  local a, b = keep(net.tcp(L.AF_INET, true))
  local c = fill(keep(net.tcp(L.AF_INET, true)))
  local tube = keep(assert(L.pipe.new()))
  b:send "abc"
  a:recvable(1)
  a:splice(c, tube)
end

FLIGHT["connections under way"] = function()
  local listener, ai = keep(net.listener(L.AF_INET, true))
  for _ = 1, 5 do keep(assert(L.socket.new(ai, true))):connect() end
  keep(listener:accept())
end

FLIGHT["hooks, copies, borrowed descriptors"] = function()
  local a, b = keep(net.pair(L.SOCK_STREAM, true))
  a:onclose(function() error "a hook" end)
  b:onclose(function() a:close() end)
  keep(a:dup(), L.socket.wrap(b:fd(), { own = false }), assert(L.device.getifaddrs()))
end

-- Finalisers of Lua that use the library while its VM closes.  They close what they make: LuaJIT finalises no cdata that is
-- made so late.
FLIGHT["finalisers"] = function()
  local a, b = keep(net.pair(L.SOCK_STREAM, true))
  local p = keep(assert(L.poll.new()))
  p:add(a, "r")
  local proxy = keep(newproxy(true))
  getmetatable(proxy).__gc = function()
    b:send "late"
    p:wait(0)
    a:recv()
    a:close()
    local late = assert(L.socket.pair(L.SOCK_STREAM))
    late[1]:close()
    late[2]:close()
    p:close()
  end
end

function DO.flight()
  local names = {}
  for name in pairs(FLIGHT) do names[#names + 1] = name end
  table.sort(names)
  for _ = 1, 12 do
    local name = names[math.random(#names)]
    local ok, err = pcall(FLIGHT[name])
    if not ok then error(name .. ": " .. err) end
    if math.random(4) == 1 then collectgarbage "step" end
    if math.random(8) == 1 then kept = {} end
  end
  _G.kept_until_the_end = kept
  if math.random(3) == 1 then collectgarbage "stop" end
end

DO[WHAT]()
