-- option: the ends of each range, time-outs and their rounding, linger, and the kinds of getsockopt and setsockopt.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local signature = require "signature"
local pack, line, failure = signature.pack, signature.line, signature.failure

local before = leak.count()
local tcp = assert(L.socket.new(net.addr()))
local udp = assert(L.socket.new(net.addr(L.AF_INET, L.SOCK_DGRAM)))
local udp6 = L.socket.new(net.addr(L.AF_INET6, L.SOCK_DGRAM))

-- method, value, what it then reads (nil: the kernel refuses with EINVAL).
local EDGES = {
  { tcp, "tcpkeepalive", 1, 1 }, { tcp, "tcpkeepalive", 32767, 32767 },
  { tcp, "tcpkeepalive", 0 }, { tcp, "tcpkeepalive", 32768 }, { tcp, "tcpkeepalive", 2^31 - 1 },
  { tcp, "tcpkeepintvl", 1, 1 }, { tcp, "tcpkeepintvl", 32767, 32767 },
  { tcp, "tcpkeepintvl", 0 }, { tcp, "tcpkeepintvl", 32768 },
  { tcp, "tcpkeepcnt", 1, 1 }, { tcp, "tcpkeepcnt", 127, 127 }, { tcp, "tcpkeepcnt", 0 }, { tcp, "tcpkeepcnt", 128 },
  { tcp, "rcvlowat", 0, 1 }, { tcp, "rcvlowat", 1, 1 }, { udp, "rcvlowat", 2^31 - 1, 2^31 - 1 },
  { tcp, "linger", 0, 0 }, { tcp, "linger", 1, 1 }, { tcp, "linger", 65535, 65535 }, { tcp, "linger", 2^31 - 1, 2^31 - 1 },
  { tcp, "linger", false, false },
  { udp, "mcastttl", 0, 0 }, { udp, "mcastttl", 255, 255 }, { udp, "mcastttl", 256 }, { udp, "mcastttl", -1 },
  { udp6, "mcastttl", 0, 0 }, { udp6, "mcastttl", 255, 255 }, { udp6, "mcastttl", 256 }, { udp6, "mcastttl", -1 },
}

-- What a time-out reads: as set, or up to one tick of the slowest clock more.
local TICK = 0.01
local SECONDS = {
  { 0.9999999, 1, 1 }, { 1.9999999, 2, 2 }, { 1e-7, 1e-6, TICK }, { 1e-300, 1e-6, TICK }, { 1e-6, 1e-6, TICK },
  { 0.0005, 0.0005, TICK }, { 0.25, 0.25, 0.25 + TICK }, { 1.5, 1.5, 1.5 }, { 86400.5, 86400.5, 86400.5 },
  { 2^31 - 1, 2^31 - 1, 2^31 - 1 }, { 0, 0, 0 }, { -0.0, 0, 0 },
}
local NO_SECONDS = { 0 / 0, math.huge, -math.huge, -1, -1e-9, -2^63, 2^63 }

