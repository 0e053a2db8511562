-- option: options that describe the other end: peercred, tcpinfo, unread and unsent, against known numbers and ss(8).
local ffi = require "ffi"
local L = require "llsocket"
local optionkind = require "llsocket.socket.optionkind"
local example = require "example"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local tcpinfo = require "tcpinfo"
local values = require "values"
local show, text = values.show, require("llsocket.errno").text
local before = leak.count()
local T = require("tap").plan(47)

ffi.cdef "uint32_t llsocket_t_real_uid(void) __asm__(\"getuid\"); uint32_t llsocket_t_real_gid(void) __asm__(\"getgid\");"
local pid, uid, gid = proc.getpid(), ffi.C.llsocket_t_real_uid(), ffi.C.llsocket_t_real_gid()

local function cred(sock)
  local ucred = assert(sock:peercred())
  return ("%d %d %d"):format(ucred.pid, ucred.uid, ucred.gid)
end

local function failed(e) return show(nil, text(e), e) end

-- peercred.
for _, kind in ipairs { "SOCK_STREAM", "SOCK_SEQPACKET", "SOCK_DGRAM" } do
  local a, b = net.pair(L[kind])
  T.is(cred(a), ("%d %d %d"):format(pid, uid, gid), kind .. ": the peer of a pair is this process")
  a:close(); b:close()
end
local listener, name = net.bound_at(net.places[4], L.SOCK_STREAM)
assert(not listener:listen())
local child = proc.fork(function()
  local sock = assert(L.socket.new(name))
  return not sock:connect() and sock:peercred().pid == pid and not sock:recv()
end)
local accepted = assert(listener:accept())
T.is(cred(accepted), ("%d %d %d"):format(child, uid, gid), "the peer of an accepted connection is who connected")
accepted:close(); listener:close()
T.is(show(proc.wait(child)), "0, 0", "and the peer of the connecting socket is the listener")
T.is(show(listener:peercred()), failed(L.EBADF), "peercred of a closed socket is EBADF")

-- unread and unsent.
local function counts(sock) return show(sock:unread()) .. " " .. show(sock:unsent()) end

local function settled(a, b, total)
  return net.await(function() return assert(a:unsent()) + assert(b:unread()) == total end)
end

for _, family in ipairs { L.AF_INET, L.AF_INET6 } do
  local title = family == L.AF_INET and "TCP over IPv4" or "TCP over IPv6"
  if not net.has(net.places[family == L.AF_INET and 1 or 2]) then T.skip(7, "no IPv6 here") else
    local a, b = net.tcp(family, true)
    T.is(counts(a) .. " " .. counts(b), "0 0 0 0", title .. ": nothing waits at first")
    a:send(("x"):rep(1000))
    T.ok(settled(a, b, 1000), title .. ": bytes that are not read are unread, or unsent")
    T.ok(net.await(function() return b:unread() == 1000 end), title .. ": 1,000 bytes are unread")
    b:recv(300)
    T.is(b:unread(), 700, title .. ": 300 read leave 700")
    local total = 700
    repeat
      local n = a:send(("y"):rep(65536))
      total = total + n
    until n == 0
    T.ok(settled(a, b, total), title .. ": with full buffers, unread and unsent are all that was sent")
    T.ok(a:unsent() > 0 and b:unread() > 700, title .. ": both ends hold some")
    while b:unread() > 0 or a:unsent() > 0 do b:recv(65536) end
    T.is(counts(a) .. " " .. counts(b), "0 0 0 0", title .. ": nothing waits when all is read")
    a:close(); b:close()
  end
end

local a, b = net.pair(L.SOCK_STREAM, true)
a:send(("x"):rep(100)); a:send(("x"):rep(23))
T.is(b:unread(), 123, "a unix stream: unread counts all bytes")
T.ok(a:unsent() >= 123, "a unix stream: unsent is memory that the peer still holds, no less than the bytes")
b:recv()
T.is(counts(a) .. " " .. counts(b), "0 0 0 0", "a unix stream: nothing waits when all is read")
a:close(); b:close()
a, b = net.pair(L.SOCK_DGRAM, true)
a:send(("x"):rep(100)); a:send(("x"):rep(23))
T.is(b:unread(), 100, "unix datagrams: unread is the length of the next")
b:recv()
T.is(b:unread(), 23, "and then of the one after it")
a:close(); b:close()
local udp, udp_name = net.bound(L.AF_INET, L.SOCK_DGRAM)
udp:sendto(("x"):rep(50), udp_name); udp:sendto("", udp_name)
T.is(udp:unread(), 50, "UDP: unread is the length of the next datagram")
udp:recv()
T.is(udp:unread(), 0, "UDP: an empty datagram has length 0")
T.is(udp:recv(), "", "though it waits")
udp:close()
local tcp = net.listener()
T.is(show(tcp:unread()), failed(L.EINVAL), "unread of a listening socket is EINVAL")
T.is(show(tcp:unsent()), failed(L.EINVAL), "unsent of a listening socket is EINVAL")
T.is(tcp:tcpinfo().state, 10, "tcpinfo of a listening socket: state is TCP_LISTEN")
tcp:close()

