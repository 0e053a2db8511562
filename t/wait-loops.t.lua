-- wait-loops: the same client and server run in every loop for which there is a way of waiting.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local loops = require "loops"
local net = require "net"
local proc = require "proc"
local sys = require "sys"
local T = require("tap").plan(#loops.names * 39 + 1)
loops.settle()
local before = leak.count()

local MESSAGE = ("0123456789abcdef"):rep(12800) -- 200 KiB: more than the buffers between two sockets take

-- Sends all of it, waiting where it must.
local function send_all(sock, text)
  while text ~= "" do
    local n, err, again = sock:send(text)
    assert(n, err or "closed")
    text = text:sub(n + 1)
    if again then assert(sock:sendable(5)) end
  end
end

-- The handler of the server: the same function in every loop.
local function echo(sock)
  while sock:recvable(5) do
    local msg = sock:recv(65536)
    if not msg then break end
    send_all(sock, msg)
  end
  sock:close()
end

local function serve(loop, listener)
  while true do
    local ready, _, e = listener:recvable()
    if not ready then return e end
    local sock = listener:accept()
    if sock then loop.spawn(echo, sock) end
  end
end

local function receive(sock, size)
  local parts, n = {}, 0
  while n < size do
    assert(sock:recvable(5))
    local msg = assert(sock:recv(65536))
    parts[#parts + 1], n = msg, n + #msg
  end
  return table.concat(parts)
end

local function dial(ai)
  local sock = assert(L.socket.new(ai, true))
  local err, again = sock:connect()
  assert(not err and again)
  assert(sock:sendable(5) and sock:error() == 0)
  sock:sndbuf(16384)
  return sock
end

-- Twenty clients, the longest of whose messages fill the buffers, so that each must send and receive at once.
local function pair_up(loop)
  local listener, ai = net.listener(L.AF_INET, true)
  local left, right, code = 20, 0, nil
  loop.spawn(function() code = serve(loop, listener) end)
  for i = 1, 20 do
    loop.spawn(function()
      local sock, text = dial(ai), i == 1 and MESSAGE or MESSAGE:sub(1, i * 100)
      for _ = 1, 3 do
        loop.spawn(send_all, sock, text)
        if receive(sock, #text) == text then right = right + 1 end
      end
      sock:close()
      left = left - 1
      if left == 0 then listener:close() end
    end)
  end
  loop.run()
  T.is(right, 60, loop.name .. ": each of twenty clients gets back what it sent, three times")
  T.is(code, L.EBADF, loop.name .. ": the server's wait ends when its listener is closed")
end

local function show(ready, err, e) return ("%s %s %s"):format(tostring(ready), tostring(err), tostring(e)) end

local BADF = show(nil, "Bad file descriptor", L.EBADF)

local function times(loop)
  local a, b = net.pair(L.SOCK_STREAM, true)
  local got, took, late
  loop.spawn(function()
    local start = sys.clock()
    got = show(a:recvable(0.05))
    took = sys.clock() - start
    b:send "x"
    late = show(a:recvable(5))
  end)
  loop.run()
  T.is(got, "false nil nil", loop.name .. ": a wait ends when its time has run out")
  T.ok(took >= 0.05 and took < 2, ("%s: and not before: %.4f s of 0.05"):format(loop.name, took))
  T.is(late, "true nil nil", loop.name .. ": what is ready before its time is ready")
  local order = {}
  for _, sec in ipairs { 0.3, 0.02, 0.15 } do
    loop.spawn(function()
      local c, d = net.pair(L.SOCK_STREAM, true)
      c:recvable(sec)
      order[#order + 1] = sec
      c:close(); d:close()
    end)
  end
  loop.run()
  T.is(table.concat(order, " "), "0.02 0.15 0.3", loop.name .. ": times run out in their order")
  a:close(); b:close()
end

local function both_directions(loop)
  local a, b = net.pair(L.SOCK_STREAM, true)
  local events = {}
  local function note(what) return function(...) events[#events + 1] = what .. " " .. show(...) end end
  while a:send(MESSAGE) > 0 do end -- until it is full
  loop.spawn(function() note "read"(a:recvable(5)) end)
  loop.spawn(function() note "write"(a:sendable(5)) end)
  loop.spawn(function()
    local c, d = net.pair(L.SOCK_STREAM, true)
    c:recvable(0.02)
    T.is(#events, 0, loop.name .. ": neither direction is ready before it is")
    while b:recv(65536) do end
    c:recvable(0.2)
    T.is(table.concat(events, ", "), "write true nil nil", loop.name ..
      ": capacity wakes only the coroutine that waits to write")
    b:send "x"
    c:recvable(0.02)
    c:close(); d:close()
  end)
  loop.run()
  T.is(events[2], "read true nil nil", loop.name .. ": data wakes the coroutine that waits to read the same socket")
  events = {}
  a:recv()
  loop.spawn(function()
    note "read"(a:recvable(5))
    note "end"(a:recv())
  end)
  loop.spawn(function() b:close() end)
  loop.run()
  T.is(table.concat(events, ", "), "read true nil nil, end nil nil nil", loop.name .. ": the peer's end is something to read")
  a:close()
end

local function refused(loop)
  local listener, ai = net.listener(L.AF_INET)
  listener:close()
  local got, e
  loop.spawn(function()
    local sock = assert(L.socket.new(ai, true))
    sock:connect()
    got, e = show(sock:sendable(5)), sock:error()
    sock:close()
  end)
  loop.run()
  T.is(got, "true nil nil", loop.name .. ": a connection that is refused has ended")
  T.is(e, L.ECONNREFUSED, loop.name .. ": and error() tells how")
end

local function closing(loop)
  collectgarbage(); collectgarbage() -- what the last loop left open has lower numbers
  local answers, start = {}, sys.clock()
  loop.spawn(function()
    local a, b = net.pair(L.SOCK_STREAM, true)
    local fd = a:fd()
    while a:send(MESSAGE) > 0 do end
    loop.spawn(function() answers.reader = show(a:recvable(5)) end)
    loop.spawn(function() answers.writer = show(a:sendable()) end)
    loop.spawn(function()
      a:close()
      local c, d = net.pair(L.SOCK_STREAM, true)
      answers.same = c:fd() == fd
      answers.quiet = show(c:recvable(0.05))
      d:send "x"
      answers.new = show(c:recvable(5))
      answers.msg = c:recv()
      b:close(); c:close(); d:close()
    end)
  end)
  loop.run()
  T.is(answers.reader, BADF, loop.name .. ": a wait to read ends when the socket is closed")
  T.is(answers.writer, BADF, loop.name .. ": and so does a wait to write")
  T.ok(sys.clock() - start < 2, loop.name .. ": at once")
  T.ok(answers.same, loop.name .. ": another socket has the number")
  T.is(answers.quiet, "false nil nil", loop.name .. ": it does not get what was meant for the old")
  T.is(answers.new .. answers.msg, "true nil nilx", loop.name .. ": it can be waited for")
end

-- Waits for a socket and lets it go; in a function of its own, for a compiled one may keep what its variables held.
local function waited(go)
  local a, b = net.pair(L.SOCK_STREAM, true)
  local fd = a:fd()
  a:recvable(0.01)
  go(a)
  return fd, b
end

-- A socket goes without a word between two waits of others: by the collector, or behind everybody's back.
local function vanish(loop, how, go)
  local same, quiet, new
  loop.spawn(function()
    collectgarbage(); collectgarbage() -- what the last loop left open has lower numbers
    local fd, b = waited(go)
    collectgarbage(); collectgarbage()
    local c, d = net.pair(L.SOCK_STREAM, true)
    same = c:fd() == fd
    quiet = show(c:recvable(0.01))
    d:send "x"
    new = show(c:recvable(5))
    b:close(); c:close(); d:close()
  end)
  loop.run()
  T.ok(same, ("%s: the number of a socket %s is used again"):format(loop.name, how))
  T.is(quiet, "false nil nil", loop.name .. ": the next socket is waited for anew")
  T.is(new, "true nil nil", loop.name .. ": and gets its own events")
end

-- One end of a pair, which is in nobody's hands but those of the call that is made on it; the other end is kept.
local near = setmetatable({}, { __mode = "v" })
local function orphan(far)
  local a, b = net.pair(L.SOCK_STREAM, true)
  far[#far + 1], near[#far + 1] = b, a
  return a
end

-- Sockets that only those who wait have, while all that can be collected is; so many that the call is compiled.
local function waited_for_alone(loop)
  local far, ready, sent = {}, 0, 0
  for i = 1, 120 do
    loop.spawn(function()
      if orphan(far):recvable(i % 2 == 0 and 5 or nil) then ready = ready + 1 end
    end)
  end
  loop.spawn(function()
    local c, d = net.pair(L.SOCK_STREAM, true)
    while #far < 120 do c:recvable(0.01) end
    collectgarbage(); collectgarbage()
    c:close(); d:close()
    for _, b in ipairs(far) do
      if b:send "x" then sent = sent + 1 end
      b:close()
    end
  end)
  loop.run()
  for _, a in pairs(near) do a:close() end
  T.is(sent, 120, loop.name .. ": a socket is not collected while somebody waits for it")
  T.is(ready, 120, loop.name .. ": a wait ends with data, even if nothing else refers to its socket")
end

local function drop(a)
  ffi.gc(a, nil)
  assert(sys.close(a:fd()))
  a.sd = -1
end

local function arguments(loop)
  local a, b = net.pair(L.SOCK_STREAM, true)
  T.is(show(a:recvable(0.01)), "false nil nil", loop.name .. ": outside a coroutine poll(2) waits")
  local got = {}
  loop.spawn(function()
    got[1] = show(loop.wait(-1, "r", 1))
    got[2] = show(loop.wait(a:fd(), "x", 1))
    got[3] = show(loop.wait(a:fd(), "r", -1))
    got[4] = show(loop.wait(0 / 0, "r", 1))
    got[5] = show(loop.wait(a:fd(), "r", 0))
    got[6] = tostring(select(2, pcall(loop.wait, "1", "r", 1)))
    got[7] = tostring(select(2, pcall(loop.wait, a:fd(), "r", "1")))
    got[8] = tostring(select(2, pcall(loop.wait, a:fd())))
  end)
  loop.run()
  local inval = show(nil, "Invalid argument", L.EINVAL)
  T.is(got[1], BADF, loop.name .. ": a closed descriptor is refused")
  T.is(got[2], inval, loop.name .. ": another direction is refused")
  T.is(got[3], inval, loop.name .. ": a negative time is refused")
  T.is(got[4], inval, loop.name .. ": NaN is no descriptor")
  T.is(got[5], "false nil nil", loop.name .. ": no time at all is answered at once")
  local right = true
  for i, position in ipairs { 1, 3, 2 } do
    right = right and got[5 + i]:find(("bad argument #%d to 'wait'"):format(position), 1, true)
  end
  T.ok(right, loop.name .. ": wrong types raise")
  local outside = select(2, pcall(loop.wait, "1", "r", 1)) .. select(2, pcall(loop.wait, 0))
  T.ok(outside:find "#1 to 'wait'.*#2 to 'wait'", loop.name .. ": outside a coroutine, too")
  a:close(); b:close()
end

-- A loop that hands these to its kernel queue as they are would end.
local function unwatchable(loop)
  local file, got = assert(io.tmpfile()), {}
  local fd = ffi.C.llsocket2_fileno(file)
  local gone = assert(sys.copy(fd, 200)) -- above what a loop opens for itself
  sys.close(gone)
  loop.spawn(function() got[1] = show(loop.wait(gone, "r", 0.2)) end)
  loop.spawn(function() got[2] = show(loop.wait(fd, "r", 0.2)) end)
  loop.run()
  T.is(got[1], BADF, loop.name .. ": a number that is not open is refused, and the loop goes on")
  T.ok(got[2] == "true nil nil" or got[2] == show(nil, "Operation not permitted", L.EPERM),
    loop.name .. ": a regular file is ready or refused, and the loop goes on: " .. tostring(got[2]))
  file:close()
end

-- What is no socket is closed as well, while somebody waits for a socket.
local function others_close(loop)
  local a, b = net.pair(L.SOCK_STREAM, true)
  local closed, p = nil, assert(L.poll.new())
  loop.spawn(function() a:recvable(5) end)
  loop.spawn(function()
    closed = pcall(p.close, p) and p:fd()
    b:send "x"
  end)
  loop.run()
  T.is(closed, -1, loop.name .. ": a poller can be closed")
  a:close(); b:close()
end

-- The fourth argument is the socket of the descriptor; anything else is no help, and no harm.
local function no_socket(loop)
  local a, b = net.pair(L.SOCK_STREAM, true)
  local got = {}
  loop.spawn(function()
    for _, other in ipairs { {}, "x", b, L.socket } do got[#got + 1] = show(L.wait.wait(a:fd(), "w", 5, other)) end
  end)
  loop.run()
  T.is(table.concat(got, " "), ("true nil nil "):rep(4):sub(1, -2),
    loop.name .. ": a fourth argument that is not its socket is ignored")
  a:close(); b:close()
end

-- A program that closes its sockets when the loop has ended, and ends.
local LAST = [[
local L, loop = require "llsocket", require("loops").open "%s"
L.wait.set(loop.wait)
local socks = L.socket.pair(L.SOCK_STREAM, true)
local function wait() socks[1]:recvable(5) end
loop.spawn(wait)
socks[2]:send "x"
loop.run()
socks[1]:close(); socks[2]:close()
print "ended"
]]

local function ending(loop)
  local text, ended = proc.lua(LAST:format(loop.name))
  T.ok(ended and text == "ended\n", loop.name .. ": a program may end at once when it has closed the last socket")
end

for _, name in ipairs(loops.names) do
  local loop, why = loops.open(name)
  if loop then
    L.wait.set(loop.wait)
    pair_up(loop)
    times(loop)
    both_directions(loop)
    refused(loop)
    closing(loop)
    vanish(loop, "that was collected", function() end)
    vanish(loop, "closed behind its back", drop)
    arguments(loop)
    unwatchable(loop)
    others_close(loop)
    no_socket(loop)
    waited_for_alone(loop)
    ending(loop)
    L.wait.set()
  else T.skip(39, why) end
end
T.is(leak.count(), before, "no descriptor is left")
T.done()
