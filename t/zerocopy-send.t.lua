-- zerocopy: sends from memory that is kept alive until the error queue reports that the kernel has finished with it.
local emulator = require "emulator"
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local missing = require "missing"
local proc = require "proc"
local trace = require "trace"
local values = require "values"
local show, text = values.show, require("llsocket.errno").text
local before = leak.count()
local N = 83
local T = require("tap").plan(N)

local function failed(e) return show(nil, text(e), false, e) end

local probe = assert(L.socket.new(net.addr()))
local _, _, _, lacks = probe:sendzerocopy "x"
probe:close()
if emulator.zerocopy then return missing.skip_all(T, N, emulator.zerocopy) end
if lacks == L.EOPNOTSUPP then return missing.skip_all(T, N, "no MSG_ZEROCOPY here") end

local zerocopy = require "llsocket.socket.zerocopy"
local MIB = 2^20

-- Bytes of which no two stretches are alike.
local function pattern(n, seed)
  local out = {}
  for i = 0, math.ceil(n / 8) - 1 do out[i + 1] = ("%08x"):format(i + seed * 2^24) end
  return table.concat(out):sub(1, n)
end

local function read_all(sock, total)
  local parts, got = {}, 0
  while got < total do
    local msg = assert(sock:recv(65536))
    got, parts[#parts + 1] = got + #msg, msg
  end
  return table.concat(parts)
end

-- Waits until the kernel is done with all; answers how many were told, and whether one was copied.
local function settle(sock)
  local sum, any = 0, false
  net.await(function()
    local outstanding, done, copied = sock:completed()
    sum, any = sum + done, any or copied
    return outstanding == 0
  end)
  return sum, any
end

local function connection()
  local client, server = net.tcp()
  client:nonblock(true)
  server:rcvtimeo(5)
  return client, server
end

-- One send after another, over TCP.
local a, b = connection()
T.is(show(a:completed()), "0, 0, false", "nothing is outstanding before the first send")
local message = pattern(65536, 1)
T.is(show(a:sendzerocopy(message)), "65536, nil, false", "a string is sent")
T.ok(read_all(b, 65536) == message, "with the right bytes")
T.is(show(settle(a)), "1, true", "it completes, and on the loopback the kernel has copied")
T.is(show(a:completed()), "0, 0, false", "which is reported once")
T.is(show(a:sendzerocopy(message, 20000, 100)), "20000, nil, false", "a part of a string is sent")
T.ok(read_all(b, 20000) == message:sub(101, 20100), "with the right bytes")
local array = ffi.new "uint8_t[30000]"
ffi.copy(array, message, 30000)
T.is(show(a:sendzerocopy(array, nil, 10)), "29990, nil, false", "the rest of an array is sent")
T.ok(read_all(b, 29990) == message:sub(11, 30000), "with the right bytes")
T.is(show(a:sendzerocopy(ffi.cast("char *", array), 15000)), "15000, nil, false", "what a pointer points to is sent")
T.ok(read_all(b, 15000) == message:sub(1, 15000), "with the right bytes")
T.is((settle(a)), 3, "each of the three completes")
T.is(show(a:sendzerocopy("little", nil, nil, L.MSG_DONTWAIT)), "6, nil, false", "a little is sent")
T.is(show(read_all(b, 6), zerocopy.states[a].next), '"little", 4', "without its own number")
T.is(show(a:sendzerocopy(pattern(10240, 3))), "10240, nil, false", "10,240 bytes are sent")
T.is(show(zerocopy.states[a].next), "5", "with a number")
read_all(b, 10240)

-- A flag of the caller's: what is copied uses no number, and nothing else is sent in this way.
local ZEROCOPY = L.MSG_ZEROCOPY
settle(a)
T.is(show(a:sendzerocopy("little", nil, nil, ZEROCOPY), zerocopy.states[a].next), "6, 5",
  "with MSG_ZEROCOPY a little uses no number")
local slow, reader = connection()
slow:sndbuf(4 * MIB)
local long = ffi.new "uint8_t[4000000]"
slow:sendzerocopy("little", nil, nil, ZEROCOPY)
local taken = slow:sendzerocopy(long, nil, nil, L.MSG_DONTWAIT, ZEROCOPY)
T.ok(taken > 100000, "with it a long array is sent")
slow:recvable(0.2)
T.is(show(slow:completed()), "1, 0, false", "and outstanding, though the little would have completed")
T.ok(read_all(reader, 6 + taken) == "little" .. ("\0"):rep(taken), "with the right bytes")
T.is((settle(slow)), 1, "then it completes")
slow:close(); reader:close()
local ai, batch = net.addr(), assert(L.batch.new { count = 1, size = 10 })
batch:data(1, "abc")
local OTHERS = {
  send = { "abc" }, sendto = { "abc", ai }, sendfrom = { "abc", 3, 0 }, sendtofrom = { "abc", 3, ai, 0 },
  sendmsg = { assert(L.msghdr.new { data = "abc" }) }, writev = { { "abc" } }, sendbatch = { batch, 1, 1 },
}
for name, arguments in pairs(OTHERS) do
  local n = #arguments
  arguments[n + 1], arguments[n + 2] = L.MSG_DONTWAIT, ZEROCOPY
  local several = show(a[name](a, unpack(arguments)))
  arguments[n + 1], arguments[n + 2] = ZEROCOPY, nil
  T.is(several .. " " .. show(a[name](a, unpack(arguments))), failed(L.EINVAL) .. " " .. failed(L.EINVAL),
    name .. " refuses MSG_ZEROCOPY, among others and alone: EINVAL")
end

-- Refusals use no number.
T.is(show(a:sendzerocopy("")), failed(L.EINVAL), "nothing, on a stream, is EINVAL")
T.is(show(a:sendzerocopy(array, 30001)), failed(L.EINVAL), "what does not fit is EINVAL")
for _, buf in ipairs { {}, 5, ffi.new "struct { int x; }", io.stdout } do
  T.ok(not pcall(a.sendzerocopy, a, buf, 1), type(buf) .. " is no memory, and raises")
end
local dup = assert(a:dup())
T.is(show(dup:sendzerocopy(message)), failed(L.EBUSY), "a duplicate is EBUSY: its count would begin again")
dup:close()
local other = assert(L.socket.new(net.addr()))
other:setsockopt(L.SOL_SOCKET, L.SO_ZEROCOPY, "int", 1)
T.is(show(other:sendzerocopy(message)), failed(L.EBUSY), "so is a socket on which somebody else set the option")
other:close()
T.is(show(other:sendzerocopy(message)), failed(L.EBADF), "a closed socket is EBADF")
T.is(show(other:completed()), show(nil, text(L.EBADF), false, nil, L.EBADF), "for completed, too")
local u1, u2 = net.pair()
T.is(show(u1:sendzerocopy(message)), failed(L.EOPNOTSUPP), "a unix socket is EOPNOTSUPP")
T.is(show(u1:completed()), "0, 0, false", "and has nothing outstanding")
u1:close(); u2:close()
settle(a)
a:close(); b:close()

-- A full connection: partial sends, and memory that only the library keeps.
local function watch(anchors)
  local count = 0
  for _ in pairs(anchors) do count = count + 1 end
  return count
end

local function sending_arrays(sock, weak)
  local total = 0
  for i = 1, 1000 do
    local buf = ffi.new "uint8_t[262144]"
    ffi.fill(buf, 262144, i % 251)
    weak[i] = buf
    local n, _, again = sock:sendzerocopy(buf)
    total = total + n
    if again then return total, i end
  end
end

-- Whether what arrives is so many whole arrays, one after another, and a part of one.
local function right(bytes)
  for at = 1, #bytes, 262144 do
    local value = (math.floor(at / 262144) + 1) % 251
    if bytes:sub(at, at + 262143):find("[^" .. ("%%%c"):format(value) .. "]") then return false end
  end
  return true
end

local function alive(weak, n)
  local count = 0
  for i = 1, n do if weak[i] then count = count + 1 end end
  return count
end

local function collect() for _ = 1, 3 do collectgarbage() end end

a, b = connection()
a:sndbuf(MIB)
local weak = setmetatable({}, { __mode = "v" })
local total, sends = sending_arrays(a, weak)
local state = zerocopy.states[a]
T.ok(total % 262144 ~= 0 or show(a:sendzerocopy(message)):find "^0, nil, true", "a full connection takes a part, or nothing")
collect()
local outstanding = a:completed()
T.ok(outstanding > 0, "much is outstanding while the peer does not read")
T.ok(alive(weak, sends) >= outstanding and watch(state.anchors) == outstanding, "and is kept alive, by its number")
for _ = 1, 200 do ffi.new("uint8_t[262144]", 255) end -- would take the memory, were it free
T.ok(right(read_all(b, total)), "what arrives are the bytes that were there")
settle(a)
T.is(show(watch(state.anchors), state.keeper), "0, nil", "once read, nothing is kept")
collect()
T.is(alive(weak, sends), 0, "and all is collected")
T.is(show(a:sendzerocopy(message)), "65536, nil, false", "the connection goes on")
T.ok(read_all(b, 65536) == message, "with the right bytes")
T.is((settle(a)), 1, "and the right number")
T.is(show(a:recvable(0)), "false", "recvable finds nothing then")
a:sendzerocopy(message)
read_all(b, 65536)
T.is(show(a:recvable(5), a:completed()), "true, 0, 1, true", "and wakes for a completed send")

-- A socket that nobody names any more.
local fd
do
  local c, d = connection()
  local w = setmetatable({}, { __mode = "v" })
  local much, count = sending_arrays(c, w)
  fd, c = c:fd(), nil
  collect()
  T.ok(alive(w, count) > 0, "a socket without a reference keeps outstanding memory")
  T.ok(right(read_all(d, much)), "and sends the bytes that were there")
  for sock in pairs(zerocopy.states) do
    if sock:fd() == fd then
      settle(sock)
      c = sock
    end
  end
  T.ok(c, "it is not collected as long as something is")
  c:close(); d:close()
end

-- Closed, and given up.
local function leave(how)
  local c, d = connection()
  local w = setmetatable({}, { __mode = "v" })
  local much, count = sending_arrays(c, w)
  local number = c:fd()
  how(c)
  collect()
  local kept = alive(w, count)
  local fine = right(read_all(d, much))
  d:close()
  return kept > 0 and fine and zerocopy.states[c] == nil and L.socket.zerocopykept(), number
end
local kept = leave(function(c) c:close() end)
T.ok(kept and kept > 0, "memory outstanding at close is kept permanently, and arrives unchanged")
local more, number = leave(function(c) c:unwrap() end)
T.ok(more and more > kept, "so at unwrap")
assert(L.socket.wrap(number)):close()
local c, d = connection()
c:sendzerocopy(message)
read_all(d, 65536)
T.ok(c:recvable(5), "a completion waits")
c:close()
T.is(L.socket.zerocopykept(), more, "which close reads: nothing of it is kept")
d:close()

-- Datagrams.  One that the kernel refuses late has used a number.
local to, name = net.bound(L.AF_INET, L.SOCK_DGRAM)
local from = assert(L.socket.new(name))
from:connect(name)
local datagram = pattern(20000, 7)
T.is(show(from:sendzerocopy(datagram)), "20000, nil, false", "a datagram is sent")
T.ok(to:recv(65536) == datagram, "with the right bytes")
settle(from)
T.is(show(from:sendzerocopy(pattern(70000, 1))), failed(L.EMSGSIZE), "one too long is EMSGSIZE")
if from:udpsegment(10) then
  T.is(show(from:sendzerocopy(datagram)), failed(L.EINVAL), "one that the system will not cut is EINVAL")
  from:udpsegment(0)
else
  T.skip(1, "no UDP_SEGMENT here")
end
from:sendzerocopy(datagram)
local second = pattern(30000, 8)
from:sendzerocopy(second)
T.ok(to:recv(65536) == datagram and to:recv(65536) == second, "the next ones arrive")
settle(from)
T.is(show(from:completed()), "0, 0, false", "and complete: the numbers are right")

-- In a loop.
local into = ffi.new "uint8_t[16384]"
local function rounds()
  for _ = 1, 300 do
    from:sendzerocopy(into)
    to:recvinto(into)
    from:completed()
  end
end
trace.is(T, rounds, "a loop of sends, receives and completions compiles")
if os.getenv "LLSOCKET_STRESS" or not jit.status() then T.skip(1, "garbage is counted in the default mode only") else
  local used = trace.garbage(rounds) / 300
  if not T.ok(used < 4, "and allocates nothing") then print("# bytes a round: " .. used) end
end
settle(from)

-- What else comes by the error queue is handed on.
local function collect_others(sock, count)
  local list = {}
  net.await(function()
    local pending, _, _, others = sock:completed()
    for _, one in ipairs(others or {}) do list[#list + 1] = one end
    return pending == 0 and #list >= count
  end)
  return list
end

local function find_control(one, kind)
  for _, cmsg in ipairs(one.control) do
    if kind(cmsg) then return kind(cmsg) end
  end
end
local function exterr(cmsg) return cmsg:exterr() end

local shut, nobody = net.bound(L.AF_INET, L.SOCK_DGRAM)
shut:close()
local asker = assert(L.socket.new(nobody))
assert(not asker:connect(nobody) and asker:recverr(true))
T.is(show(asker:sendzerocopy(datagram)), "20000, nil, false", "a datagram for a closed port is sent")
local list = collect_others(asker, 1)
T.is(#list, 1, "its ICMP error is handed on, once")
local told = list[1]
T.is(find_control(told, exterr).errno, L.ECONNREFUSED, "with the error")
T.is(tostring(told.name), tostring(nobody), "where the datagram was to go")
T.ok(#told.data > 0 and told.data == datagram:sub(1, #told.data), "the beginning of it")
T.ok(bit.band(told.flags, L.MSG_ERRQUEUE) ~= 0, "and the flags")
T.is(show(asker:completed()), "0, 0, false", "then nothing is left")
asker:error()
asker:sendzerocopy(datagram)
T.ok(asker:recvable(5), "another one comes back")
net.await(function() return select("#", asker:sendzerocopy(datagram)) == 4 end) -- ECONNREFUSED, of the one before
local errors = #collect_others(asker, 1)
T.ok(errors >= 1, "what a send that fails has read is handed on, too")
asker:error()
local crowd = {}
for i = 1, 1024 do crowd[i] = told end
zerocopy.states[asker].others = crowd
asker:sendzerocopy(datagram)
asker:recvable(5)
T.is(#collect_others(asker, 1024), 1024, "at most 1,024 are kept for a program that does not ask")
asker:close()

local stamped = assert(L.socket.new(name))
assert(not stamped:connect(name))
local stamps = L.SOF_TIMESTAMPING_TX_SOFTWARE and L.SCM_TIMESTAMPING and stamped:setsockopt(L.SOL_SOCKET, L.SO_TIMESTAMPING,
  "int", L.SOF_TIMESTAMPING_TX_SOFTWARE + L.SOF_TIMESTAMPING_SOFTWARE)
if stamps then
  stamped:sendzerocopy(datagram)
  to:recv(65536)
  local stamp = collect_others(stamped, 1)[1]
  local function time(cmsg) return cmsg:level() == L.SOL_SOCKET and cmsg:type() == L.SCM_TIMESTAMPING and cmsg:data() end
  T.ok(#(find_control(stamp, time) or "") > 0, "the time stamp of sent data is handed on")
  T.is(find_control(stamp, exterr).origin, L.SO_EE_ORIGIN_TIMESTAMPING, "as what it is")
else
  T.skip(2, "the system has no time stamps of sent data")
end
stamped:close()

-- Numbers wrap.
local function ring(first, count)
  local s = { anchors = {}, outstanding = count, next = (first + count) % 2^32 }
  for i = 0, count - 1 do s.anchors[(first + i) % 2^32] = "x" end
  return s
end
local s = ring(2^32 - 2, 4)
T.is(show(zerocopy.release(s, 2^32 - 1, 0), s.outstanding, s.next), "2, 2, 2", "numbers wrap at 2^32")
T.is(show(zerocopy.release(s, 1, 1), s.anchors[2^32 - 2], s.outstanding), '1, "x", 1', "each is released by itself")
T.is(show(zerocopy.release(s, 2, 2), s.next, s.outstanding), "0, 3, 1", "one that a failed send used is counted")

-- No memory for telling, in a namespace of its own.
local FULL = [[
local L, net, netns = require "llsocket", require "net", require "netns"
local ok, why = netns.enter()
local path = "/proc/sys/net/core/optmem_max"
local function limit(bytes)
  local file = io.open(path, "w")
  if file then file:write(bytes) file:close() end
  return file
end
if not ok or not limit "1" then
  io.write("skip ", why or "the limit of memory for options is not the namespace's own")
  return
end
netns.ip "link set lo up"
local to, name = net.bound(L.AF_INET, L.SOCK_DGRAM)
local from = assert(L.socket.new(name))
from:connect(name)
local text = ("x"):rep(20000)
print(select(4, from:sendzerocopy(text)) == L.ENOBUFS, from:completed())
limit "131072"
print(from:sendzerocopy(text))
]]
local said = proc.lua(FULL)
if said:find "^skip " then T.skip(1, said:sub(6)) else
  T.is(said, "true\t0\t0\tfalse\n20000\tnil\tfalse\n", "without memory for telling it is ENOBUFS, and later it is sent")
end
a:close(); b:close(); from:close(); to:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
