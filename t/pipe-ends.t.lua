-- pipe-ends: files and other descriptors at either end of a pipe, copies by tee, memory by fill; no byte is lost.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local missing = require "missing"
local net = require "net"
local proc = require "proc"
local signals = require "signals"
local trace = require "trace"
local values = require "values"
local show, failed, again = values.show, values.failed, values.sent_again
local before = leak.count()
local COUNT = 93
local T = require("tap").plan(COUNT)

local function tube(size) return assert(L.pipe.new(size)) end
local function temporary(text)
  local file = assert(io.tmpfile())
  file:write(text or "")
  file:flush()
  return file
end
local function contents(file)
  file:seek("set", 0)
  return (file:read "*a")
end
local function close(...)
  for i = 1, select("#", ...) do (select(i, ...)):close() end
end

-- What every system answers.
local p, file = tube(), temporary "0123456789"
local closed = tube()
closed:close()
local memory = ffi.new "uint8_t[64]"
for name, call in pairs {
  from = function() return closed:from(file, 1) end, to = function() return closed:to(file, 1) end,
  tee = function() return closed:tee(p) end, fill = function() return closed:fill(memory) end,
} do T.is(show(call()), failed(L.EBADF), name .. " of a closed pipe: EBADF") end
T.is(show(p:tee(closed)), failed(L.EBADF), "tee to a closed pipe: EBADF")
T.is(show(p:from(-1, 1)), failed(L.EBADF), "a negative number: EBADF")
local gone = temporary ""
gone:close()
T.is(show(p:from(gone, 1)), failed(L.EBADF), "a closed file: EBADF")
T.is(show(p:from(file, 0)), failed(L.EINVAL), "no byte: EINVAL")
T.is(show(p:fill(memory, 0)), failed(L.EINVAL), "no byte of memory: EINVAL")
T.is(show(p:tee(p)), failed(L.EINVAL), "a pipe and itself: EINVAL")
if missing.splice then
  T.is(show(p:from(file, 1)), failed(L.ENOSYS), "without splice(2): ENOSYS")
  T.is(show(p:to(file, 1)), failed(L.ENOSYS), "so is to")
  T.is(show(p:tee(tube())), failed(L.ENOSYS), "so is tee")
  T.is(show(p:fill(memory)), failed(L.ENOSYS), "so is fill")
  T.skip(COUNT - 14, missing.splice)
  T.done()
end

-- Files.
T.is(show(p:from(file, 4, 2)), "4, nil, false", "bytes of a file, from an offset")
T.is(p:held(), 4, "which held counts")
file:seek("set", 0)
T.is(show(p:from(file, 3)), "3, nil, false", "without one from its position")
T.is(show(p:from(file, 3)), "3, nil, false", "which moves")
T.is(p:held(), 10, "all is counted")
local out = temporary()
T.is(show(p:to(out, 5, 3)), "5, nil, false", "bytes go into a file at an offset")
T.is(contents(out), "\0\0\0" .. "23450", "where they are")
out:seek("set", 8)
T.is(show(p:to(out, 100)), "5, nil, false", "and the rest at its position, all that there is")
T.is(contents(out), "\0\0\0" .. "2345012345", "which moves, too")
T.is(show(p:to(out, 1)), "0, nil, false", "an empty pipe: nothing, and no waiting")
T.is(show(p:from(file, 5, 8)), "2, nil, true", "fewer than asked for: again")
T.is(show(p:from(file, 5, 10)), "0, nil, false", "the end of the file: nothing, and not again")
T.is(show(p:from(file, 5, 2^40)), "0, nil, false", "and behind it")
p:to(out, 2)
local big = temporary(("x"):rep(100000))
T.is(show(p:from(big, 100000, 0)), "65536, nil, true", "as much as the pipe can hold")
T.is(show(p:from(big, 1, 0)), again(L.EAGAIN), "a full pipe: again, and no waiting")
T.is(p:held(), 65536, "and nothing else is in it")
local sum = 0
repeat
  local n = p:to(out, 30000, sum)
  sum = sum + n
until n == 0
T.is(sum, 65536, "in pieces it goes out")
T.is(contents(out), ("x"):rep(65536), "whole")
local offset = 2^32 + 5
T.is(show(p:from(file, 2, 0)), "2, nil, false", "a hole of 4 GiB")
T.is(show(p:to(out, 2, offset)), "2, nil, false", "is no hindrance")
out:seek("set", offset)
T.is(out:read "*a", "01", "offsets have 64 bits")
out:close()

-- What cannot be.
local function with_file(mode, fn)
  local dir = net.tmpdir()
  local path = dir .. "/file"
  local made = assert(io.open(path, "w"))
  made:write "abc"
  made:close()
  local opened = assert(io.open(path, mode))
  fn(opened)
  opened:close()
