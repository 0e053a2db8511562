-- transfer-large: 64 MiB between two processes, partial sends resumed, every byte compared.
local L = require "llsocket"
local net = require "net"
local proc = require "proc"
local leak = require "leak"
local before = leak.count()
local T = require("tap").plan(4 * 5 + 1)

local MIB = 2^20
local TOTAL, BLOCK = 64 * MIB, 2 * MIB

-- Bytes without a period, the same in both processes because it is made before the fork.
local random = assert(io.open "/dev/urandom")
local data = random:read(TOTAL)
random:close()

-- Sends a block to its end; answers how many sends were partial and how many would have blocked.
local function send_all(sock, rest, on_block)
  local partial, blocked = 0, 0
  while #rest > 0 do
    local n, err, again, e = sock:send(rest)
    assert(n and not err and again == (n < #rest), "send")
    if e then
      assert(n == 0 and e == L.EAGAIN, "errno")
      blocked = blocked + 1
      on_block()
      assert(sock:sendable(20))
    elseif again then
      partial = partial + 1
    end
    rest = rest:sub(n + 1)
  end
  return partial, blocked
end

-- The child: exits with 0 if all went, and if a non-blocking socket was partial and full at least once.
local function sender(sock, nonblock, on_block)
  local partial, blocked = 0, 0
  for at = 1, TOTAL, BLOCK do
    local p, b = send_all(sock, data:sub(at, at + BLOCK - 1), on_block)
    partial, blocked = partial + p, blocked + b
  end
  assert(not sock:close(L.SHUT_WR))
  if nonblock then return partial > 0 and blocked > 0 end
  return partial == 0 and blocked == 0
end

-- Answers how many bytes came, whether each was right, and what the end looked like.
local function receiver(sock)
  local at, right = 0, true
  while true do
    local msg, err, again, e = sock:recv(256 * 1024)
    if msg then
      right = right and msg == data:sub(at + 1, at + #msg)
      at = at + #msg
    elseif again then
      assert(sock:recvable(20))
    else
      return at, right, tostring(err) .. tostring(e)
    end
  end
end

local function transfer(name, make, nonblock)
  local a, b = make(nonblock)
  local full, seen = net.pair() -- the receiver of a non-blocking sender waits until that has seen EAGAIN
  local pid = proc.fork(function()
    b:close()
    return sender(a, nonblock, function() full:close() end)
  end)
  a:close(); full:close()
  if nonblock then seen:recv() end
  local n, right, last = receiver(b)
  b:close(); seen:close()
  T.is(n, TOTAL, name .. ": 64 MiB arrive")
  T.ok(right, name .. ": every byte is right")
  T.is(last, "nilnil", name .. ": the end is an end, without an error")
  local status, signal = proc.wait(pid)
  T.is(status, 0, name .. (nonblock and ": the sender's sends were partial and resumed" or ": no blocking send was partial"))
  T.is(signal, 0, name .. ": no signal ended the sender")
end

for _, nonblock in ipairs { false, true } do
  local mode = nonblock and "non-blocking" or "blocking"
  transfer("TCP " .. mode, function() return net.tcp(L.AF_INET, nonblock) end, nonblock)
  transfer("unix " .. mode, function() return net.pair(L.SOCK_STREAM, nonblock) end, nonblock)
end

T.is(leak.count(), before, "no descriptor is left")
T.done()
