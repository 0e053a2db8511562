-- tcpinfo-kernel: tcpinfo and tcpccinfo of real connections, against python3 and ss(8); congestions against the kernel's list.
local ffi = require "ffi"
local L = require "llsocket"
local tcpinfo = require "llsocket.socket.tcpinfo"
local example = require "example"
local leak = require "leak"
local lib = require "tcpinfo"
local net = require "net"
local netns = require "netns"
local proc = require "proc"
local shell = require "shell"
local sys = require "sys"
local values = require "values"
local show, text = values.show, require("llsocket.errno").text
local before = leak.count()
local PLAN = 35
local T = require("tap").plan(PLAN)

local function failed(e) return show(nil, text(e), e) end

local probe, far = net.tcp()
local length = #(probe:getsockopt(L.IPPROTO_TCP, L.TCP_INFO or 0, "bytes") or "")
probe:close(); far:close()
if length < 232 then
  T.skip(PLAN, ("this kernel answers %d bytes of TCP_INFO"):format(length))
  T.done()
end

-- A connection whose ends scale their windows differently.
local own, no_namespace = netns.enter()
if own then netns.ip "link set lo up" end
local function connection()
  local listener, name = net.listener()
  listener:rcvbuf(4096)
  local client = assert(L.socket.new(name))
  assert(not client:connect())
  local server = assert(listener:accept())
  listener:close()
  return client, server
end
local function settled(a, b)
  net.await(function() return a:unsent() + b:unsent() == 0 end)
end

local a, b = connection()
a:send(("x"):rep(3000)); b:recv(3000, L.MSG_WAITALL)
b:send(("y"):rep(70)); a:recv(70, L.MSG_WAITALL)
settled(a, b)
local info, back = a:tcpinfo(), b:tcpinfo()
T.is(("%d %d"):format(info.snd_wscale, info.rcv_wscale), ("%d %d"):format(back.rcv_wscale, back.snd_wscale),
  "each end sends with the other's scale")
T.ok(info.snd_wscale < info.rcv_wscale, "a small buffer has a small scale")
T.ok(info.rcv_wnd == nil or info.rcv_wnd > 0, "a field younger than Debian 12's headers is told")

