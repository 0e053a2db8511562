-- splice-transfer: bytes go from stream to stream through a pipe; held tells which side would block, and no byte is lost.
local L = require "llsocket"
local net = require "net"
local proc = require "proc"
local sys = require "sys"
local leak = require "leak"
local missing = require "missing"
local trace = require "trace"
local values = require "values"
local show, failed = values.show, values.failed
local before = leak.count()
local KINDS = {
  { "TCP", function(nonblock) return net.tcp(L.AF_INET, nonblock) end },
  { "a unix stream", function(nonblock) return net.pair(L.SOCK_STREAM, nonblock) end },
}
local COUNT = 4 * 22 + 23
local T = require("tap").plan(COUNT)

-- The pipe alone, which every system has.
local function numbers()
  local list = {}
  for fd = 0, 255 do list[fd] = sys.is_open(fd) end
  return list
end
local was = numbers()
local pipe, open, cloexec = assert(L.pipe.new()), 0, 0
for fd = 0, 255 do
  if sys.is_open(fd) and not was[fd] then
    open = open + 1
    if sys.is_cloexec(fd) then cloexec = cloexec + 1 end
  end
end
T.is(show(open, cloexec), "2, 2", "a pipe has two ends, which are close-on-exec")
T.is(pipe:held(), 0, "it holds nothing at first")
T.is(show(pipe:close()), "no values", "it closes")
T.is(show(pipe:close()), "no values", "and once more")
T.is(leak.count(), before, "both ends are closed")
for _ = 1, 50 do L.pipe.new() end
T.is(leak.count(), before, "as are those of collected pipes")
local a, b = net.pair()
T.is(show(a:splice(b, pipe)), failed(L.EBADF), "through a closed pipe: EBADF")
pipe = assert(L.pipe.new())
local function without_splice()
  T.is(show(a:splice(b, pipe)), failed(L.ENOSYS), "without splice(2): ENOSYS")
  a:close()
  T.is(show(a:splice(b, pipe)), failed(L.EBADF), "and on a closed socket EBADF")
  T.skip(COUNT - 9, missing.splice)
  T.done()
end
if missing.splice then without_splice() end

local gone = net.pair()
gone:close()
T.is(show(gone:splice(b, pipe)), failed(L.EBADF), "from a closed socket: EBADF")
T.is(show(a:splice(gone, pipe)), failed(L.EBADF), "to one: EBADF")
local udp, q = net.bound(L.AF_INET, L.SOCK_DGRAM), net.pair(L.SOCK_SEQPACKET)
T.is(show(udp:splice(a, pipe)), failed(L.EINVAL), "from datagrams: EINVAL")
T.is(show(a:splice(udp, pipe)), failed(L.EINVAL), "to them: EINVAL")
T.is(show(q:splice(a, pipe)), failed(L.EINVAL), "from a seqpacket: EINVAL")
T.is(show(a:splice(b, pipe, 0)), failed(L.EINVAL), "no byte: EINVAL")
T.is(pipe:held(), 0, "all of which leaves the pipe empty")
a:close(); b:close(); udp:close(); q:close()

