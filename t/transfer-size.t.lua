-- transfer-size: recv at the sizes where its buffer changes, and the memory that it keeps.
local L = require "llsocket"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local leak = require "leak"
local values = require "values"
local show = values.show
local before = leak.count()

local SIZES = { 1, 2, 4095, 4096, 4097, 65535, 65536, 65537, 2^20, 2^31 - 1 }
local T = require("tap").plan(#SIZES * 4 + 21)

local function bytes(n) return ("0123456789abcdef"):rep(math.ceil(n / 16)):sub(1, n) end

-- 2^31-1 may be more than the machine grants; that has a test of its own.
local function refused(e) return e == L.ENOMEM and "this machine grants no 2^31-1 bytes" end

-- A message that is shorter than, as long as and longer than asked, each through an own socket pair.
local function at_size(size)
  local a, b = net.pair(L.SOCK_DGRAM, true)
  a:send "short"
  local msg, _, _, e = b:recv(size)
  if refused(e) then T.skip(4, refused(e)) return end
  T.is(msg, ("short"):sub(1, size), ("recv(%d) takes a short datagram"):format(size))
  T.is(show(b:recv(size)), values.again(L.EAGAIN), ("recv(%d) says try again"):format(size))
  T.is(show(b:recvfrom(size)), values.again_from(L.EAGAIN), ("recvfrom(%d) says try again"):format(size))
  a:close(); b:close()
  a, b = net.pair()
  a:nonblock(true)
  local sent = a:send(bytes(math.min(size + 1, 2^20 + 1)))
  local wanted = bytes(math.min(size, sent))
  T.ok(b:recv(size, sent >= size and L.MSG_WAITALL or 0) == wanted, (
    "recv(%d) takes at most as many bytes of a stream"):format(size))
  a:close(); b:close()
end
for _, size in ipairs(SIZES) do at_size(size) end

-- The default.
local a, b = net.pair(L.SOCK_DGRAM, true)
a:send(bytes(5000))
T.is(#b:recv(), 4096, "recv() takes 4096 bytes")
a:send(bytes(5000))
T.is(#b:recvfrom(), 4096, "recvfrom() takes 4096 bytes")

-- No datagram is cut shorter than the size asked for.
a:sndbuf(400000)
local function whole(length, size)
  assert(a:send(bytes(length)) == length)
  return b:recv(size) == bytes(math.min(length, size))
end
T.ok(whole(65535, 65535), "a datagram of 65535 bytes fits 65535")
T.ok(whole(65536, 65536), "a datagram of 65536 bytes fits 65536")
T.ok(whole(65537, 65536), "a datagram of 65537 bytes is cut to 65536, as asked")
T.ok(whole(65537, 65537), "a datagram of 65537 bytes fits 65537")
T.ok(whole(150000, 65538), "a longer datagram is cut to 65538, as asked")
T.ok(whole(150000, 150000), "a datagram of 150000 bytes fits")
T.ok(whole(150000, 2^20), "and comes whole into a larger size")
a:close(); b:close()
local udp, udp_name = net.bound(L.AF_INET, L.SOCK_DGRAM)
for _, size in ipairs { 65507, 65536, 65537, 2^20 } do
  udp:sendto(bytes(65507), udp_name)
  local msg, from = udp:recvfrom(size)
  T.ok(msg == bytes(65507) and tostring(from) == tostring(udp_name), ("the longest UDP datagram fits %d"):format(size))
end
udp:close()

-- Resident memory, in KiB; nil where there is no /proc.
local function resident()
  local file = io.open "/proc/self/statm"
  if not file then return nil end
  local _, pages = file:read("*n", "*n")
  file:close()
  collectgarbage(); collectgarbage()
  return pages * 4
end

-- Address space, so that a buffer kept but never touched counts too.
local function space()
  local file = assert(io.open "/proc/self/statm")
  local pages = file:read "*n"
  file:close()
  return pages * 4
end

local function receive_large(times)
  local from, to = net.pair()
  from:sndbuf(2^20)
  local message, got = bytes(100000), 0
  for _ = 1, times do
    from:send(message)
    got = got + #to:recv(2^20)
  end
  from:close(); to:close()
  return got
end

if resident() then
  T.is(receive_large(100), 100 * 100000, "100 receives of up to 1 MiB")
  resident()
  local start = resident()
  T.is(receive_large(1000), 1000 * 100000, "1,000 more")
  resident()
  local grown = resident() - start
  T.ok(grown < 4096, "the process does not grow with them")
  if grown >= 4096 then print("# grew by KiB: " .. grown) end
  a, b = net.pair()
  a:send "x"
  local was = space()
  local ok = b:recv(2^30) == "x"
  T.ok(ok and space() - was < 65536 or not ok, "a buffer of 1 GiB is not kept")
  a:close(); b:close()
else
  T.skip(4, "no /proc/self/statm on this machine")
end

-- In a child whose address space is limited: ENOMEM, and life goes on.
local text, _, code = proc.run(shell.format([[(ulimit -v 600000 && %q -e "" || exit 77
%q - <<'END'
local L = require "llsocket"
local show = require("values").show
local socks = assert(L.socket.pair(L.SOCK_STREAM, true))
local a, b = socks[1], socks[2]
a:send "still here"
print(show(b:recv(2^31 - 1)))
print(show(b:recvfrom(2^31 - 1)))
for _ = 1, 2000 do b:recv(2^31 - 1) end
print(show(b:recvfrom(4096)))
END
)]], proc.luajit, proc.luajit))
local lines = {}
for line in text:gmatch "[^\n]+" do lines[#lines + 1] = line end
if code ~= 77 then
  T.is(lines[1], values.failed(L.ENOMEM), "recv: no memory is nil, err, false, ENOMEM")
  T.is(lines[2], values.failed_from(L.ENOMEM), "recvfrom: no memory is nil, nil, err, false, ENOMEM")
  T.is(lines[3], '"still here", nil, nil, false', "after it the message is still there")
else
  T.skip(3, "LuaJIT does not run under ulimit -v 600000 here: " .. text:gsub("\n", " "))
end

T.is(leak.count(), before, "no descriptor is left")
T.done()
