-- luasocket-loops: in every loop a call of the face waits while the others go on; what ends a wait early is told in its words.
local face = require "llsocket.luasocket"
local L = require "llsocket"
local leak = require "leak"
local loops = require "loops"
local net = require "net"
local resolve = require "llsocket.resolve"
local show = require("show").show

local CROWD = 20
local T = require("tap").plan(#loops.names * 14 + 4)
loops.settle()
local before = leak.count()

local function pair()
  local server = assert(face.tcp4())
  assert(server:bind("127.0.0.1", 0))
  assert(server:listen())
  local a = face.tcp()
  assert(a:connect(server:getsockname()))
  local b = assert(server:accept())
  server:close()
  return a, b
end

-- Runs a function in many coroutines, then another one; answers how often each answer came.  Whoever blocked the others would
-- wait for ever, because the last one is what ends the waits.
local function crowd(loop, each, last)
  local said = {}
  for i = 1, CROWD do
    loop.spawn(function()
      local text = show(each(i))
      said[text] = (said[text] or 0) + 1
    end)
  end
  loop.spawn(last)
  loop.run()
  local out = {}
  for text, count in pairs(said) do out[#out + 1] = count .. " " .. text end
  table.sort(out)
  return table.concat(out, "; ")
end

local function reading(loop)
  local ends, others = {}, {}
  for i = 1, CROWD do ends[i], others[i] = pair() end
  local got = crowd(loop, function(i) return ends[i]:receive() end, function()
    for i = 1, CROWD do others[i]:send "line\n" end
  end)
  T.is(got, CROWD .. " line, nil, nil", loop.name .. ": receive waits")
  got = crowd(loop, function(i) return ends[i]:receive(3) end, function()
    for i = 1, CROWD do others[i]:send "xyz" end
  end)
  T.is(got, CROWD .. " xyz, nil, nil", loop.name .. ": also for bytes")
  got = crowd(loop, function(i) return ends[i]:receive "*a" end, function()
    for i = 1, CROWD do
      others[i]:send "all"
      others[i]:close()
    end
  end)
  T.is(got, CROWD .. " all, nil, nil", loop.name .. ": and for the end")
  for i = 1, CROWD do ends[i]:close() end
end

local function writing(loop)
  local big, ends, others = ("x"):rep(2^22), {}, {}
  for i = 1, CROWD do ends[i], others[i] = pair() end
  local got = crowd(loop, function(i) return ends[i]:send(big) end, function()
    for i = 1, CROWD do assert(#others[i]:receive(#big) == #big) end
  end)
  T.is(got, CROWD .. (" %d, nil, nil"):format(#big), loop.name .. ": send waits")
  for i = 1, CROWD do ends[i]:close(); others[i]:close() end
end

local function accepting(loop)
  local server = assert(face.tcp4())
  server:bind("127.0.0.1", 0)
  server:listen(CROWD)
  local host, port = server:getsockname()
  local served = 0
  loop.spawn(function()
    for _ = 1, CROWD do
      local peer = server:accept()
      peer:send "served\n"
      peer:close()
      served = served + 1
    end
  end)
  local got = crowd(loop, function()
    local client = assert(face.connect(host, port))
    local line = client:receive()
    client:close()
    return line
  end, function() end)
  T.is(got, CROWD .. " served", loop.name .. ": accept and connect wait")
  T.is(served, CROWD, loop.name .. ": and each client is served")
  server:close()
end

local function datagrams(loop)
  local list, sender = {}, face.udp()
  for i = 1, CROWD do
    list[i] = face.udp4()
    list[i]:setsockname("127.0.0.1", 0)
  end
  local got = crowd(loop, function(i)
    local msg, host = list[i]:receivefrom()
    return msg, host
  end, function()
    for i = 1, CROWD do sender:sendto("x", list[i]:getsockname()) end
  end)
  T.is(got, CROWD .. " x, 127.0.0.1", loop.name .. ": receivefrom waits")
  for i = 1, CROWD do list[i]:close() end
  sender:close()
end

local function selecting(loop)
  local ends, others = {}, {}
  for i = 1, CROWD do ends[i], others[i] = pair() end
  local got = crowd(loop, function(i)
    local readable = face.select({ ends[i], ends[i % CROWD + 1] }, nil, 20)
    return #readable
  end, function()
    for i = 1, CROWD, 2 do others[i]:send "x" end
  end)
  T.is(got, CROWD .. " 1", loop.name .. ": select waits")
  got = crowd(loop, function() return select(3, face.select(nil, nil, 0.01)) end, function() end)
  T.is(got, CROWD .. " timeout", loop.name .. ": also for nothing")
  for i = 1, CROWD do ends[i]:close(); others[i]:close() end
end

local function sleeping(loop)
  local asleep, most = 0, 0
  crowd(loop, function()
    asleep = asleep + 1
    most = math.max(most, asleep)
    face.sleep(0.5)
    asleep = asleep - 1
  end, function() end)
  T.is(most, CROWD, loop.name .. ": all sleep at once")
end

local function ending(loop)
  local a, b = pair()
  local said = {}
  loop.spawn(function()
    a:settimeout(0.02)
    said[1] = show(a:receive())
    a:settimeout()
    b:send "part"
    said[2] = show(a:receive())
  end)
  loop.spawn(function()
    while not a:dirty() do face.sleep(0.01) end
    a:close()
  end)
  loop.run()
  T.is(said[1], "nil, timeout, ", loop.name .. ": a time limit ends a wait")
  T.is(said[2], "nil, closed, part", loop.name .. ": so does a close by another coroutine")
  b:close()
end

local function resolving(loop)
  local asked = 0
  local previous = resolve.set(function(sec, host, port, socktype, protocol, flag)
    asked = asked + 1
    face.sleep(0.02)
    assert(sec == nil or sec > 0 and sec <= 5)
    return L.inet.getaddrinfo(host == "name.test" and "127.0.0.1" or host, port, socktype, protocol, flag)
  end)
  local server = assert(face.tcp4())
  server:bind("127.0.0.1", 0)
  server:listen(CROWD)
  local _, port = server:getsockname()
  local got = crowd(loop, function()
    local client = face.tcp()
    client:settimeout(5)
    local done, err = client:connect("name.test", port)
    client:close()
    return done, err, (face.dns.toip "name.test")
  end, function() end)
  resolve.set(previous)
  server:close()
  T.is(got .. " " .. asked, ("%d 1, nil, 127.0.0.1 %d"):format(CROWD, 2 * CROWD), loop.name .. ": names go the way that is set")
end

local function filling(loop)
  local path = net.tmpdir() .. "/socket"
  local server = face.unix.stream()
  assert(server:bind(path))
  assert(server:listen(0))
  local peers = {}
  loop.spawn(function()
    face.sleep(0.05)
    for i = 1, CROWD do peers[i] = server:accept() end
  end)
  local got = crowd(loop, function(i)
    local client = face.unix.stream()
    local done, err = client:connect(path)
    client:send(i .. "\n")
    client:close()
    return done, err
  end, function() end)
  T.is(got, CROWD .. " 1, nil", loop.name .. ": connect waits for a place in a full backlog")
  for _, peer in ipairs(peers) do peer:close() end
  server:close()
  net.cleanup()
end

local TESTS = { reading, writing, accepting, datagrams, selecting, sleeping, ending, resolving, filling }

for _, name in ipairs(loops.names) do
  local loop, why = loops.open(name)
  if loop then
    L.wait.set(loop.wait)
    for _, test in ipairs(TESTS) do test(loop) end
    L.wait.set()
  else
    T.skip(14, why)
  end
end

-- llsocket's own loop, which lends its way.
local loop = require "llsocket.wait.coroutine"
local a, b = pair()
local said = {}
local waiting = loop.spawn(function() said[1] = show(a:receive()) end)
loop.spawn(function() said[2] = show(a:receive()) end)
loop.spawn(function()
  face.sleep(0.01)
  loop.cancel(waiting)
  b:send "x\n"
end)
loop.run()
T.is(said[1], "nil, Operation canceled, ", "a cancelled coroutine is told so")
T.is(said[2], "nil, Device or resource busy, ", "so is a second reader")
local sleeper = loop.spawn(function()
  face.sleep(100)
  said[3] = "awake"
end)
loop.spawn(function() loop.cancel(sleeper) end)
loop.run()
T.is(said[3], "awake", "a cancelled sleep ends")
a:close(); b:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
