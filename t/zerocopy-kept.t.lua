-- zerocopy-kept: a socket closed before the kernel's report keeps no memory if the close resets the connection;
-- otherwise it keeps memory that can be counted and limited.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local show = require("values").show
local text = require("llsocket.errno").text
local before = leak.count()
local N = 34
local T = require("tap").plan(N)
local kept = L.socket.zerocopykept
local MIB, PIECE = 2^20, 256 * 1024

local function failed(e) return show(nil, text(e), e) end

-- Ends where sends are not left where they are.
local probe, far = net.tcp(L.AF_INET)
local first, _, _, why = probe:sendzerocopy(("x"):rep(20000))
if not first then
  probe:close(); far:close()
  T.skip(N, "no MSG_ZEROCOPY here: " .. text(why))
  T.done()
end
far:recv(20000)
net.await(function() return probe:completed() == 0 end)
probe:close(); far:close()

-- A connection whose peer does not read, with as many pieces on the way as it takes, up to `most`.
local count = 0
local function stuffed(most, make)
  local near, peer = net.tcp(L.AF_INET, true)
  near:sndbuf(4 * MIB)
  local sent = 0
  repeat
    count = count + 1
    local n, _, again = near:sendzerocopy(make and make(count) or ("%08d"):format(count) .. ("x"):rep(PIECE - 8))
    sent = sent + (n or 0)
  until not n or n == 0 or again or sent >= (most or MIB)
  assert(near:completed() > 0)
  return near, peer, sent
end

T.is(kept(), 0, "at first nothing is kept")

-- A reset lets go.
local near, peer = stuffed()
near:linger(0)
T.is(select("#", near:close()), 0, "a socket with linger 0 closes")
T.is(kept(), 0, "and keeps nothing")
peer:nonblock(false)
local message, err, again, e
repeat message, err, again, e = peer:recv(MIB) until not message
T.is(show(message, err, again, e), show(nil, text(L.ECONNRESET), false, L.ECONNRESET), "its peer sees a reset, as it would")
peer:close()

near, peer = stuffed()
near:linger(0)
T.is(select("#", near:close(L.SHUT_RDWR)), 0, "to shut it down first is no error")
T.is(kept(), 0, "and keeps nothing either")
peer:close()

local weak = setmetatable({}, { __mode = "v" })
do
  local a, b = stuffed(MIB, function(i)
    weak[i] = ffi.new("uint8_t[262144]")
    return weak[i]
  end)
  a:linger(0)
  a:close()
  b:close()
end
collectgarbage(); collectgarbage()
T.is(next(weak), nil, "the memory that it sent is collected")

for _ = 1, 30 do
  near, peer = stuffed(4 * MIB)
  near:linger(0)
  near:close(); peer:close()
end
T.is(kept(), 0, "30 connections of 4 MiB keep nothing")

-- A reset before.
near, peer = stuffed()
T.is(select("#", near:connect(assert(L.addrinfo.new(("\0"):rep(16))))), 0, "connect to AF_UNSPEC ends the connection")
local outstanding, done = near:completed()
T.ok(outstanding == 0 and done > 0, "then completed lets all go")
near:close(); peer:close()
T.is(kept(), 0, "and close keeps nothing")
near, peer = stuffed()
peer:linger(0)
peer:close()
net.await(function() return near:recvable(0) end)
near:close()
T.is(kept(), 0, "so it is where the peer has reset the connection")

-- Where others have the connection it is not reset.
near, peer = stuffed()
local copy = assert(near:dup())
near:linger(0)
near:close()
local some = kept()
T.ok(some > 0, "where a duplicate keeps the connection, closing keeps the memory")
T.is(copy:error(), 0, "and the connection lives")
copy:linger(false)
copy:close()
local whole = 0
peer:nonblock(false)
repeat
  message = peer:recv(MIB)
  whole = whole + (message and #message or 0)
until not message
T.is(whole > 0, true, "the peer gets the sent bytes")
peer:close()

near, peer = stuffed()
near:linger(0)
T.is(proc.wait(proc.fork(function()
  near:close()
  return kept() > some
end)), 0, "a forked child that closes the socket keeps the memory")
T.is(near:error(), 0, "and resets nothing of its parent's")
near:close(); peer:close()
T.is(kept(), some, "which may reset it itself")

near, peer = stuffed()
near:linger(5)
local borrowed = assert(L.socket.wrap(near:fd(), { own = false }))
borrowed:close()
near:linger(false)
T.is(near:error(), 0, "what only borrows a socket resets nothing")

-- An ordinary close keeps it: seen, and bounded.
near:close()
local now = kept()
T.ok(now >= some + PIECE and now % PIECE == 0, "an ordinary close keeps outstanding memory, and its bytes are counted")
local same = ("y"):rep(PIECE)
local a, b = stuffed(PIECE, function() return same end)
a:close()
T.is(kept(), now + PIECE, "more by a string")
local c, d = stuffed(PIECE, function() return same end)
c:close()
T.is(kept(), now + PIECE, "which another socket keeps: it counts once")
now = kept()
b:close(); d:close(); peer:close()

T.is(kept(now), now, "a limit is set, and the same is answered")
local from, to = net.tcp(L.AF_INET, true)
T.is(show(from:sendzerocopy(same)), ("%d, nil, false"):format(PIECE), "at the limit sends go on")
T.is(kept(now - 1), now, "a limit below the kept bytes is set")
T.is(show(from:sendzerocopy(same)), show(nil, text(L.ENOBUFS), false, L.ENOBUFS), "beyond it sendzerocopy answers ENOBUFS")
T.is(from:send "x", 1, "other sends go on")
T.is(kept(false), now, "false lifts it")
T.ok(from:sendzerocopy(same), "and sends go on")
from:linger(0)
from:close(); to:close()
local wrong = {}
for _, n in ipairs { -1, 1.5, 0 / 0, 1 / 0, 2^53 + 2 } do
  if show(kept(n)) ~= failed(L.EINVAL) then wrong[#wrong + 1] = n end
end
T.is(table.concat(wrong, " "), "", "a limit that is no number of bytes is EINVAL")
for _, value in ipairs { true, "1" } do
  local ok, raised = pcall(kept, value)
  local want = ("bad argument #1 to 'zerocopykept' (number expected, got %s)"):format(type(value))
  T.is(not ok and raised:match "bad argument.*", want, "a limit that is a " .. type(value) .. " raises")
end
T.is(kept(), now, "neither changes anything")
T.is(leak.count(), before, "no descriptor is left")
T.done()