local function last_of(sock)
  local got = {}
  for msg in function() return sock:recv(65536) end do got[#got + 1] = msg end
  return table.concat(got)
end

-- A source that somebody writes to, and a sink that somebody reads from.
local function chain(make, nonblock)
  local writer, source = make(nonblock)
  local sink, reader = make(nonblock)
  return writer, source, sink, reader, assert(L.pipe.new())
end

local function transfers(name, make, nonblock)
  name = (nonblock and "non-blocking: " or "blocking: ") .. name .. ": "
  local writer, source, sink, reader, p = chain(make, nonblock)
  source:rcvtimeo(0.05)
  T.is(show(source:splice(sink, p)), values.sent_again(L.EAGAIN), name .. "nothing has come: again")
  T.is(p:held(), 0, name .. "and an empty pipe, so the source would block")
  writer:send "hello world"
  source:recvable(5)
  T.is(show(source:splice(sink, p, 5)), "5, nil, false", name .. "as many bytes as asked for")
  reader:recvable(5)
  T.is(show(reader:recv()), '"hello", nil, false', name .. "arrive")
  T.is(show(source:splice(sink, p)), "6, nil, false", name .. "then the rest")
  reader:recvable(5)
  T.is(show(reader:recv()), '" world", nil, false', name .. "which arrives, too")

  -- A reader that does not read.
  writer:nonblock(true)
  local text, sent, moved, full = ("0123456789abcdef"):rep(2^20), 0, 0
  sink:sndtimeo(0.05)
  repeat
    sent = sent + (writer:sendfrom(text, nil, sent) or 0)
    local n, err, again = source:splice(sink, p)
    moved = moved + (n or 0)
    full = again and p:held() > 0 and err == nil
  until full or not n
  T.ok(full, name .. "a reader that does not read fills all")
  T.ok(p:held() > 0, name .. "the pipe holds the rest, so the sink would block")
  local answer
  repeat
    local n, err, again, e = source:splice(sink, p)
    moved, answer = moved + n, show(n, err, again, e)
  until n == 0
  local held = p:held()
  T.is(answer, values.sent_again(L.EAGAIN), name .. "a full sink: again")
  T.is(p:held(), held, name .. "and the pipe holds it still")
  reader:nonblock(true)
  local got = last_of(reader)
  sink:sendable(5)
  T.is(show(source:splice(sink, p, 10)), "10, nil, false", name .. "when there is capacity again, the pipe's bytes go first")
  T.is(p:held(), held - 10, name .. "and is counted")
  moved = moved + 10
  source:nonblock(true); sink:nonblock(true)
  repeat
    got = got .. last_of(reader)
    local n = source:splice(sink, p)
    moved = moved + n
  until n == 0 and p:held() == 0
  net.await(function()
    got = got .. last_of(reader)
    moved = moved + source:splice(sink, p)
    return #got == sent
  end)
  T.is(moved, sent, name .. "the written bytes have moved")
  T.ok(got == text:sub(1, sent), name .. "and is right")

  -- The end, with bytes before it.
  writer:send "the end"
  writer:close()
  source:recvable(5)
  T.is(show(source:splice(sink, p)), "7, nil, false", name .. "bytes written before the end are moved")
  net.await(function() return show(source:splice(sink, p)) == "0, nil, false" end)
  T.is(show(source:splice(sink, p)), "0, nil, false", name .. "the end: no byte, and not again")
  T.is(p:held(), 0, name .. "and nothing is left")
  reader:recvable(5)
  T.is(show(reader:recv()), '"the end", nil, false', name .. "all has arrived")
  for _, object in ipairs { source, sink, reader, p } do object:close() end

  -- A sink that is closed.
  writer, source, sink, reader, p = chain(make, nonblock)
  reader:close()
  net.await(function() return sink:send "x" == nil end)
  writer:send "too late"
  source:recvable(5)
  T.is(show(source:splice(sink, p)), "no values", name .. "a sink whose peer is closed: no values")
  T.is(p:held(), 8, name .. "and the pipe tells what did not go")
  local other, far = net.pair()
  T.is(show(source:splice(other, p)), "8, nil, false", name .. "which can go elsewhere")
  T.is(far:recv(), "too late", name .. "and arrives there")
  for _, object in ipairs { writer, source, sink, other, far, p } do object:close() end
end
for _, kind in ipairs(KINDS) do
  for _, nonblock in ipairs { false, true } do transfers(kind[1], kind[2], nonblock) end
end

-- A source that is reset is an error, and no end.
local writer, source, sink, reader, p = chain(function() return net.tcp(L.AF_INET, true) end)
writer:linger(0); writer:close()
source:recvable(5)
T.is(show(source:splice(sink, p)), failed(L.ECONNRESET), "a source that is reset: ECONNRESET")
for _, object in ipairs { source, sink, reader, p } do object:close() end

-- A blocking splice waits, and is woken.
writer, source, sink, reader, p = chain(net.pair)
local child = proc.fork(function()
  reader:recvable(0.05)
  writer:send "late"
end)
T.is(show(source:splice(sink, p)), "4, nil, false", "a blocking splice waits for the first bytes")
proc.wait(child)
T.is(reader:recv(), "late", "and moves them")

-- One socket as both ends, sizes, and the loop.
writer:send "echo"
T.is(show(source:splice(source, p)), "4, nil, false", "a socket is its own sink")
T.is(writer:recv(), "echo", "and so an echo")
local large = assert(L.pipe.new(2^20))
local half = ("x"):rep(2^19)
writer:sndbuf(2^21); sink:sndbuf(2^21)
writer:send(half)
local in_large = source:splice(sink, large)
T.ok(in_large > 2^16, "a large pipe moves more at once")
reader:nonblock(true); sink:nonblock(true); source:nonblock(true)
repeat until last_of(reader) == "" and source:splice(sink, large) == 0
large:close()
trace.is(T, function()
  for _ = 1, 300 do
    writer:send "x"
    source:splice(sink, p)
    reader:recv()
  end
end, "a loop compiles")
T.is(show(pcall(source.splice, source, sink)):match "bad argument.*%)",
  "bad argument #2 to 'splice' (llsocket.pipe expected, got nil)", "a pipe is needed")
for _, object in ipairs { writer, source, sink, reader, p, pipe } do object:close() end
T.is(leak.count(), before, "no descriptor is left")
T.done()