-- tcpinfo.
a, b = net.tcp()
a:send(("x"):rep(5000)); b:recv(5000, L.MSG_WAITALL)
b:send(("y"):rep(70)); a:recv(70, L.MSG_WAITALL)
net.await(function() return a:unsent() + b:unsent() == 0 end)
local info, back = assert(a:tcpinfo()), assert(b:tcpinfo())
T.is(info.state, 1, "an open connection: state is TCP_ESTABLISHED")
local known = info.snd_cwnd -- an emulator may cut the answer to four bytes
if not known then T.skip(4, "the kernel answers a tcp_info without tcpi_snd_cwnd") else
T.ok(info.rtt > 0 and info.rtt < 10e6 and info.rttvar >= 0, "rtt is measured, microseconds")
T.is(info.total_retrans, 0, "nothing is sent twice over the loopback")
T.is(info.unacked, 0, "nothing is unacknowledged")
T.ok(info.snd_mss > 500 and info.pmtu > info.snd_mss and info.snd_cwnd >= 1, "the sizes make sense")
end
local function later(field, what)
  if info[field] == nil then return T.skip(1, "this kernel has no tcpi_" .. field) end
  T.is(info[field] .. " " .. back[field], what, field .. " is known")
end
later("bytes_received", "70 5000"); later("bytes_sent", "5000 70"); later("bytes_acked", "5001 70"); later("bytes_retrans", "0 0")

local bytes = assert(a:getsockopt(L.IPPROTO_TCP, L.TCP_INFO, "bytes"))
local function expected(length)
  local n = 0
  for _, field in ipairs(tcpinfo.images "info") do if field.offset + #field.bytes <= length then n = n + 1 end end
  return n
end
local function members(t)
  local names = {}
  for key, value in pairs(t) do
    if type(value) ~= "number" then error(key) end
    names[#names + 1] = key
  end
  table.sort(names)
  return names
end
T.is(#members(info), expected(#bytes), ("the table has each field of the %d bytes that this kernel answers"):format(#bytes))
T.is(info.tcpi_rtt, nil, "and no name has its prefix")

-- Older kernels answer fewer bytes; so do other options.
a:linger(3)
local function short(level, opt) return table.concat(members(optionkind.KIND.tcpinfo.read(a:fd(), level, opt)), " ") end
local EIGHT = "backoff ca_state delivery_rate_app_limited fastopen_client_fail options probes rcv_wscale retransmits "
  .. "%ssnd_wscale state"
T.is(short(L.SOL_SOCKET, L.SO_TYPE), "ca_state probes retransmits state", "four bytes have four fields")
T.is(short(L.SOL_SOCKET, L.SO_LINGER), EIGHT:format "", "eight bytes have ten")
T.is(short(L.SOL_SOCKET, L.SO_PEERCRED), EIGHT:format "rto ", "twelve bytes have eleven")
a:linger(false)

-- The same as ss(8) reads over another way.
local function ss()
  if not example.has "ss" then return nil, "ss(8) is missing" end
  -- Another test's socket may have the same port, with another peer.
  local out, ok = proc.run(("ss -Htin sport = :%d and dport = :%d"):format(a:getsockname():port(), a:getpeername():port()))
  if not (ok and out:find "cwnd:") then return nil, "ss(8) tells nothing about TCP here" end
  return out
end
local FIELDS = { cwnd = "snd_cwnd", mss = "snd_mss", pmtu = "pmtu", rcvmss = "rcv_mss", advmss = "advmss",
  bytes_sent = "bytes_sent", bytes_acked = "bytes_acked", bytes_received = "bytes_received", segs_in = "segs_in" }
local told, why = ss()
if not told then T.skip(1, why) else
  local wrong, n = {}, 0
  info = a:tcpinfo()
  for word, field in pairs(FIELDS) do
    local value = tonumber(told:match("[%s]" .. word .. ":(%d+)"))
    n = n + (value and 1 or 0)
    if value and info[field] ~= value then wrong[#wrong + 1] = ("%s %s %s"):format(field, info[field], value) end
  end
  T.is(n >= 5 and table.concat(wrong, "; "), "", ("%d numbers are as ss(8) has them"):format(n))
end
a:close(); b:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