end
p:from(file, 2, 0)
with_file("r", function(f) T.is(show(p:to(f, 1)), failed(L.EBADF), "a file that is not open for writing: EBADF") end)
with_file("w", function(f) T.is(show(p:from(f, 1)), failed(L.EBADF), "one not open for reading: EBADF") end)
with_file("a", function(f) T.is(show(p:to(f, 1)), failed(L.EINVAL), "one open for appending: EINVAL") end)
T.is(p:held(), 2, "all of which keeps the bytes")
local a, b = net.pair(L.SOCK_STREAM, true)
T.is(show(p:from(a:fd(), 1, 0)), failed(L.EINVAL), "an offset in a socket: EINVAL")
T.is(show(p:to(a:fd(), 1, 0)), failed(L.EINVAL), "so it is the other way")
local shell = assert(io.popen "true")
T.is(show(p:from(shell, 1, 0)), failed(L.ESPIPE), "an offset in a pipe: ESPIPE")
shell:close()

-- Sockets, by number.
T.is(show(p:to(a:fd(), 9)), "2, nil, false", "bytes go into a socket by its number")
T.is(b:recv(), "01", "and arrive")
T.is(show(p:from(a:fd(), 9)), again(L.EAGAIN), "an empty non-blocking socket: again")
b:send "hello"
T.is(show(p:from(a:fd(), 5)), "5, nil, false", "bytes come from a socket")
T.is(show(p:to(a:fd(), 5)), "5, nil, false", "and go back")
T.is(b:recv(), "hello", "as they are")
b:close()
T.is(show(p:from(a:fd(), 5)), "0, nil, false", "the end of a socket")
p:from(file, 3, 0)
local mask = signals.mask()
T.is(show(p:to(a:fd(), 5)), "no values", "nobody reads there any more: no values, and no SIGPIPE")
T.is(signals.mask(), mask, "and the signal mask is as before")
T.is(p:held(), 3, "and the bytes are still there")
a:close()

-- TCP: an urgent mark, and a reset.
local c, s = net.tcp(L.AF_INET, true)
c:send "ab"
c:send("!", L.MSG_OOB)
c:send "cd"
local q, text = tube(), temporary()
net.await(function()
  q:from(s:fd(), 100)
  text:seek "end"
  q:to(text, 100)
  return #contents(text) >= 4
end)
T.is(contents(text), "abcd", "an urgent mark is passed, and its byte left out")
T.is(show(q:from(s:fd(), 1)), again(L.EAGAIN), "then there is nothing")
q:from(file, 3, 0)
c:send "ef"
s:recvable(5)
T.is(show(q:from(s:fd(), 2)), "2, nil, false", "a pipe that holds bytes takes more")
T.is(q:held(), 5, "and counts them")
c:linger(0); c:close()
s:recvable(5)
T.is(show(q:from(s:fd(), 1)), failed(L.ECONNRESET), "a reset is an error, and no end")
close(s, text, q)

-- Other pipes, by number: a program's output.
local child = assert(io.popen "printf 'from a child'")
q = tube()
local got = 0
repeat
  local n = q:from(child, 100)
  got = got + n
until n == 0
T.is(got, 12, "a program's output is read to its end")
child:close()
local kept = temporary()
q:to(kept, 100)
T.is(contents(kept), "from a child", "and is right")
kept:close()

-- tee.
local one, two = tube(), tube()
one:from(file, 10, 0)
T.is(show(one:tee(two, 4)), "4, nil, false", "tee copies as many bytes as asked for")
T.is(("%d %d"):format(one:held(), two:held()), "10 4", "which are in both pipes then")
T.is(show(one:tee(two)), "10, nil, false", "by default all that there is, from the first byte again")
local copy = temporary()
two:to(copy, 100)
T.is(contents(copy), "01230123456789", "they are the same")
one:to(copy, 100)
T.is(contents(copy), "012301234567890123456789", "and the first pipe has lost none")
T.is(show(one:tee(two)), again(L.EAGAIN), "an empty pipe: again")
one:from(file, 1, 0)
local n, rest
repeat n, rest = one:tee(two) until n ~= 1
T.is(show(n, rest), "0, nil", "a full one: again")
T.is(two:held(), 16, "after 16 pieces")
close(one, two, copy)