-- A caller's table.
local mine = { other = "kept", rtt = "stale" }
T.ok(a:tcpinfo(mine) == mine, "the caller's table is filled and answered")
T.is(show(mine.other, type(mine.rtt), mine.state), '"kept", "number", 1', "with what a new one would have, and what it had")
local function keys(t)
  local out = {}
  for name in pairs(t) do out[#out + 1] = name end
  table.sort(out)
  return table.concat(out, " ")
end
mine.other = nil
T.is(keys(mine), keys(info), "and no other field")
local function garbage()
  for _ = 1, 200 do a:tcpinfo(mine) end
  collectgarbage(); collectgarbage "stop"
  local start = collectgarbage "count"
  for _ = 1, 100 do a:tcpinfo(mine) end
  local used = collectgarbage "count" - start
  collectgarbage "restart"
  return used * 1024 / 100
end
local least = math.huge
for _ = 1, 5 do least = math.min(least, garbage()) end
T.ok(least < 1, "without garbage")
local untouched = {}
T.is(show(net.bound(L.AF_INET, L.SOCK_DGRAM):tcpinfo(untouched)), failed(L.EOPNOTSUPP), "datagrams: EOPNOTSUPP")
T.is(next(untouched), nil, "and the table is as it was")
for _, wrong in ipairs { 1, "x", true, print } do
  local _, why = pcall(function() a:tcpinfo(wrong) end)
  T.is(why:gsub("^.-:%d+: ", ""), ("bad argument #1 to 'tcpinfo' (table expected, got %s)"):format(type(wrong)),
    "a " .. type(wrong) .. " raises")
end

-- A table that calls tcpinfo itself when it is filled.
local nested, inner = {}, nil
setmetatable(nested, { __newindex = function(t, name, value)
  inner = b:tcpinfo()
  rawset(t, name, value)
end })
a:tcpinfo(nested)
T.is(("%d %d"):format(nested.bytes_sent, inner.bytes_sent), "3000 70", "a call inside another has its own bytes")
T.ok(not pcall(a.tcpinfo, a, setmetatable({}, { __newindex = function() error "no" end })), "an error of the table is raised")
T.is(a:tcpinfo().bytes_sent, 3000, "after which tcpinfo works as before")

-- The same bytes, and the same socket, read by python3.
local NAMES = {}
for _, image in ipairs(lib.images "info") do
  if image.offset + #image.bytes <= length then NAMES[#NAMES + 1] = image.name end
end
local SCRIPT = [[
import socket, struct, sys
data = bytes.fromhex(sys.argv[2]) if len(sys.argv) > 2 else socket.socket(fileno=int(sys.argv[1])).getsockopt(6, 11, 512)
little = sys.byteorder == "little"
u8 = struct.unpack_from("=8B", data)
low, high = (lambda x, n: x & (1 << n) - 1), (lambda x, n: x >> n)
scales = (u8[6] & 15, u8[6] >> 4) if little else (u8[6] >> 4, u8[6] & 15)
limits = (u8[7] & 1, u8[7] >> 1 & 3) if little else (u8[7] >> 7, u8[7] >> 5 & 3)
out = list(u8[:6]) + list(scales) + list(limits)
for at, form in ((8, "24I"), (104, "4Q"), (136, "6I"), (160, "4Q"), (192, "2I"), (200, "2Q"), (216, "4I"),
    (232, "2I"), (240, "2HI"), (248, "7I"), (276, "2H")):
    if at + struct.calcsize("=" + form) <= len(data): out += struct.unpack_from("=" + form, data, at)
print(" ".join(str(n) for n in out))
]]
local dir = net.tmpdir()
local script = dir .. "/info.py"
local file = assert(io.open(script, "w"))
file:write(SCRIPT)
file:close()
local function python(arguments)
  local out, ok = proc.run(shell.format("python3 %q ", script) .. arguments)
  if not ok then return nil, out end
  local list = {}
  for number in out:gmatch "%d+" do list[#list + 1] = tonumber(number) end
  local named = {}
  for i, number in ipairs(list) do named[NAMES[i] or i] = number end
  return named
end
local function differences(ours, theirs, names)
  local out = {}
  for _, name in ipairs(names) do
    if ours[name] ~= theirs[name] then out[#out + 1] = ("%s %s %s"):format(name, tostring(ours[name]), tostring(theirs[name])) end
  end
  return table.concat(out, "; ")
end
local STABLE = {}
for word in ([[state ca_state retransmits probes backoff options snd_wscale rcv_wscale delivery_rate_app_limited
  fastopen_client_fail rto snd_mss rcv_mss unacked sacked lost retrans pmtu rcv_ssthresh rtt rttvar snd_ssthresh snd_cwnd
  advmss reordering rcv_space total_retrans pacing_rate max_pacing_rate bytes_acked bytes_received segs_out segs_in
  notsent_bytes min_rtt data_segs_in data_segs_out delivery_rate busy_time delivered bytes_sent bytes_retrans snd_wnd]])
  :gmatch "%S+" do STABLE[#STABLE + 1] = word end
local has_python = example.has "python3"
local no_python = not has_python and "there is no python3" or lib.kernel >= 0x700 and "the script knows 6.19 and older"
if no_python then T.skip(2, no_python) else
  local bytes = a:getsockopt(L.IPPROTO_TCP, L.TCP_INFO, "bytes")
  local words = ffi.new "uint32_t[128]"
  ffi.copy(words, bytes, #bytes)
  local read = tcpinfo.read_fields(tcpinfo.plan_of("info", #bytes, lib.kernel), words, {})
  local hex = bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end)
  T.is(differences(read, assert(python("0 " .. hex)), NAMES), "",
    ("python3 reads the same %d fields of these bytes"):format(#NAMES))
  local fd = sys.copy(a:fd(), 10) -- it goes to the child, which a:fd() does not
  local theirs = assert(python(tostring(fd)))
  sys.close(fd)
  T.is(differences(a:tcpinfo(), theirs, STABLE), "", "and the same of this socket, where nothing changes meanwhile")
end

-- As ss(8) has them.
local function ss(sock)
  if not example.has "ss" then return nil, "ss(8) is missing" end
  local out, ok = proc.run(("ss -Htin sport = :%d and dport = :%d"):format(sock:getsockname():port(), sock:getpeername():port()))
  if not (ok and out:find "cwnd:") then return nil, "ss(8) tells nothing about TCP here" end
  return out
end
local WORDS = { mss = "snd_mss", pmtu = "pmtu", rcvmss = "rcv_mss", advmss = "advmss", cwnd = "snd_cwnd",
  bytes_sent = "bytes_sent", bytes_acked = "bytes_acked", bytes_received = "bytes_received", segs_out = "segs_out",
  segs_in = "segs_in", data_segs_out = "data_segs_out", data_segs_in = "data_segs_in", delivered = "delivered",
  rcv_space = "rcv_space", rcv_ssthresh = "rcv_ssthresh", snd_wnd = "snd_wnd" }
local function told_by_ss(told)
  local wrong, n = {}, 0
  for word, field in pairs(WORDS) do
    local value = tonumber(told:match("%s" .. word .. ":(%d+)"))
    n = n + (value and 1 or 0)
    if value and info[field] ~= value then wrong[#wrong + 1] = ("%s %s %s"):format(field, info[field], value) end
  end
  T.is(n >= 12 and table.concat(wrong, "; "), "", ("%d numbers are as ss(8) has them"):format(n))
  T.is(told:match "wscale:(%d+,%d+)", ("%d,%d"):format(info.snd_wscale, info.rcv_wscale), "and so are the scales")
  T.is(told:find "app_limited" ~= nil, info.delivery_rate_app_limited == 1,
    "and whether the program limits the rate")
  T.is(("%.3g"):format(info.rtt / 1000), ("%.3g"):format(tonumber(told:match "%srtt:([%d.]+)")), "and the round trip time")
end
info = a:tcpinfo()
local told, why = ss(a)
if not told then T.skip(4, why) else told_by_ss(told) end

-- Fast open without a cookie.
local function fastopen()
  local listener, name = net.listener()
  local c = assert(L.socket.new(name))
  c:tcpfastopenconnect(true)
  local err = c:connect()
  assert(not err, err)
  c:send "x"
  local d = listener:accept()
  d:recv()
  local reason = c:tcpinfo().fastopen_client_fail
  for _, sock in ipairs { c, d, listener } do sock:close() end
  return reason
end
if not own then T.skip(1, no_namespace) else
  T.is(fastopen(), 1, "fastopen_client_fail: there is no cookie yet")
end

-- Accurate ECN, which 6.18 has.
local function ecn()
  if not own then return no_namespace end
  if not info.received_ce then return "this kernel tells no received_ce" end
  for name, value in pairs { tcp_ecn = 3, tcp_ecn_option = 2 } do
    local out = io.open("/proc/sys/net/ipv4/" .. name, "w")
    if not (out and out:write(value) and out:close()) then return ("net.ipv4.%s cannot be %d here"):format(name, value) end
  end
end
local no_ecn = ecn()
if no_ecn then T.skip(2, no_ecn) else
  local c, d = connection()
  c:send(("z"):rep(1000)); d:recv(1000, L.MSG_WAITALL)
  d:send "back"; c:recv()
  settled(c, d)
  local ours, theirs = c:tcpinfo(), d:tcpinfo()
  T.ok(ours.delivered_e0_bytes + ours.delivered_e1_bytes + ours.delivered_ce_bytes >= 0 and theirs.received_e0_bytes
    + theirs.received_e1_bytes > 0, "accurate ECN: the receiver counts the bytes that are marked")
  T.ok(ours.accecn_fail_mode == 0 and ours.accecn_opt_seen > 0, "its option was seen, and nothing fails")
  c:close(); d:close()
end

-- Congestion controls.
local list = assert(L.socket.congestions())
local proc_file = assert(io.open "/proc/sys/net/ipv4/tcp_available_congestion_control")
T.is(table.concat(list, " "), proc_file:read "*l", "congestions answers the names of the kernel's list")
proc_file:close()
local wrong = {}
for _, name in ipairs(list) do
  if a:tcpcongestion(name) ~= name or a:tcpccinfo().congestion ~= name then wrong[#wrong + 1] = name end
end
T.is(table.concat(wrong, " "), "", "each of which can be set, and is told by tcpccinfo")
a:tcpcongestion "reno"
T.is(keys(a:tcpccinfo()), "congestion", "reno tells nothing else")
local function has(name)
  for _, other in ipairs(list) do if other == name then return true end end
end
if not (has "bbr" and told) then T.skip(2, "there is no bbr, or no ss(8)") else
  a:tcpcongestion "bbr"
  a:send "more"; b:recv()
  settled(a, b)
  local cc = a:tcpccinfo()
  T.is(keys(cc), "bw congestion cwnd_gain min_rtt pacing_gain", "bbr tells four numbers")
  local mrtt, pacing, cwnd = ss(a):match "bbr:%(bw:[^,]*,mrtt:([%d.]+),pacing_gain:([%d.]+),cwnd_gain:([%d.]+)"
  T.is(("%g %.4g %.4g"):format(cc.min_rtt / 1000, cc.pacing_gain / 256, cc.cwnd_gain / 256),
    ("%g %.4g %.4g"):format(tonumber(mrtt), tonumber(pacing), tonumber(cwnd)), "as ss(8) has them")
end
local udp = net.bound(L.AF_INET, L.SOCK_DGRAM)
T.is(show(udp:tcpccinfo()), failed(L.EOPNOTSUPP), "of datagrams: EOPNOTSUPP")
udp:close()
a:close(); b:close()
T.is(show(a:tcpccinfo()), failed(L.EBADF), "of a closed socket: EBADF")
T.is(show(a:tcpinfo()), failed(L.EBADF), "as tcpinfo")

-- No descriptor is left for the list.
local out = proc.lua [[
  local L, sys = require "llsocket", require "sys"
  local congestions, kept = L.socket.congestions, {}
  sys.limit_descriptors(40)
  repeat kept[#kept + 1] = L.socket.pair(L.SOCK_STREAM) until #kept > 40 or not L.socket.pair(L.SOCK_STREAM)
  for fd = 0, 39 do if not sys.is_open(fd) then sys.copy(0) end end
  local list, err, errno = congestions()
  print(list, errno == L.EMFILE and err)
]]
T.is(out:match "[^\n]*", "nil\t" .. text(L.EMFILE), "congestions without a descriptor: EMFILE")
net.cleanup()
collectgarbage(); collectgarbage()
T.is(leak.count(), before, "no descriptor is left")
T.done()
