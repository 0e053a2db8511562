-- message: partial sends that are resumed, full queues and signals: nothing is lost, nothing is sent twice.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local signals = require "signals"
local values = require "values"
local show = values.show
local before = leak.count()
local T = require("tap").plan(44)

local MIB = 2^20

-- Parts of many lengths, empty ones among them, `total` bytes in all.
local function parts_of(count, total)
  local parts, left = {}, total
  for i = 1, count - 1 do
    local size = i % 7 == 0 and 0 or math.min(left, i * 7919 % (2 * total / count))
    parts[i] = string.char(i % 251):rep(size)
    left = left - size
  end
  parts[count] = ("z"):rep(left)
  return parts
end

local parts = parts_of(1000, 16 * MIB)
local text = table.concat(parts)

-- What a message that was sent in part has left.
local function rest(mh)
  local data = mh:data()
  return type(data) == "table" and table.concat(data) or data
end

local a, b = net.pair(L.SOCK_STREAM, true)
for _, data in ipairs { text, parts } do
  local what = type(data) == "string" and "a string" or "parts"
  local cmsg = assert(L.cmsghdr.credentials())
  local mh = assert(L.msghdr.new { data = data, control = { cmsg } })
  local n, _, again = a:sendmsg(mh)
  T.ok(n > 0 and again, what .. ": a long message goes in part")
  T.is(type(mh:data()), type(data), what .. ": the rest reads as what was set")
  T.ok(rest(mh) == text:sub(n + 1), what .. ": and is what was not sent")
  T.is(#mh:control(), 0, what .. ": without the ancillary data, which went with the first byte")
  T.is(show(a:sendmsg(mh)), values.sent_again(L.EAGAIN), what .. ": a full socket says again")
  T.ok(rest(mh) == text:sub(n + 1), what .. ": which takes nothing off the rest")
  local got = {}
  repeat got[#got + 1] = b:recv(MIB) until #got > 0 and not b:recvable(0)
  local more
  more, _, again = a:sendmsg(mh)
  T.ok(again and rest(mh) == text:sub(n + more + 1), what .. ": the next send goes on there")
  repeat got[#got + 1] = b:recv(MIB) until not b:recvable(0)
  T.ok(table.concat(got) == text:sub(1, n + more), what .. ": and what arrives is whole")
  mh:data "anew"
  T.is(show(a:sendmsg(mh)) .. show(b:recv()), '4, nil, false"anew", nil, false', what .. ": new data begins anew")
end
a:close(); b:close()

-- All of it, in one process.
local function pump(from, to, mh, into)
  local got, sends, receives = {}, 0, 0
  repeat
    local n, _, again = from:sendmsg(mh)
    assert(n, "sendmsg")
    sends = sends + 1
    repeat
      local m = to:recvmsg(into)
      if m then
        receives = receives + 1
        for _, part in ipairs(into:data()) do got[#got + 1] = part end
      end
    until not m
  until not again
  to:nonblock(false)
  to:rcvtimeo(5)
  from:shutdown(L.SHUT_WR)
  while to:recvmsg(into) do for _, part in ipairs(into:data()) do got[#got + 1] = part end end
  return table.concat(got), sends
end

for _, make in ipairs { net.pair, net.tcp } do
  local name = make == net.pair and "a unix stream" or "TCP"
  a, b = make(make == net.pair and L.SOCK_STREAM or L.AF_INET, true)
  local mh = assert(L.msghdr.new { data = parts })
  local into = assert(L.msghdr.new { size = { 1, 1000, 30000, 65536 } })
  local got, sends = pump(a, b, mh, into)
  T.is(#got, #text, name .. ": all bytes of 1,000 parts arrive")
  T.ok(got == text, name .. ": and are the right ones")
  T.ok(sends > 1, name .. ": in more than one send")
  a:close(); b:close()
end

-- writev keeps nothing: the caller sends what is left.
a, b = net.pair(L.SOCK_STREAM, true)
local n, err, again = a:writev(parts)
T.is(show(n > 0 and n < #text, err, again), "true, nil, true", "writev says how much it took")
T.is(show(a:writev { "x" }), values.sent_again(L.EAGAIN), "and that the socket is full")
local got = {}
repeat got[#got + 1] = b:recv(MIB) until not b:recvable(0)
T.ok(table.concat(got) == text:sub(1, n), "the bytes that it took arrive")
a:writev { "next" }
T.is(b:recv(), "next", "and nothing of the rest comes after")
a:close(); b:close()

-- A full queue of datagrams.
a, b = net.pair(L.SOCK_DGRAM, true)
b:passcred(true)
local mh = assert(L.msghdr.new { data = { "data", "gram" }, control = { assert(L.cmsghdr.credentials()) } })
local count = 0
while select(1, a:sendmsg(mh)) == 8 do count = count + 1 end
T.is(show(a:sendmsg(mh)), values.sent_again(L.EAGAIN), "a full queue of datagrams says again")
T.is(show(unpack(mh:data())) .. #mh:control(), '"data", "gram"1', "and the message is as it was")
local into, whole = assert(L.msghdr.new { size = 100 }), 0
local function drain()
  while b:recvmsg(into) do
    if into:data() == "datagram" and into:control()[1]:credentials().pid == proc.getpid() then whole = whole + 1 end
  end
end
drain()
T.is(whole, count, "every datagram that was taken arrives, with its credentials")
T.is(show(a:sendmsg(mh)), "8, nil, false", "then there is capacity again")
drain()
T.is(whole, count + 1, "and the message arrives, once")
a:close(); b:close()

-- A signal every few hundred microseconds, in both processes.
local function receive_all(sock)
  local mine, seen = {}, {}
  local message = assert(L.msghdr.new { size = { 1000, 100000 } })
  while true do
    local m, _, once_more, e = sock:recvmsg(message)
    if e then seen[e] = (seen[e] or 0) + 1 end
    if not m and not once_more then break end
    if m then for _, part in ipairs(message:data()) do mine[#mine + 1] = part end end
  end
  return table.concat(mine), seen
end

for _, make in ipairs { net.pair, net.tcp } do
  local name = make == net.pair and "a unix stream" or "TCP"
  a, b = make()
  local child = proc.fork(function()
    b:close()
    signals.alarm(300)
    local message, taken, seen = assert(L.msghdr.new { data = parts }), 0, 0
    for _ = 1, 2 do -- each time the parts, and then what is left of them
      message:data(parts)
      repeat
        local m, _, once_more, e = a:sendmsg(message)
        taken = taken + assert(m)
        seen = seen + (e == L.EINTR and 1 or 0)
      until not once_more
    end
    signals.alarm(0)
    a:close()
    return taken == 2 * #text
  end)
  a:close()
  signals.alarm(300)
  local all = receive_all(b)
  signals.alarm(0)
  T.is(#all, 2 * #text, name .. ": with signals, all bytes arrive")
  T.ok(all == text .. text, name .. ": and are the right ones")
  T.is(show(proc.wait(child)), "0, 0", name .. ": the sender counted as many")
  b:close()
end
a, b = net.pair()
local waits = assert(L.msghdr.new())
signals.alarm(3000)
T.is(show(b:recvmsg(waits)), values.again(L.EINTR), "a signal ends a wait: nil, nil, true, EINTR")
signals.alarm(0)
a:send "later"
T.is(show(b:recvmsg(waits)) .. waits:data(), "5, nil, falselater", "and what comes later is received")
repeat local m = a:send(text, L.MSG_DONTWAIT) until m == 0
mh = assert(L.msghdr.new { data = "more" })
signals.alarm(3000)
T.is(show(a:sendmsg(mh)), values.sent_again(L.EINTR), "a signal ends a wait to send: 0, nil, true, EINTR")
signals.alarm(0)
T.is(mh:data(), "more", "and the message has all that was not sent")
a:close(); b:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
