-- option-input: getsockopt with input bytes for the kernel, 64-bit numbers, and descriptors with an owner.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local sys = require "sys"
local show = require("values").show
local text = require("llsocket.errno").text
local before = leak.count()
local N = 64
local T = require("tap").plan(N)

local function failed(e) return show(nil, text(e), e) end

local SOL = L.SOL_SOCKET
local tcp, udp = assert(L.socket.new(net.addr())), net.bound(L.AF_INET, L.SOCK_DGRAM)
local client, server = net.tcp()

-- The size alone.
T.is(#assert(tcp:getsockopt(SOL, L.SO_TYPE, "bytes", 4)), 4, "a buffer of the option's size is filled")
T.is(#assert(tcp:getsockopt(SOL, L.SO_TYPE, "bytes", 2)), 2, "a shorter one gets its beginning")
T.is(#assert(tcp:getsockopt(SOL, L.SO_TYPE, "bytes", 65536)), 4, "of the longest there is what the kernel wrote")
T.is(#assert(tcp:getsockopt(SOL, L.SO_TYPE, "bytes", "abcdefgh")), 4, "as of one that has something in it")
T.is(show(tcp:getsockopt(SOL, L.SO_TYPE, "int", 4)), "1", "an int may be asked for with its size")
T.is(show(tcp:getsockopt(SOL, L.SO_TYPE, "int", "\255\255\255\255")), "1", "or with four bytes")
T.is(show(tcp:getsockopt(SOL, L.SO_KEEPALIVE, "boolean", 4)), "false", "so may a boolean")
local time = ffi.sizeof(require("llsocket.core.layout").timeval)
tcp:rcvtimeo(1.5)
T.is(show(tcp:getsockopt(SOL, L.SO_RCVTIMEO, "seconds", time)), "1.5", "and seconds, with that of a struct timeval")
for kind, size in pairs { int = 5, boolean = 3, seconds = 4, uint64 = 4, descriptor = 4 } do
  T.is(show(tcp:getsockopt(SOL, L.SO_TYPE, kind, size)), failed(L.EINVAL), "another size than its own is EINVAL: " .. kind)
end
T.is(show(tcp:getsockopt(SOL, L.SO_TYPE, "bytes", ("x"):rep(65537))), failed(L.EINVAL), "more than 65,536 bytes are EINVAL")
T.is(show(tcp:getsockopt(SOL, L.SO_TYPE, "bytes", 65537)), failed(L.EINVAL), "so is a size above")
T.is(show(tcp:getsockopt(SOL, L.SO_TYPE, "bytes", -1)), failed(L.EINVAL), "one below 0")
T.is(show(tcp:getsockopt(SOL, L.SO_TYPE, "bytes", 1.5)), failed(L.EINVAL), "one that is no integer")
T.is(show(tcp:getsockopt(SOL, L.SO_TYPE, "Bytes", 4)), failed(L.EINVAL), "and an unknown kind")
for _, wrong in ipairs { true, {}, print, 8ULL } do
  local ok, why = pcall(tcp.getsockopt, tcp, SOL, L.SO_TYPE, "bytes", wrong)
  local want = ("bad argument #4 to 'getsockopt' (string or number expected, got %s)"):format(type(wrong))
  T.is(not ok and why:match "bad argument.*", want, "an input that is a " .. type(wrong) .. " raises")
end

local function linux(n, why, fn)
  if jit.os ~= "Linux" then why = "options of Linux" end
  if why then return T.skip(n, why) end
  fn()
end

-- SO_NETNS_COOKIE wants 8 bytes and nothing else; SO_COOKIE is 64 bits, too.
local COOKIE, NETNS = L.SO_COOKIE, L.SO_NETNS_COOKIE
linux(7, not (COOKIE and NETNS and tcp:getsockopt(SOL, NETNS, "bytes", 8)) and "no SO_NETNS_COOKIE", function()
  T.is(show(tcp:getsockopt(SOL, NETNS, "bytes")), failed(L.EINVAL), "SO_NETNS_COOKIE wants a buffer of 8 bytes")
  local bytes, number = tcp:getsockopt(SOL, NETNS, "bytes", 8), tcp:getsockopt(SOL, NETNS, "uint64")
  T.is(#bytes, 8, "which an input makes")
  T.is(ffi.istype("uint64_t", number), true, "a uint64 is a uint64_t")
  T.is(ffi.string(ffi.new("uint64_t[1]", number), 8), bytes, "of the same bytes")
  T.is(udp:getsockopt(SOL, NETNS, "uint64"), number, "and the same for another socket")
  T.ok(tcp:getsockopt(SOL, COOKIE, "uint64") ~= udp:getsockopt(SOL, COOKIE, "uint64"), "SO_COOKIE differs between two sockets")
  T.is(tcp:getsockopt(SOL, COOKIE, "uint64", 8), tcp:getsockopt(SOL, COOKIE, "uint64"), "a uint64 may be asked for with its size")
end)
T.is(tcp:getsockopt(SOL, L.SO_TYPE, "uint64"), 1ULL, "a shorter option is a uint64 as well")
T.is(show(tcp:getsockopt(SOL, -1, "uint64")), failed(L.ENOPROTOOPT), "what there is not is ENOPROTOOPT")

-- Setting 64 bits.
local PACING = L.SO_MAX_PACING_RATE
linux(7, not (PACING and ffi.abi "64bit" and tcp:setsockopt(SOL, PACING, "uint64", 1)) and "no SO_MAX_PACING_RATE", function()
  local rate = 12345678901ULL
  T.is(tcp:setsockopt(SOL, PACING, "uint64", rate), rate, "a uint64_t is set and answered")
  T.is(tcp:getsockopt(SOL, PACING, "uint64"), rate, "and read, all of it")
  T.is(show(tcp:setsockopt(SOL, PACING, "uint64", 2^33), tcp:getsockopt(SOL, PACING, "uint64") == 2ULL^33), show(2^33, true),
    "so is a Lua number")
  T.is(tcp:setsockopt(SOL, PACING, "uint64", 5LL), 5LL, "an int64_t is taken, too")
  local wrong = {}
  for _, value in ipairs { -1, 1.5, 2^53 + 2, 0 / 0, 1 / 0, -1LL } do
    if show(tcp:setsockopt(SOL, PACING, "uint64", value)) ~= failed(L.EINVAL) then wrong[#wrong + 1] = tostring(value) end
  end
  T.is(table.concat(wrong, " "), "", "a number that does not fit into 64 bits is EINVAL")
  T.is(tcp:getsockopt(SOL, PACING, "uint64"), 5ULL, "and changes nothing")
  local ok, why = pcall(tcp.setsockopt, tcp, SOL, PACING, "uint64", "1")
  T.is(not ok and why:match "bad argument.*", "bad argument #4 to 'setsockopt' (uint64_t or number expected, got string)",
    "a string raises")
end)

-- Options that read the buffer first.
local group, lo = "239.255.1.7", require("llsocket.device").of(L.AF_INET, "127.0.0.1")
local joined = L.IP_MSFILTER and lo and not udp:mcastjoinsrc(group, "127.0.0.1", lo)
linux(4, not joined and "no IP_MSFILTER here", function()
  local filter_t = ffi.typeof "struct { uint8_t group[4], interface[4]; uint32_t mode, count; uint8_t sources[4]; }"
  local filter = filter_t({ 239, 255, 1, 7 }, { 127, 0, 0, 1 }, 0, 1)
  local bytes = udp:getsockopt(L.IPPROTO_IP, L.IP_MSFILTER, "bytes", ffi.string(filter, ffi.sizeof(filter)))
  T.is(bytes and #bytes, 20, "IP_MSFILTER reads the group and answers its filter")
  ffi.copy(filter, bytes or "", bytes and #bytes or 0)
  T.is(show(filter.mode, filter.count), "1, 1", "one source is let in")
  T.is(ffi.string(filter.sources, 4), "\127\0\0\1", "the one that was joined")
  T.is(show(udp:getsockopt(L.IPPROTO_IP, L.IP_MSFILTER, "bytes")), failed(L.EINVAL), "without it there is no such group")
end)

-- MPTCP_TCPINFO reads how much is wanted of each subflow.
local SOL_MPTCP, TCPINFO, MPTCP = 284, 2, 262
local end_ai = assert(L.addrinfo.new(net.addr():bytes(), L.SOCK_STREAM, MPTCP))
local listener = L.socket.new(end_ai)
local subflow = listener and not listener:bind() and not listener:listen()
  and L.socket.new(assert(L.addrinfo.new(listener:getsockname():bytes(), L.SOCK_STREAM, MPTCP)))
local connected = subflow and not subflow:connect()
local wanted = ffi.new "struct { uint32_t size_head, subflows, size_kernel, size_user; uint8_t info[232]; }"
wanted.size_head, wanted.size_user = 16, 232
linux(2, not connected and "no MPTCP here", function()
  local bytes, err = subflow:getsockopt(SOL_MPTCP, TCPINFO, "bytes", ffi.string(wanted, ffi.sizeof(wanted)))
  T.is(bytes and #bytes or err, ffi.sizeof(wanted), "MPTCP_TCPINFO answers one subflow")
  T.is(show(subflow:getsockopt(SOL_MPTCP, TCPINFO, "bytes")), failed(L.EINVAL), "and EINVAL to zeroes")
end)
if listener then listener:close() end
if subflow then subflow:close() end

-- What an option read before left in the buffer another one does not find.
local ZEROCOPY = 35 -- TCP_ZEROCOPY_RECEIVE
linux(3, not client:getsockopt(L.IPPROTO_TCP, ZEROCOPY, "bytes", 64) and "no TCP_ZEROCOPY_RECEIVE", function()
  T.is(#client:getsockopt(L.IPPROTO_TCP, ZEROCOPY, "bytes"), 64, "TCP_ZEROCOPY_RECEIVE answers 64 bytes")
  client:tcpinfo()
  T.is(#(client:getsockopt(L.IPPROTO_TCP, ZEROCOPY, "bytes") or ""), 64, "after another option has used the buffer, too")
  client:getsockopt(L.IPPROTO_TCP, L.TCP_INFO, "bytes", ("\255"):rep(300))
  T.is(#(client:getsockopt(L.IPPROTO_TCP, ZEROCOPY, "bytes", 64) or ""), 64, "and after an input that fills it")
end)

-- SO_PEERPIDFD makes a descriptor.
local PEERPIDFD = L.SO_PEERPIDFD or 77
local a, b = net.pair()
linux(12, not a:getsockopt(SOL, PEERPIDFD, "descriptor") and "no SO_PEERPIDFD", function()
  local object = assert(a:getsockopt(SOL, PEERPIDFD, "descriptor"))
  T.is(tostring(object), "llsocket.descriptor: fd " .. object:fd(), "SO_PEERPIDFD is an object")
  T.is(sys.is_cloexec(object:fd()), true, "close-on-exec")
  T.is(object:close(), nil, "that closes")
  local count = leak.count()
  for _ = 1, 20 do assert(a:getsockopt(SOL, PEERPIDFD, "descriptor")) end
  T.is(leak.count(), count, "and is closed when it is collected")
  T.is(proc.wait(proc.fork(function()
    sys.limit_descriptors(64)
    for _ = 1, 2000 do assert(a:getsockopt(SOL, PEERPIDFD, "descriptor")) end
  end)), 0, "2,000 of them work with 64 descriptors")
  T.is(proc.wait(proc.fork(function()
    sys.limit_descriptors(64)
    local kept, err, e = {}
    repeat
      kept[#kept + 1], err, e = a:getsockopt(SOL, PEERPIDFD, "descriptor")
    until err
    return e == L.EMFILE and type(err) == "string"
  end)), 0, "if no descriptor is free it is EMFILE")
  local shut = assert(a:getsockopt(SOL, PEERPIDFD, "descriptor"))
  shut:close()
  local ATTACH = L.SO_ATTACH_BPF or 50
  T.is(show(b:setsockopt(SOL, ATTACH, "descriptor", shut)), failed(L.EBADF), "a closed one is EBADF to setsockopt")
  T.is(show(b:setsockopt(SOL, ATTACH, "descriptor", -1)), failed(L.EBADF), "so is a number below 0")
  T.is(show(b:setsockopt(SOL, ATTACH, "descriptor", 1.5)), failed(L.EINVAL), "no integer is EINVAL")
  T.is(show(b:setsockopt(SOL, ATTACH, "descriptor", a)), failed(L.EINVAL), "a socket is no program, says the kernel")
  T.is(show(b:setsockopt(SOL, ATTACH, "descriptor", a:fd())), failed(L.EINVAL), "nor by its number")
  local ok, why = pcall(b.setsockopt, b, SOL, ATTACH, "descriptor", io.stdout)
  T.is(not ok and why:match "bad argument.*",
    "bad argument #4 to 'setsockopt' (number, socket or descriptor expected, got userdata)", "another type raises")
end)

for _, sock in ipairs { tcp, udp, client, server, a, b } do sock:close() end
T.is(show(tcp:getsockopt(SOL, L.SO_TYPE, "uint64")), failed(L.EBADF), "a closed socket is EBADF")
T.is(show(tcp:getsockopt(SOL, L.SO_TYPE, "bytes", 4)), failed(L.EBADF), "with an input, too")
T.is(show(tcp:getsockopt(SOL, L.SO_TYPE, "descriptor")), failed(L.EBADF), "and as a descriptor")
T.is(show(tcp:setsockopt(SOL, L.SO_TYPE, "uint64", 1)), failed(L.EBADF), "also to set")
T.is(leak.count(), before, "no descriptor is left")
T.done()
