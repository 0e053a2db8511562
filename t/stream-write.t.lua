-- stream-write: all of it is written, several strings in one system call; what the kernel took is told with an error.
local L = require "llsocket"
local stream = require "llsocket.stream"
local around = require "around"
local leak = require "leak"
local loops = require "loops"
local net = require "net"
local proc = require "proc"
local show = require("show").show

local T = require("tap").plan(24 + #loops.names * 2)
loops.settle()
local before = leak.count()

-- One message is one system call.
local a, b = net.pair(L.SOCK_SEQPACKET, true)
local s = assert(stream.wrap(a))
T.is(show(s:write "one"), "true", "write answers true")
T.is(b:recv(), "one", "a string arrives")
T.is(show(s:write("a", "", "b", ("c"):rep(3000))), "true", "several strings are written")
T.is(b:recv(), "ab" .. ("c"):rep(3000), "in one system call")
T.is(show(s:write("", "x", "")), "true", "empty strings do no harm")
T.is(b:recv(), "x", "and send nothing")
T.is(show(s:write ""), "true", "nothing at all is written at once")
T.is(select(3, b:recv()), true, "without a message")
local many = {}
for i = 1, 2000 do many[i] = "p" end
T.is(show(s:write(unpack(many))), "true", "more strings than one call takes are joined")
T.is(b:recv(), ("p"):rep(2000), "and arrive")
s:close(); b:close()

a, b = net.pair(L.SOCK_STREAM, true)
s = assert(stream.wrap(around(a)))
T.is(show(s:write("to", "get", "her")), "true", "a wrapped object gets one string")
T.is(b:recv(), "together", "of all of them")
s:close(); b:close()

-- The peer has closed.
a, b = net.pair(L.SOCK_STREAM, true)
s = assert(stream.wrap(a))
b:close()
T.is(show(s:write "x"), show(nil, "Broken pipe", L.EPIPE, 0), "a peer that has closed is EPIPE")
T.is(show(s:write("x", "y")), show(nil, "Broken pipe", L.EPIPE, 0), "for several strings, too")
s:close()
T.is(show(s:write "x"), show(nil, "Bad file descriptor", L.EBADF, 0), "a closed stream is EBADF")

local client, server = net.tcp(L.AF_INET, true)
s = assert(stream.wrap(client))
server:linger(0)
server:close()
client:recvable(5)
local done, err, e, taken = s:write "x"
T.is(show(done, err, e, taken), show(nil, "Connection reset by peer", L.ECONNRESET, 0), "a reset is ECONNRESET")
s:close()

-- The deadline comes; what the kernel took is told.
a, b = net.pair(L.SOCK_STREAM, true)
s = assert(stream.wrap(a))
s:deadline(0.02)
done, err, e, taken = s:write(("x"):rep(2^22))
T.is(show(done, err, e), show(nil, "Connection timed out", L.ETIMEDOUT), "a peer that reads nothing is timed out")
local size = 0
while true do
  local msg = b:recv(65536)
  if not msg then break end
  size = size + #msg
end
T.is(size, taken, "the fourth value counts what was taken")
s:deadline(0.02)
local parts = { ("x"):rep(2^20), ("y"):rep(2^20), ("z"):rep(2^20) }
done, err, e, taken = s:write(unpack(parts)) -- luacheck: ignore
local all = {}
while true do
  local msg = b:recv(65536)
  if not msg then break end
  all[#all + 1] = msg
end
T.is(table.concat(all), table.concat(parts):sub(1, taken), "also of several strings")
T.is(e, L.ETIMEDOUT, "which run out of time likewise")
s:close(); b:close()

-- Blocking, without a loop: a process of its own reads.
local BIG = ("0123456789abcdef"):rep(2^17) -- 2 MiB
client, server = net.tcp(L.AF_INET)
local pid = proc.fork(function()
  client:close()
  local r = assert(stream.wrap(server))
  local first, second, third = r:exactly(#BIG), r:line(), r:all()
  return first == BIG and second == "line" and third == BIG:sub(1, 1000)
end)
server:close()
s = assert(stream.wrap(client))
T.is(show(s:write(BIG, "line\r\n", BIG:sub(1, 1000))), "true", "without a loop a write blocks")
s:close()
T.is(proc.wait(pid), 0, "until all of it is taken")

for _, name in ipairs(loops.names) do
  local loop, why = loops.open(name)
  if loop then
    L.wait.set(loop.wait)
    local x, y = net.pair(L.SOCK_STREAM, true)
    local got, wrote
    loop.spawn(function()
      local w = assert(stream.wrap(x))
      wrote = show(w:write(BIG, "\n", "end"))
      w:close()
    end)
    loop.spawn(function()
      local r = assert(stream.wrap(y))
      got = r:exactly(#BIG) == BIG and r:line() == "" and r:line() == "end" and select("#", r:line()) == 0
      r:close()
    end)
    loop.run()
    T.is(wrote, "true", name .. ": a coroutine writes 2 MiB")
    T.is(got, true, name .. ": and another reads them")
    L.wait.set()
  else T.skip(2, why) end
end

local function error_of(fn, ...) return (select(2, pcall(fn, ...))) end
a, b = net.pair(L.SOCK_STREAM, true)
s = assert(stream.wrap(a))
T.ok(error_of(s.write, s, "x", 1):find("bad argument #2 to 'write' (string expected, got number)", 1, true),
  "write takes strings")
s:close(); b:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