-- fill.
local long = ffi.new("uint8_t[?]", 200000)
for i = 0, 199999 do long[i] = i % 251 end
local bytes = ffi.string(long, 200000)
local target, reader = net.pair(L.SOCK_STREAM, true)
local at, received = 0, {}
q = tube()
while at < 200000 do
  local took = q:fill(long, 200000 - at, at)
  at = at + took
  while q:held() > 0 do
    q:to(target:fd(), 2^20)
    for msg in function() return reader:recv(65536) end do received[#received + 1] = msg end
  end
end
T.ok(table.concat(received) == bytes, "200,000 bytes of memory arrive whole")
local first = q:fill(long, 200000)
T.ok(first > 0 and first <= 65536, "a pipe takes as many as it can hold")
T.is(show(q:fill(long, 1)), again(L.EAGAIN), "then it is full: again")
T.is(q:held(), first, "and counts what it holds")
close(q, target, reader)

q = tube()
local words = ffi.new "uint32_t[16]"
ffi.fill(words, 64, 65)
T.is(show(q:fill(words)), "64, nil, false", "a whole array by default")
T.is(show(q:fill(words, 4, 8)), "4, nil, false", "or a part of it")
T.is(show(q:fill(words, 4, 61)), failed(L.EINVAL), "none that is outside: EINVAL")
T.is(show(q:fill(ffi.cast("uint8_t *", 16), 4)), failed(L.EFAULT), "a wild pointer: EFAULT")
ffi.fill(words, 64, 66)
local see = temporary()
q:to(see, 1)
T.is(contents(see), "B", "the pages are lent: who changes the memory changes what is read")
close(see)

local function raises(what, want, ...)
  local ok, why = pcall(function(...) return q:fill(...) end, ...)
  T.is(not ok and why:gsub("^.-:%d+: ", ""), ("bad argument #%d to 'fill' (%s)"):format(unpack(want)), what)
end
local LENT = "array that is no part of another object, or pointer expected, got "
raises("a string raises: its memory is not its program's", { 1, LENT .. "string" }, "abc")
local inner = ffi.new "struct { uint8_t bytes[8]; }"
raises("a part of another object raises", { 1, LENT .. "cdata" }, inner.bytes)
raises("a pointer without a size raises", { 2, "number expected, got nil" }, ffi.cast("uint8_t *", words))

-- Memory is kept while a pipe may hold it.
local function lent_to(...)
  local weak = setmetatable({}, { __mode = "k" })
  for i = 1, select("#", ...) do
    local array = ffi.new("uint8_t[4096]")
    weak[array] = true
    assert((select(i, ...)):fill(array, 100) == 100)
  end
  return weak
end
local function alive(weak)
  collectgarbage(); collectgarbage()
  local count = 0
  for _ in pairs(weak) do count = count + 1 end
  return count
end
local x, y, sink = tube(), tube(), temporary()
local weak = lent_to(x, x)
T.is(alive(weak), 2, "arrays stay alive while the pipe holds their bytes")
x:to(sink, 99)
T.is(alive(weak), 2, "also when one byte of each is left")
x:to(sink, 1)
T.is(alive(weak), 1, "one whose bytes have gone is let go of")
x:tee(y)
x:to(sink, 100)
T.is(alive(weak), 1, "a copy keeps it, too")
T.is(x.lent, false, "the first pipe does not")
y:to(sink, 100)
T.is(alive(weak), 0, "until that has gone")
weak = lent_to(x)
x:close()
T.is(alive(weak), 0, "a pipe that is closed lets go of all")
weak = lent_to(y)
T.is(show(y:fill(ffi.cast("uint8_t *", 16), 4)), failed(L.EFAULT), "what was refused")
y:to(sink, 100)
T.is(tostring(y.lent) .. " " .. alive(weak), "false 0", "is not kept")
close(sink, y, q)

-- splice and the others share a pipe.
local m, mate = net.pair(L.SOCK_STREAM, true)
local o, far = net.pair(L.SOCK_STREAM, true)
q = tube()
q:from(file, 3, 0)
mate:send "later"
T.is(show(m:splice(o, q)), "3, nil, false", "splice sends what from has put into the pipe")
T.is(show(m:splice(o, q)), "5, nil, false", "and then its own")
T.is(far:recv(), "012later", "in this order")
close(m, mate, o, far)

-- A blocking descriptor, and a debug hook that breaks in.
local w, wait = net.pair()
local forked = proc.fork(function()
  w:recvable(0.05)
  wait:send "late"
end)
T.is(show(q:from(w:fd(), 4)), "4, nil, false", "from waits on a blocking descriptor")
proc.wait(forked)
q.moving = true -- as an error between splice(2) and the count leaves it
q.bytes = 99
T.is(q:held(), 4, "after an error of a hook the kernel is asked")
T.is(show(q:to(w:fd(), 99)), "4, nil, false", "and no more is moved than there is")
T.is(wait:recv(), "late", "all of it")
close(w, wait)

local fileno = require("llsocket.core.libc").llsocket2_fileno
local from, to = fileno(file), fileno(big)
trace.is(T, function()
  for _ = 1, 300 do
    p:from(from, 10, 0)
    p:to(to, 100, 0)
  end
end, "a loop compiles")
close(p, q, file, big)
net.cleanup()
collectgarbage(); collectgarbage()
T.is(leak.count(), before, "no descriptor is left")
T.done()
