-- signal-interrupt: a signal every 300 microseconds during long transfers loses nothing, and EINTR has its shape.
local L = require "llsocket"
local net = require "net"
local proc = require "proc"
local signals = require "signals"
local leak = require "leak"
local missing = require "missing"
local values = require "values"
local show = values.show
local before = leak.count()
local T = require("tap").plan(2 * 2 * 4 + 4 + 8 + 1)

local MIB, EVERY = 2^20, 300
local TOTAL = 24 * MIB
local random = assert(io.open "/dev/urandom")
local data = random:read(TOTAL)
random:close()

local file = assert(io.tmpfile())
file:write(data)
file:flush()

-- Each answers n, again, errno for the bytes at `at`.
local SEND = {
  send = function(sock, at)
    local n, _, again, e = sock:send(data:sub(at + 1, at + MIB))
    return n, again, e
  end,
  sendfile = function(sock, at)
    local n, _, again, e = sock:sendfile(file, TOTAL - at, at)
    return n, again, e
  end,
}

-- Sends all under the signals; every answer has one of the promised shapes.
local function send_all(sock, send)
  local at, interrupted = 0, 0
  while at < TOTAL do
    local n, again, e = send(sock, at)
    assert(n and (not e or n == 0 and again == true and (e == L.EAGAIN or e == L.EINTR)))
    if e == L.EINTR then interrupted = interrupted + 1 end
    if e == L.EAGAIN then sock:sendable(20) end
    at = at + n
  end
  return interrupted
end

-- Receives all under the signals; pauses now and then, so that the sender blocks.
local function receive_all(sock)
  local at, right, interrupted, odd = 0, true, 0, 0
  while true do
    local msg, err, again, e = sock:recv(65536)
    if msg then
      right = right and msg == data:sub(at + 1, at + #msg)
      at = at + #msg
    elseif e == L.EINTR then
      interrupted = interrupted + 1
      if show(msg, err, again, e) ~= values.again(L.EINTR) then odd = odd + 1 end
    elseif e == L.EAGAIN then
      sock:recvable(20)
    else
      return at, right, show(err, e), odd, interrupted
    end
  end
end

local function transfer(name, nonblock, send)
  local a, b = net.tcp(L.AF_INET, nonblock)
  a:sndbuf(65536); b:rcvbuf(65536)
  local pid = proc.fork(function()
    b:close()
    signals.alarm(EVERY)
    send_all(a, send)
    signals.alarm(0)
    return a:close() == nil
  end)
  a:close()
  signals.alarm(EVERY)
  local n, right, last, odd = receive_all(b)
  signals.alarm(0)
  b:close()
  local status = proc.wait(pid)
  T.is(n, TOTAL, name .. ": all bytes arrive")
  T.ok(right, name .. ": each is right")
  T.is(last, "nil, nil", name .. ": the end is an end")
  T.is(show(status, odd), "0, 0", name .. ": every answer has a promised shape")
end

for _, nonblock in ipairs { false, true } do
  for _, call in ipairs { "send", "sendfile" } do
    if missing[call] then T.skip(4, missing[call])
    else transfer((nonblock and "non-blocking " or "blocking ") .. call, nonblock, SEND[call]) end
  end
end

-- Without signals, which would end it at once.
local function pause(sock)
  signals.alarm(0)
  sock:recvable(0.005)
  signals.alarm(EVERY)
end

-- Datagrams: each signal finds recv waiting, and each message comes once.
local COUNT = 2000
local a, b = net.pair(L.SOCK_DGRAM)
local pid = proc.fork(function()
  b:close()
  signals.alarm(EVERY)
  for i = 1, COUNT do
    while a:send(("%06d"):format(i)) == 0 do end
    if i % 100 == 0 then pause(a) end -- so that the receiver waits
  end
  signals.alarm(0)
end)
a:close()
signals.alarm(EVERY)
local next_one, wrong, interrupted = 1, 0, 0
while next_one <= COUNT do
  local msg, _, _, e = b:recv(64)
  if msg then
    if msg ~= ("%06d"):format(next_one) then wrong = wrong + 1 end
    next_one = next_one + 1
  elseif e == L.EINTR then
    interrupted = interrupted + 1
  else
    break
  end
end
signals.alarm(0)
T.is(next_one, COUNT + 1, "every datagram arrives")
T.is(wrong, 0, "in order and whole")
T.ok(interrupted > 0, "although signals interrupted the receiver")
T.is(proc.wait(pid), 0, "its sender was interrupted and went on")
b:close()

-- One signal, at a call that can only wait: the exact values.
local function interrupted_in(fn)
  signals.alarm(20000)
  local line = show(fn())
  signals.alarm(0)
  return line
end
local s, r = net.pair()
T.is(interrupted_in(function() return r:recv() end), values.again(L.EINTR), "recv: nil, nil, true, EINTR")
T.is(interrupted_in(function() return r:recv(2^20) end), values.again(L.EINTR), "a large recv: nil, nil, true, EINTR")
T.is(interrupted_in(function() return r:recvfrom() end), values.again_from(L.EINTR), "recvfrom: nil, nil, nil, true, EINTR")
s:nonblock(true)
repeat local _, _, _, e = s:send(data:sub(1, 65536)) until e
s:nonblock(false)
T.is(interrupted_in(function() return s:send "x" end), values.sent_again(L.EINTR), "send: 0, nil, true, EINTR")
if missing.sendfile then T.skip(1, missing.sendfile)
else
  T.is(interrupted_in(function() return s:sendfile(file, 4096) end), values.sent_again(L.EINTR), "sendfile: 0, nil, true, EINTR")
end
s:close(); r:close()
local listener = net.listener()
T.is(interrupted_in(function() return listener:accept() end), values.again(L.EINTR), "accept: nil, nil, true, EINTR")
listener:close()
local server, name = net.bound_at(net.places[4], L.SOCK_DGRAM)
local eager = assert(L.socket.new(name))
while eager:sendto("x", name, L.MSG_DONTWAIT) == 1 do end
T.is(interrupted_in(function() return eager:sendto("x", name) end), values.sent_again(L.EINTR), "sendto: 0, nil, true, EINTR")
server:close(); eager:close()

-- A long send that is interrupted after some bytes answers those.
s, r = net.pair()
local got = interrupted_in(function()
  local n, err, again, e = s:send(data)
  return n > 0 and n < TOTAL, err, again, e
end)
T.is(got, "true, nil, true, nil", "a send interrupted half-way answers its bytes and again")
s:close(); r:close()

file:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
