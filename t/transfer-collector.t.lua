-- transfer-collector: finalisers receive, send and fail while a loop checks every answer.
local ffi = require "ffi"
local L = require "llsocket"
local net = require "net"
local leak = require "leak"
local before = leak.count()
local T = require("tap").plan(13)

local ROUNDS = 50000

local a, b = net.pair(L.SOCK_DGRAM, true) -- the loop's
local other, peer = net.pair(L.SOCK_DGRAM, true) -- the finalisers'
local quiet, silent = net.pair(L.SOCK_STREAM, true)
local udp_name = net.addr(L.AF_INET, L.SOCK_DGRAM, 9)
local closed = net.pair()
closed:close()
local EAGAIN, EBADF, ENOTCONN = L.EAGAIN, L.EBADF, L.ENOTCONN

-- What a finaliser does: it uses the same buffers and cells as the loop, and leaves another errno behind.
local ran, spoilt = 0, 0
local noise = ("#"):rep(64)
local function disturb()
  ran = ran + 1
  other:send(noise); other:send(noise)
  if peer:recv(64) ~= noise or peer:recvfrom(64) ~= noise then spoilt = spoilt + 1 end
  peer:connect(udp_name)
  closed:send "x"
  ffi.errno(ENOTCONN)
end

-- Garbage of both kinds, so that each round leaves a finaliser or two to run at some later allocation.
local mold = newproxy(true)
getmetatable(mold).__gc = disturb
local function litter()
  newproxy(mold)
  ffi.gc(ffi.new "int[1]", disturb)
end

local function each(n, fn)
  local wrong = 0
  for i = 1, n do
    if i % 4 == 0 then litter() end
    if i % 16 == 0 then collectgarbage "step" end
    if not fn(i) then wrong = wrong + 1 end
  end
  return wrong
end

local function messages(i)
  local msg = ("%08d"):format(i)
  local n = a:send(msg)
  return n == 8 and b:recv(64) == msg
end

local function messages_from(i)
  local msg = ("%08d"):format(i)
  local n = a:send(msg)
  local got, ai, err, again = b:recvfrom(64)
  return n == 8 and got == msg and ai == nil and err == nil and again == false
end

-- Strings keep the collector busy between the calls.
local keep
local function blocked(i)
  keep = "x" .. i
  local msg, err, again, e = quiet:recv(64)
  return msg == nil and err == nil and again == true and e == EAGAIN
end

local function blocked_from(i)
  keep = "y" .. i
  local msg, ai, err, again, e = quiet:recvfrom(64)
  return msg == nil and ai == nil and err == nil and again == true and e == EAGAIN
end

local function bad(i)
  keep = "z" .. i
  local n, _, again, e = closed:send(keep)
  return n == nil and again == false and e == EBADF
end

local function bad_recv(i)
  keep = "w" .. i
  local msg, _, again, e = closed:recv(64)
  return msg == nil and again == false and e == EBADF
end

for _, row in ipairs {
  { messages, "messages by recv" }, { messages_from, "messages by recvfrom" }, { blocked, "EAGAIN of recv" },
  { blocked_from, "EAGAIN of recvfrom" }, { bad, "EBADF of send" }, { bad_recv, "EBADF of recv" },
} do
  T.is(each(ROUNDS, row[1]), 0, ("%d %s: none wrong"):format(ROUNDS, row[2]))
end
T.ok(ran > ROUNDS / 4, "finalisers ran all the while")
T.is(spoilt, 0, "and what they received was right")
mold, keep = nil, nil
collectgarbage(); collectgarbage()

-- Addresses are the caller's own: 200 kept through collections and later receives.
local server, name = net.bound(L.AF_INET, L.SOCK_DGRAM)
local kept, wanted = {}, {}
for i = 1, 200 do
  local client = net.bound(L.AF_INET, L.SOCK_DGRAM)
  client:sendto("n" .. i, name)
  wanted[i] = tostring(client:getsockname())
  local msg, ai = server:recvfrom()
  kept[i] = msg == "n" .. i and ai
  client:close()
  if i % 20 == 0 then collectgarbage() end
end
collectgarbage(); collectgarbage()
server:rcvtimeo(0.001)
for _ = 1, 20 do server:recvfrom() end
local right = 0
for i = 1, 200 do
  right = right + (tostring(kept[i]) == wanted[i] and 1 or 0)
end
T.is(right, 200, "200 of 200 kept addresses are right")
local last = kept[200]
server:sendto("self", name)
T.is(tostring(select(2, server:recvfrom())), tostring(name), "a later receive tells its own sender")
T.is(tostring(last), wanted[200], "and leaves the kept one alone")
T.is(last:family(), L.AF_INET, "a kept address knows its family")

for _, sock in ipairs { a, b, other, peer, quiet, silent, server } do sock:close() end
T.is(leak.count(), before, "no descriptor is left")
T.done()
