-- sendfile-transfer: whole files between processes, sparse ones, changing ones, and peers that do not read.
local L = require "llsocket"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local leak = require "leak"
local missing = require "missing"
local values = require "values"
local show = values.show
local before = leak.count()
local COUNT = 4 * 4 + 6 + 7 + 8 + 5 + 1
local T = require("tap").plan(COUNT)
if missing.sendfile then missing.skip_all(T, COUNT, missing.sendfile) end

local MIB = 2^20
local dir = net.tmpdir()
local function new_file(name, text)
  local file = assert(io.open(dir .. "/" .. name, "w+"))
  file:write(text)
  file:flush()
  return file
end

-- Sends a file to its end, however often the socket is full; answers its calls and the last answer.
local function send_all(sock, file, bytes, at)
  local calls = 0
  at = at or 0
  while true do
    local n, err, again, e = sock:sendfile(file, bytes - at, at)
    calls, at = calls + 1, at + (n or 0)
    if not again then return calls, at, show(n, err, again, e) end
    if e == L.EAGAIN then assert(sock:sendable(20)) end
  end
end

-- Receives to the end, into a file; answers how many bytes came.
local function receive_all(sock, path)
  local out, n = assert(io.open(path, "w")), 0
  while true do
    local msg, _, again, e = sock:recv(2^18)
    if msg then
      n = n + #msg
      out:write(msg)
    elseif again then
      assert(sock:recvable(20))
    else
      out:close()
      return n, e
    end
  end
end

local function digest(path) return (proc.run("cksum < " .. shell.quote(path))) end

local SIZE = 64 * MIB
local random = assert(io.open "/dev/urandom")
local big = new_file("big", random:read(SIZE))
random:close()
local wanted = digest(dir .. "/big")

local function transfer(name, make, nonblock)
  local a, b = make(nonblock)
  a:sndbuf(2^17)
  local pid = proc.fork(function()
    b:close()
    local calls, sent, last = send_all(a, big, SIZE)
    a:close()
    -- Blocking: one call takes all.  Non-blocking: many, of which the last still sends something.
    return sent == SIZE and last:find "^%d+, nil, false, nil$" ~= nil and (calls > 1) == nonblock
  end)
  a:close()
  local n, e = receive_all(b, dir .. "/copy")
  b:close()
  T.is(show(proc.wait(pid)), "0, 0", name .. (nonblock and ": resumes until all is sent" or ": sends all in one call"))
  T.is(n, SIZE, name .. ": 64 MiB arrive")
  T.is(e, nil, name .. ": the end is an end")
  T.is(digest(dir .. "/copy"), wanted, name .. ": the digests are equal")
end

for _, nonblock in ipairs { false, true } do
  local mode = nonblock and "non-blocking" or "blocking"
  transfer("TCP " .. mode, function() return net.tcp(L.AF_INET, nonblock) end, nonblock)
  transfer("unix " .. mode, function() return net.pair(L.SOCK_STREAM, nonblock) end, nonblock)
end

-- A sparse file: offsets beyond 2^31 and 2^32 are no other offsets.
local a, b = net.pair(L.SOCK_STREAM, true)
local sparse = new_file("sparse", "the beginning")
local function mark(at, text)
  sparse:seek("set", at)
  return sparse:write(text) and sparse:flush()
end
if mark(2^31 - 2, "across") and mark(2^32 - 2, "beyond") and mark(2^40, "far away") then
  T.is(show(a:sendfile(sparse, 6, 2^31 - 2), b:recv()), '6, "across", nil, false', "an offset across 2^31")
  T.is(show(a:sendfile(sparse, 6, 2^32 - 2), b:recv()), '6, "beyond", nil, false', "an offset across 2^32")
  T.is(show(a:sendfile(sparse, 4, 2^32), b:recv()), '4, "yond", nil, false', "an offset of 2^32")
  T.is(show(a:sendfile(sparse, 8, 2^40), b:recv()), '8, "far away", nil, false', "an offset of 2^40")
  T.is(show(a:sendfile(sparse, 8, 2^40 + 4)), "4, nil, true", "the rest of a file beyond 2^32")
  T.is(show(a:sendfile(sparse, 8, 2^40 + 8)), "0, nil, false", "its end")
  b:recv()
else
  T.skip(6, "this file system has no sparse files of 1 TiB")
end
sparse:close()

-- A peer that does not read.
local n, err, again, e = a:sendfile(big, SIZE)
T.ok(n > 0 and n < SIZE, "to a peer that does not read, some bytes go")
T.is(show(err, again, e), "nil, true, nil", "and again is true, without an errno")
local sent, full = n, ""
while not full:find "^0," do
  full = show(a:sendfile(big, SIZE - sent, sent))
  sent = sent + tonumber(full:match "^%d+")
end
T.is(full, values.sent_again(L.EAGAIN), "a full socket: 0, nil, true, EAGAIN")
T.is(show(a:sendfile(big, 1, sent)), values.sent_again(L.EAGAIN), "and again")
local got = {}
repeat
  local msg = b:recv(MIB)
  got[#got + 1] = msg
until not msg
got = table.concat(got)
big:seek("set", 0)
T.is(#got, sent, "as many bytes arrive as were counted")
T.ok(got == big:read(sent), "and each byte is right")
T.is(show(a:sendfile(big, 4, sent)), "4, nil, false", "when there is capacity again, it continues")
b:recv()

-- Truncated while sending: the loop ends.
local shrinking = new_file("shrinking", ("s"):rep(4 * MIB))
n = a:sendfile(shrinking, 4 * MIB)
T.ok(n > 0 and n < 4 * MIB, "the first part of a file goes")
new_file("shrinking", ("t"):rep(n - 10)):close()
while b:recv(MIB) do end
T.is(show(a:sendfile(shrinking, 4 * MIB - n, n)), "0, nil, false", "cut before the offset: 0, nil, false")
new_file("shrinking", ("u"):rep(n + 10)):close()
T.is(show(a:sendfile(shrinking, 4 * MIB - n, n)), "10, nil, true", "grown again: what there is")
T.is(show(b:recv()), show(("u"):rep(10), nil, false), "which is the new bytes")
local _, reached, final = send_all(a, shrinking, 4 * MIB, n + 10)
T.is(show(reached - n, final), '10, "0, nil, false, nil"', "and a resend loop ends")
a:close(); b:close()

a, b = net.pair()
local half = new_file("half", ("h"):rep(4 * MIB))
local pid = proc.fork(function()
  a:close()
  b:recv(100)
  new_file("half", ("h"):rep(1000)):close()
  return receive_all(b, "/dev/null") >= 0
end)
b:close()
local _, at, ended = send_all(a, half, 4 * MIB)
T.ok(at >= 1000 and at < 4 * MIB, "cut while a blocking sendfile waits: a short count")
T.is(ended, "0, nil, false, nil", "then the end of the file")
a:close()
T.is(show(proc.wait(pid)), "0, 0", "after which nobody waits")
half:close(); shrinking:close()

-- A peer that closes half-way.
a, b = net.tcp(L.AF_INET, true)
n = a:sendfile(big, SIZE)
T.ok(n > 0 and n < SIZE, "half a file goes")
b:close()
net.await(function() return a:sendfile(big, SIZE, n) == nil end)
T.is(show(a:sendfile(big, SIZE, n)), "no values", "then the peer closes: no values")
T.is(show(a:send "x"), "no values", "to send as well")
T.is(show(a:sendfile(big, 1, SIZE)), "0, nil, false", "the end of the file asks no peer")
T.is(a:fd() >= 0, true, "the socket is still open")
a:close(); big:close()

net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
