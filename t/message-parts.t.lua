-- message: gathered and scattered data, whole datagrams and cut ones, reused messages.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local values = require "values"
local show = values.show
local before = leak.count()
local T = require("tap").plan(63)

local function flags_of(mh)
  local names = {}
  for _, name in ipairs { "MSG_TRUNC", "MSG_CTRUNC", "MSG_OOB" } do
    if bit.band(mh:flags(), L[name]) ~= 0 then names[#names + 1] = name end
  end
  return table.concat(names, " ")
end

local function told(mh)
  local data = mh:data()
  return type(data) == "string" and show(data) or "{" .. show(unpack(data)) .. "}"
end

local function cut(text, sizes)
  local out, at = {}, 1
  for i, size in ipairs(sizes) do out[i], at = text:sub(at, at + size - 1), at + size end
  return out
end

-- Gathered on one side, scattered on the other, for each kind of socket.
local GATHER = { { "abcdefghij" }, { "abc", "defghij" }, { "", "abc", "", "", "defghij", "" },
  { "a", "b", "c", "d", "e", "f", "g", "h", "i", "j" } }
local SCATTER = { { 10 }, { 3, 100 }, { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, { 4, 4, 4, 4 } }
for _, kind in ipairs { "SOCK_STREAM", "SOCK_DGRAM", "SOCK_SEQPACKET" } do
  local a, b = net.pair(L[kind], true)
  for i, parts in ipairs(GATHER) do
    local sizes = SCATTER[i]
    local mh = assert(L.msghdr.new { data = parts, size = sizes })
    T.is(show(a:sendmsg(mh)), "10, nil, false", ("%s: %d parts are sent"):format(kind, #parts))
    T.is(show(b:recvmsg(mh)) .. told(mh), "10, nil, false{" .. show(unpack(cut("abcdefghij", sizes))) .. "}",
      ("%s: into %d parts"):format(kind, #sizes))
  end
  a:close(); b:close()
end

-- As many as may be.
local function list(n, make)
  local out = {}
  for i = 1, n do out[i] = make(i) end
  return out
end
local a, b = net.pair(L.SOCK_DGRAM, true)
local letters = list(1024, function(i) return string.char(i % 256) end)
local mh = assert(L.msghdr.new { data = letters, size = list(1024, function() return 1 end) })
T.is(show(a:sendmsg(mh)), "1024, nil, false", "1,024 parts are sent")
T.is(show(b:recvmsg(mh)), "1024, nil, false", "and received in as many")
T.is(table.concat(mh:data()), table.concat(letters), "each where it belongs")
T.is(show(a:writev(letters)), "1024, nil, false", "writev sends 1,024 parts")
T.is(table.concat((b:readv(list(1024, function() return 1 end)))), table.concat(letters), "and readv receives them")
local with_empty = list(1024, function(i) return i % 2 == 0 and "" or "x" end)
T.is(show(a:writev(with_empty)), "512, nil, false", "of 1,024 parts, half may be empty")
T.is(#b:recv(), 512, "which add nothing")

-- Longer than the room.
mh = assert(L.msghdr.new { size = 4 })
a:send "0123456789"
T.is(show(b:recvmsg(mh)) .. told(mh) .. flags_of(mh), '4, nil, false"0123"MSG_TRUNC', "a datagram that is cut says MSG_TRUNC")
a:send "0123"
T.is(show(b:recvmsg(mh)) .. told(mh) .. flags_of(mh), '4, nil, false"0123"', "one that just fits does not")
a:send "0123456789"
T.is(show(b:recvmsg(mh, L.MSG_TRUNC)) .. told(mh) .. flags_of(mh), '4, nil, false"0123"MSG_TRUNC',
  "the flag MSG_TRUNC never makes bytes that did not arrive")
a:send "0123456789"
T.is(show(b:recvmsg(mh, L.MSG_PEEK)) .. told(mh), '4, nil, false"0123"', "MSG_PEEK shows the beginning")
local whole = assert(L.msghdr.new { size = { 2, 2, 100 } })
T.is(show(b:recvmsg(whole)) .. told(whole), '10, nil, false{"01", "23", "456789"}', "and leaves the whole")
T.is(flags_of(whole), "", "which is not cut")
a:close(); b:close()
a, b = net.pair(L.SOCK_STREAM)
a:send "secret"
T.is(show(b:recvmsg(mh, L.MSG_TRUNC)), values.failed(L.EINVAL), "MSG_TRUNC on a stream is EINVAL")
T.is(show(b:readv({ 6 }, L.MSG_PEEK, L.MSG_TRUNC)), values.failed(L.EINVAL), "so for readv")
T.is(show(b:recvmsg(mh)) .. told(mh), '4, nil, false"secr"', "and takes nothing")
T.is(show(b:recvmsg(mh)) .. told(mh) .. flags_of(mh), '2, nil, false"et"', "a stream goes on where it was")
a:close(); b:close()
a, b = net.pair(L.SOCK_SEQPACKET)
a:sendmsg(assert(L.msghdr.new { data = "record" }), L.MSG_EOR)
T.is(show(b:recvmsg(mh)) .. told(mh) .. flags_of(mh), '4, nil, false"reco"MSG_TRUNC', "a record that is cut says so")
a:close(); b:close()

-- Out of band.
a, b = net.tcp()
a:sendmsg(assert(L.msghdr.new { data = { "ab", "!" } }), L.MSG_OOB)
T.ok(net.await(function() return b:recvmsg(mh, L.MSG_OOB, L.MSG_PEEK) end), "a byte out of band arrives")
T.is(show(b:recvmsg(mh, L.MSG_OOB)) .. told(mh) .. flags_of(mh), '1, nil, false"!"MSG_OOB', "and says MSG_OOB")
T.is(show(b:recvmsg(mh)) .. told(mh), '2, nil, false"ab"', "the others are in line")
a:close(); b:close()

-- A message is used again: what it can take stays, what it had does not.
local udp, name = net.bound(L.AF_INET, L.SOCK_DGRAM)
udp:recvttl(true)
local from, from_name = net.bound(L.AF_INET, L.SOCK_DGRAM)
mh = assert(L.msghdr.new { size = { 5, 5 }, controlsize = 64 })
for i = 1, 3 do
  from:sendto(("x"):rep(10), name)
  udp:recvmsg(mh)
  T.is(told(mh) .. #mh:control() .. flags_of(mh), '{"xxxxx", "xxxxx"}1', ("receive %d has its whole capacity"):format(i))
  from:sendto("y", name)
  udp:recvmsg(mh)
  T.is(told(mh) .. #mh:control() .. flags_of(mh), '{"y", ""}1', "a shorter one shows nothing of the one before")
  T.ok(mh:name() == from_name, "its name has its whole capacity too")
end
udp:recvttl(false)
from:sendto("w", name)
udp:recvmsg(mh)
T.is(#mh:control(), 0, "a message without ancillary data after one with some shows none")

-- One content: what was set or received last.
mh:data { "pong", "!" }
T.is(show(udp:sendmsg(mh)), "5, nil, false", "after a receive, new data goes to its sender")
T.is(show(from:recv()), '"pong!", nil, false', "and arrives there")
from:sendto("echo", name)
udp:recvmsg(mh)
T.is(show(udp:sendmsg(mh)), "4, nil, false", "a message received is sent back as it is")
T.is(show(from:recvfrom()), ('"echo", %s, nil, false'):format(tostring(name)), "to who sent it")
udp:close(); from:close()

-- readv keeps its memory for the next call: a call inside a call has its own.  The hook runs at every instruction.
do
  local compiles = jit.status()
  jit.off()
  local near, far = net.pair(L.SOCK_DGRAM)
  local c, d = net.pair(L.SOCK_DGRAM)
  local inner, wrong = 0, 0
  local function interrupt()
    inner = inner + 1
    c:send "other"
    if table.concat(d:readv { 3, 9 }, "|") ~= "oth|er" then wrong = wrong + 1 end
  end
  near:send "message"
  debug.sethook(interrupt, "", 1)
  local outer = far:readv { 4, 70000 }
  debug.sethook()
  near:send "mess"
  debug.sethook(interrupt, "", 1)
  local second = far:readv { 2, 2 }
  debug.sethook()
  if compiles then jit.on() end
  local both = table.concat(outer, "|") .. " " .. table.concat(second, "|")
  T.is(both, "mess|age me|ss", "readv is not disturbed by a readv of a hook")
  T.ok(inner > 50 and wrong == 0, "nor is that one")
  near:send "x"
  T.is(table.concat(far:readv { 1, 5, 5 }, "|"), "x||", "bytes of an earlier call are not seen by the next")
  for _, sock in ipairs { near, far, c, d } do sock:close() end
end
T.is(leak.count(), before, "no descriptor is left")
T.done()