local T = require("tap").plan(#EDGES + 2 * (#SECONDS + #NO_SECONDS) + 51)

for _, case in ipairs(EDGES) do
  local sock, name, value, reads = unpack(case, 1, 4)
  local title = ("%s(%s)"):format(name, tostring(value))
  local function set_and_read() return line(pack(sock[name](sock, value))) .. "; " .. line(pack(sock[name](sock))) end
  if not sock then
    T.skip(1, "no IPv6")
  elseif reads == nil then
    local was = line(pack(sock[name](sock)))
    T.is(set_and_read(), failure("object", L.EINVAL) .. "; " .. was, title .. " is EINVAL and changes nothing")
  else
    T.is(set_and_read(), tostring(value) .. "; " .. tostring(reads), title .. " reads " .. tostring(reads))
  end
end

-- The kernel bounds a buffer, and tells what it took.
for _, name in ipairs { "rcvbuf", "sndbuf" } do
  T.is(udp[name](udp, 0), 0, name .. "(0) answers the value given")
  local least = udp[name](udp)
  T.ok(least > 0, name .. " then reads the least that the kernel allows")
  T.is(udp[name](udp, 2^31 - 1), 2^31 - 1, name .. "(2^31-1) answers the value given")
  T.ok(udp[name](udp) > least, name .. " then reads more")
  local was = udp[name](udp)
  T.is(line(pack(udp[name](udp, -1))), failure("object", L.EINVAL), name .. "(-1) is EINVAL")
  T.is(udp[name](udp), was, "and does not make it the maximum")
end

for _, name in ipairs { "rcvtimeo", "sndtimeo" } do
  for _, case in ipairs(SECONDS) do
    local value, least, most = unpack(case)
    tcp[name](tcp, 7)
    local answer, reads = tcp[name](tcp, value), tcp[name](tcp)
    T.ok(answer == value and reads >= least and reads <= most, ("%s(%.17g) reads %.17g"):format(name, value, reads))
  end
  tcp[name](tcp, 7)
  for _, value in ipairs(NO_SECONDS) do
    local got = line(pack(tcp[name](tcp, value))) .. "; " .. tcp[name](tcp)
    T.is(got, failure("object", L.EINVAL) .. "; 7", ("%s(%g) is EINVAL and changes nothing"):format(name, value))
  end
end

-- linger, and what 0 does to the peer.
T.is(L.socket.new(net.addr()):linger(), false, "linger reads false on a new socket")
local client, server = net.tcp()
client:linger(0)
client:close()
T.is(select(4, server:recv()), L.ECONNRESET, "close with linger(0) resets the connection")
server:close()
client, server = net.tcp()
client:linger(0)
client:linger(false)
client:close()
T.is(select("#", server:recv()), 0, "close after linger(false) ends it in order")
server:close()

-- Each kind of getsockopt and setsockopt.
local function set(sock, ...) return line(pack(sock:setsockopt(...))) end
local function get(sock, ...) return line(pack(sock:getsockopt(...))) end
local SOL, TCP = L.SOL_SOCKET, L.IPPROTO_TCP

T.is(get(tcp, SOL, L.SO_TYPE, "int"), tostring(L.SOCK_STREAM), "an int is read")
T.is(set(tcp, TCP, L.TCP_KEEPCNT, "int", 5) .. tcp:tcpkeepcnt(), "55", "an int is set")
T.is(set(tcp, TCP, L.TCP_NODELAY, "boolean", true), "true", "a boolean is set")
T.is(get(tcp, TCP, L.TCP_NODELAY, "boolean"), "true", "and read")
T.is(set(tcp, TCP, L.TCP_NODELAY, "boolean", false) .. get(tcp, TCP, L.TCP_NODELAY, "int"), "false0", "false is 0")
T.is(set(tcp, SOL, L.SO_RCVTIMEO, "seconds", 1.5), "1.5", "seconds are set")
T.is(get(tcp, SOL, L.SO_RCVTIMEO, "seconds"), "1.5", "and read")
T.is(set(tcp, SOL, L.SO_RCVTIMEO, "seconds", 0 / 0), failure("object", L.EINVAL), "seconds that are no number are EINVAL")

local linger = tcp:getsockopt(SOL, L.SO_LINGER, "bytes")
T.is(#linger, 8, "the string has as many bytes as the kernel wrote")
tcp:linger(9)
linger = tcp:getsockopt(SOL, L.SO_LINGER, "bytes")
tcp:linger(false)
T.is(tcp:setsockopt(SOL, L.SO_LINGER, "bytes", linger) == linger and tcp:linger(), 9, "bytes are set, NULs included")
T.is(set(tcp, SOL, L.SO_LINGER, "bytes", ""), failure("object", L.EINVAL), "too few bytes are the kernel's to refuse")

local WRONG = {
  { "int", "1", "number" }, { "boolean", 1, "boolean" }, { "boolean", nil, "boolean" }, { "seconds", true, "number" },
  { "seconds", nil, "number" }, { "string", 5, "string" }, { "string", nil, "string" }, { "bytes", {}, "string" },
}
local out = {}
for _, case in ipairs { 1, 2, 3, 4, 5, 6, 7, 8 } do
  local kind, value, expected = unpack(WRONG[case], 1, 3)
  local _, why = pcall(function() local v = tcp:setsockopt(SOL, L.SO_KEEPALIVE, kind, value); return v end)
  local want = ("bad argument #4 to 'setsockopt' (%s expected, got %s)"):format(expected, type(value))
  if tostring(why):match ":%d+: (.*)" ~= want then out[#out + 1] = kind .. ": " .. tostring(why) end
end
T.is(table.concat(out, "; "), "", "a value of the wrong type for its kind raises")

out = {}
for _, value in ipairs { 2^32, 2^32 + 1, -2^31 - 1, 0 / 0, 1.5, math.huge } do
  if set(tcp, SOL, L.SO_KEEPALIVE, "int", value) ~= failure("object", L.EINVAL) then out[#out + 1] = tostring(value) end
end
T.is(table.concat(out, " "), "", "an int of more than 32 bits, or none, is EINVAL")

out = {}
for _, kind in ipairs { "", "Int", "linger", "count", "byte", "hops", "number", "int\0" } do
  if get(tcp, SOL, L.SO_KEEPALIVE, kind) ~= failure("object", L.EINVAL) then out[#out + 1] = "get " .. kind end
  if set(tcp, SOL, L.SO_KEEPALIVE, kind, 1) ~= failure("object", L.EINVAL) then out[#out + 1] = "set " .. kind end
end
T.is(table.concat(out, " "), "", "an unknown kind is EINVAL")

-- Linux: options that are strings, and a mark of 32 bits.
local NEEDS = { [failure("object", L.EPERM)] = "not allowed here" }

local function linux(n, why, fn)
  if why then return T.skip(n, why) end
  fn()
end

linux(4, not L.TCP_CONGESTION and "no TCP_CONGESTION", function()
  T.is(set(tcp, TCP, L.TCP_CONGESTION, "string", "reno"), '"reno"', "a string is set")
  T.is(get(tcp, TCP, L.TCP_CONGESTION, "string"), '"reno"', "and read up to its NUL")
  T.is(set(tcp, TCP, L.TCP_CONGESTION, "string", "nosuchone"), failure("object", L.ENOENT), "the kernel refuses a wrong one")
  T.is(set(tcp, TCP, L.TCP_CONGESTION, "string", "reno\0x"), failure("object", L.EINVAL), "a NUL inside a string is EINVAL")
end)

local bound = L.SO_BINDTODEVICE and set(udp, SOL, L.SO_BINDTODEVICE, "string", "lo")
linux(3, not L.SO_BINDTODEVICE and "no SO_BINDTODEVICE" or NEEDS[bound], function()
  T.is(bound, '"lo"', "SO_BINDTODEVICE takes a string")
  T.is(get(udp, SOL, L.SO_BINDTODEVICE, "string"), '"lo"', "and tells it")
  T.is(set(udp, SOL, L.SO_BINDTODEVICE, "string", "nosuchdevice"), failure("object", L.ENODEV), "an unknown device is ENODEV")
end)
local freed = L.SO_BINDTODEVICE and set(udp, SOL, L.SO_BINDTODEVICE, "string", "")
linux(1, not L.SO_BINDTODEVICE and "no SO_BINDTODEVICE" or NEEDS[freed], function()
  T.is(get(udp, SOL, L.SO_BINDTODEVICE, "string"), '""', "the empty string frees it")
end)

-- Of an option that is shorter than its kind the rest is 0, not what was read before.
linux(3, not L.SO_BINDTODEVICE and "no SO_BINDTODEVICE", function()
  tcp:rcvtimeo(12.5)
  local function short(kind) return tcp:rcvbuf() > 0 and tcp:rcvtimeo() == 12.5 and get(tcp, SOL, L.SO_BINDTODEVICE, kind) end
  T.is(short "int", "0", "an option of no byte is 0 as an int")
  T.is(short "seconds", "0", "and as seconds")
  T.is(short "boolean", "false", "and false as a boolean")
end)

-- SO_GET_FILTER counts instructions of 8 bytes, whatever room it is given.
local FILTER = L.SO_GET_FILTER or L.SO_ATTACH_FILTER
local PROGRAM = ffi.new("struct { uint16_t code; uint8_t yes, no; uint32_t k; }[4]",
  { { 0x20, 0, 0, 0 }, { 0x20, 0, 0, 4 }, { 0x20, 0, 0, 8 }, { 0x06, 0, 0, 0xffff } })
local fprog = ffi.new "struct { uint16_t length; void *program; }"
fprog.length, fprog.program = 4, PROGRAM
linux(4, not FILTER and "no SO_GET_FILTER", function()
  T.is(get(udp, SOL, FILTER, "bytes"), '""', "a socket without a filter has no byte of one")
  assert(udp:setsockopt(SOL, L.SO_ATTACH_FILTER, "bytes", ffi.string(fprog, ffi.sizeof(fprog))))
  T.is(udp:getsockopt(SOL, FILTER, "bytes"), ffi.string(PROGRAM, 32), "a filter is read whole as bytes")
  local refused = {}
  for _, kind in ipairs { "int", "seconds", "boolean", "string" } do
    if get(udp, SOL, FILTER, kind) == failure("object", L.EINVAL) then refused[#refused + 1] = kind end
  end
  T.is(table.concat(refused, " "), "int seconds boolean string", "and EINVAL as any other kind")
  collectgarbage()
  T.is(line(pack(udp:rcvtimeo(), udp:linger(), udp:rcvbuf() > 0)), "0, false, true", "which spoils nothing")
end)

local marked = L.SO_MARK and set(udp, SOL, L.SO_MARK, "int", 2^32 - 1)
linux(4, not L.SO_MARK and "no SO_MARK" or NEEDS[marked], function()
  T.is(marked, tostring(2^32 - 1), "SO_MARK takes a word without sign, and answers it")
  T.is(get(udp, SOL, L.SO_MARK, "bytes"), '"\255\255\255\255"', "the kernel got all 32 bits")
  T.is(set(udp, SOL, L.SO_MARK, "int", 1) .. set(udp, SOL, L.SO_MARK, "int", -1), "1-1", "SO_MARK takes a word with sign")
  T.is(get(udp, SOL, L.SO_MARK, "bytes"), '"\255\255\255\255"', "which is the same to the kernel")
end)

T.ok(not pcall(tcp.setsockopt, tcp, 1.5, L.TCP_NODELAY, "boolean", "yes"), "a wrong type raises beside an impossible level")
T.ok(not pcall(L.socket.pair, 1.5, false, "0"), "and beside an impossible socket type")

tcp:close(); udp:close()
if udp6 then udp6:close() end
T.is(leak.count(), before, "no descriptor is left")
T.done()
