-- option: every row is set and read back, and compared with another way of reading, on right and wrong families.
local ffi = require "ffi"
local L = require "llsocket"
local generated = require "generated"
local layout = require "llsocket.core.layout"
local options = require("methods").options
local multicast = require "llsocket.socket.multicast"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local signature = require "signature"
local pack, line = signature.pack, signature.line

local before = leak.count()
local LINUX = jit.os == "Linux"

local function socket_of(family, socktype)
  return L.socket.new(family == L.AF_UNIX and assert(L.unix.getaddrinfo("", socktype))[1] or net.addr(family, socktype))
end

local FAMILIES = {
  { "unix stream", L.AF_UNIX, L.SOCK_STREAM }, { "unix dgram", L.AF_UNIX, L.SOCK_DGRAM },
  { "tcp4", L.AF_INET, L.SOCK_STREAM }, { "tcp6", L.AF_INET6, L.SOCK_STREAM },
  { "udp4", L.AF_INET, L.SOCK_DGRAM }, { "udp6", L.AF_INET6, L.SOCK_DGRAM },
}

local function any() return true end
local function tcp(name) return name:find "^tcp" end
local function inet(name) return not name:find "^unix" end
local function udp(name) return name:find "^udp" end
local function v6(name) return name:find "6$" end

-- Where kernels differ: before 6.16 passcred could be set anywhere, and IPv6 sockets may have IPv4's options.
local function unix(name) return name:find "^unix" or "either" end
local function of_peer() return "either" end
local function v4(name) return v6(name) and "either" or inet(name) end

-- What each method sets and then reads, and where; apart from the library's own table, so that a wrong kind or
-- name there fails here.  `raw` is the option, and what its first number says when read after each set: an int, or
-- the long of a timeval.
local ON = { { true, true, 1 }, { false, false, 0 } }
local RENO = require("ffi").abi "le" and 0x6f6e6572 or 0x72656e6f
local WHOLE = 2^32 - 1

local function closed(info) return info.state == 7 and (info.snd_cwnd or 0) > 0 and info.total_retrans == 0 end
local function named(info) return type(info.congestion) == "string" end
local function nobody(cred) return cred.pid == 0 and cred.uid == WHOLE and cred.gid == WHOLE end
local RANGE, NONE = { 40000, 40999 }, { 0, 0 }
local function is_range(range) return range[1] == 40000 and range[2] == 40999 end
local function is_none(range) return range[1] == 0 and range[2] == 0 end
local function segment(mss) return mss == 1000 or mss == 536 end -- what was set; older kernels: the default

-- Where a socket must be connected, or raw: t/option-packets tests these.
local function elsewhere(name) return inet(name) and "either" end
local function udp_alone(name) return udp(name) or elsewhere(name) end -- TCP reads it, and cannot set it

local function cookie(n) return ffi.istype("uint64_t", n) and n > 0 end
local function idle(info) return info.rmem_alloc == 0 and info.drops == 0 and info.rcvbuf > 0 and info.sndbuf > 0 end
local LO = ffi.abi "le" and 2^24 or 1 -- the index of lo is 1, in network order

local function pair(opt4, opt6, cases) return { inet, { "IPPROTO_IP", opt4 }, { "IPPROTO_IPV6", opt6 }, cases } end

local EXPECT = {
  broadcast = { any, "SOL_SOCKET", "SO_BROADCAST", ON },
  debug = { any, "SOL_SOCKET", "SO_DEBUG", ON },
  dontroute = { any, "SOL_SOCKET", "SO_DONTROUTE", ON },
  keepalive = { any, "SOL_SOCKET", "SO_KEEPALIVE", ON },
  oobinline = { any, "SOL_SOCKET", "SO_OOBINLINE", ON },
  reuseaddr = { any, "SOL_SOCKET", "SO_REUSEADDR", ON },
  reuseport = { inet, "SOL_SOCKET", "SO_REUSEPORT", ON }, -- Linux had it on unix sockets, without effect, to 6.12
  timestamp = { any, "SOL_SOCKET", "SO_TIMESTAMP", ON },
  acceptconn = { any, "SOL_SOCKET", "SO_ACCEPTCONN", { { nil, false, 0 } } },
  error = { any, "SOL_SOCKET", "SO_ERROR", { { nil, 0, 0 } } },
  linger = { any, "SOL_SOCKET", "SO_LINGER", { { 7, 7, 1 }, { 0, 0, 1 }, { false, false, 0 } } }, -- l_onoff is first
  rcvbuf = { any, "SOL_SOCKET", "SO_RCVBUF", { { 8192, LINUX and 16384 or 8192, LINUX and 16384 or 8192 } } },
  sndbuf = { any, "SOL_SOCKET", "SO_SNDBUF", { { 8192, LINUX and 16384 or 8192, LINUX and 16384 or 8192 } } },
  rcvlowat = { any, "SOL_SOCKET", "SO_RCVLOWAT", { { 5, 5, 5 }, { 1, 1, 1 } } },
  sndlowat = LINUX and { any, "SOL_SOCKET", "SO_SNDLOWAT", { { nil, 1, 1 } } }
    or { any, "SOL_SOCKET", "SO_SNDLOWAT", { { 5, 5, 5 } } },
  rcvtimeo = { any, "SOL_SOCKET", "SO_RCVTIMEO", { { 1.5, 1.5, 1 }, { 0, 0, 0 } } }, -- tv_sec is first; 1/100 s is exact
  sndtimeo = { any, "SOL_SOCKET", "SO_SNDTIMEO", { { 2.5, 2.5, 2 }, { 0, 0, 0 } } },
  tcpcork = { tcp, "IPPROTO_TCP", L.TCP_CORK and "TCP_CORK" or "TCP_NOPUSH", ON },
  tcpnodelay = { tcp, "IPPROTO_TCP", "TCP_NODELAY", ON },
  tcpkeepalive = { tcp, "IPPROTO_TCP", L.TCP_KEEPIDLE and "TCP_KEEPIDLE" or "TCP_KEEPALIVE", { { 61, 61, 61 } } },
  tcpkeepintvl = { tcp, "IPPROTO_TCP", "TCP_KEEPINTVL", { { 62, 62, 62 } } },
  tcpkeepcnt = { tcp, "IPPROTO_TCP", "TCP_KEEPCNT", { { 6, 6, 6 } } },
  bindtodevice = { any, "SOL_SOCKET", "SO_BINDTOIFINDEX", { { "lo", "lo", 1 }, { "", "", 0 } } },
  busypoll = { any, "SOL_SOCKET", "SO_BUSY_POLL", { { 50, 50, 50 }, { 0, 0, 0 } } },
  filterlock = { any, "SOL_SOCKET", "SO_LOCK_FILTER", { { true, true, 1 } } }, -- the kernel refuses false then
  freebind = pair("IP_FREEBIND", "IPV6_FREEBIND", ON),
  hoplimit = { v6, "IPPROTO_IPV6", "IPV6_UNICAST_HOPS", { { 0, 0, 0 }, { 1, 1, 1 }, { 255, 255, 255 } } },
  incomingcpu = { any, "SOL_SOCKET", "SO_INCOMING_CPU", { { 0, 0, 0 } } },
  mark = { any, "SOL_SOCKET", "SO_MARK", { { 7, 7, 7 }, { -1, WHOLE, -1 }, { 0, 0, 0 }, { WHOLE, WHOLE, -1 },
    { 2^31, 2^31, -2^31 }, { -2^31, 2^31, -2^31 } } },
  mtudiscover = pair("IP_MTU_DISCOVER", "IPV6_MTU_DISCOVER", { { L.IP_PMTUDISC_DO, 2, 2 }, { L.IP_PMTUDISC_DONT, 0, 0 } }),
  passcred = { unix, "SOL_SOCKET", "SO_PASSCRED", ON },
  passpidfd = { unix, "SOL_SOCKET", "SO_PASSPIDFD", ON },
  passrights = { unix, "SOL_SOCKET", "SO_PASSRIGHTS", { { false, false, 0 }, { true, true, 1 } } },
  passsec = { unix, "SOL_SOCKET", "SO_PASSSEC", ON },
  peergroups = { of_peer, "SOL_SOCKET", "SO_PEERGROUPS", { { nil, 0 } } }, -- t/option-who
  peersec = { of_peer, "SOL_SOCKET", "SO_PEERSEC", { { nil, 0 } } },
  ipprotocol = { v4, "IPPROTO_IP", "IP_PROTOCOL", { { nil, 0, 0 } } },
  localportrange = { v4, "IPPROTO_IP", "IP_LOCAL_PORT_RANGE", { { RANGE, is_range, 40000 + 40999 * 2^16 - 2^32 },
    { NONE, is_none, 0 } } },
  recvorigdst = pair("IP_RECVORIGDSTADDR", "IPV6_RECVORIGDSTADDR", ON),
  peercred = { any, "SOL_SOCKET", "SO_PEERCRED", { { nil, nobody, 0 } } }, -- pid is first
  pktinfo = pair("IP_PKTINFO", "IPV6_RECVPKTINFO", ON),
  priority = { any, "SOL_SOCKET", "SO_PRIORITY", { { 6, 6, 6 }, { 0, 0, 0 } } },
  recverr = pair("IP_RECVERR", "IPV6_RECVERR", ON),
  recvtos = pair("IP_RECVTOS", "IPV6_RECVTCLASS", ON),
  recvttl = pair("IP_RECVTTL", "IPV6_RECVHOPLIMIT", ON),
  rxqovfl = { any, "SOL_SOCKET", "SO_RXQ_OVFL", ON },
  tclass = { v6, "IPPROTO_IPV6", "IPV6_TCLASS", { { 8, 8, 8 }, { 252, 252, 252 }, { 0, 0, 0 } } },
  tcpcongestion = { tcp, "IPPROTO_TCP", "TCP_CONGESTION", { { "reno", "reno", RENO } } },
  tcpdeferaccept = { tcp, "IPPROTO_TCP", "TCP_DEFER_ACCEPT", { { 1, 1, 1 }, { 0, 0, 0 } } },
  tcpfastopen = { tcp, "IPPROTO_TCP", "TCP_FASTOPEN", { { 5, 5, 5 }, { 0, 0, 0 } } },
  tcpfastopenconnect = { tcp, "IPPROTO_TCP", "TCP_FASTOPEN_CONNECT", ON },
  tcpinfo = { tcp, "IPPROTO_TCP", "TCP_INFO", { { nil, closed, 7 } } }, -- state is first, then zeros
  tcpccinfo = { tcp, nil, nil, { { nil, named } } },
  tcpmaxseg = { tcp, "IPPROTO_TCP", "TCP_MAXSEG", { { 1000, segment, segment } } },
  tcpquickack = { tcp, "IPPROTO_TCP", "TCP_QUICKACK", { { false, false, 0 }, { true, true, 1 } } },
  tcpusertimeout = { tcp, "IPPROTO_TCP", "TCP_USER_TIMEOUT", { { 5000, 5000, 5000 }, { 0, 0, 0 } } },
  timestampns = { any, "SOL_SOCKET", "SO_TIMESTAMPNS", ON },
  tos = { v4, "IPPROTO_IP", "IP_TOS", { { 16, 16, 16 }, { 252, 252, 252 }, { 0, 0, 0 } } },
  transparent = pair("IP_TRANSPARENT", "IPV6_TRANSPARENT", ON),
  ttl = { v4, "IPPROTO_IP", "IP_TTL", { { 1, 1, 1 }, { 255, 255, 255 } } },
  udpgro = { udp, "IPPROTO_UDP", "UDP_GRO", ON },
  udpsegment = { udp, "IPPROTO_UDP", "UDP_SEGMENT", { { 1200, 1200, 1200 }, { 65535, 65535, 65535 }, { 0, 0, 0 } } },
  unread = { any, nil, nil, { { nil, 0 } } },
  unsent = { any, nil, nil, { { nil, 0 } } },
  v6only = { v6, "IPPROTO_IPV6", "IPV6_V6ONLY", { { true, true, 1 }, { false, false, 0 } } },
  addrpreferences = { v6, "IPPROTO_IPV6", "IPV6_ADDR_PREFERENCES", { -- it also tells the default of what was not set
    { 1, 0x401, 0x401 }, { 2, 0x402, 0x402 }, { 0x100, 0x500, 0x500 } } },
  cookie = { any, "SOL_SOCKET", "SO_COOKIE", { { nil, cookie, any } } },
  meminfo = { any, "SOL_SOCKET", "SO_MEMINFO", { { nil, idle, 0 } } },
  mtu = { elsewhere, nil, nil, { {} } },
  napiid = { any, "SOL_SOCKET", "SO_INCOMING_NAPI_ID", { { nil, 0, 0 } } },
  netnscookie = { any, "SOL_SOCKET", "SO_NETNS_COOKIE", { { nil, cookie, any } } },
  nocheck6 = { udp, "IPPROTO_UDP", "UDP_NO_CHECK6_TX", ON },
  peekoff = { any, "SOL_SOCKET", "SO_PEEK_OFF", { { 5, 5, 5 }, { 0, 0, 0 }, { -1, -1, -1 } } },
  rcvbufforce = { any, "SOL_SOCKET", "SO_RCVBUF", { { 8192, 16384, 16384 } } },
  recvfragsize = { udp_alone, { "IPPROTO_IP", "IP_RECVFRAGSIZE" }, { "IPPROTO_IPV6", "IPV6_RECVFRAGSIZE" }, ON },
  reservemem = { any, "SOL_SOCKET", "SO_RESERVE_MEM", { { nil, 0, 0 } } },
  routeralert = { elsewhere, nil, nil, { {} } },
  savedsyn = { tcp, "IPPROTO_TCP", "TCP_SAVED_SYN", { { nil, "", any } } },
  sndbufforce = { any, "SOL_SOCKET", "SO_SNDBUF", { { 8192, 16384, 16384 } } },
  tcplinger2 = { tcp, "IPPROTO_TCP", "TCP_LINGER2", { { 2, 2, 2 }, { 120, 120, 120 }, { -1, -1, -1 } } },
  tcprtomax = { tcp, "IPPROTO_TCP", "TCP_RTO_MAX_MS", { { 1000, 1000, 1000 }, { 120000, 120000, 120000 } } },
  tcprtomin = { tcp, "IPPROTO_TCP", "TCP_RTO_MIN_US", { { 20000, 20000, 20000 }, { 200000, 200000, 200000 } } },
  tcpsyncnt = { tcp, "IPPROTO_TCP", "TCP_SYNCNT", { { 1, 1, 1 }, { 127, 127, 127 } } },
  tcpthin = { tcp, "IPPROTO_TCP", "TCP_THIN_LINEAR_TIMEOUTS", ON },
  tcpwindowclamp = { tcp, "IPPROTO_TCP", "TCP_WINDOW_CLAMP", { { 5000, 5000, 5000 }, { 0, 0, 0 } } },
  txrehash = { tcp, "SOL_SOCKET", "SO_TXREHASH", { { false, false, 0 }, { true, true, 1 } } },
  udpencap = { udp, "IPPROTO_UDP", "UDP_ENCAP", { { 3, 3, 3 }, { 0, 0, 0 } } },
  unicastif = pair("IP_UNICAST_IF", "IPV6_UNICAST_IF", { { "lo", "lo", LO }, { "", "", 0 } }),
  mcastloop = { udp, { "IPPROTO_IP", "IP_MULTICAST_LOOP" }, { "IPPROTO_IPV6", "IPV6_MULTICAST_LOOP" },
    { { false, false, 0 }, { true, true, 1 } } },
  mcastttl = { udp, { "IPPROTO_IP", "IP_MULTICAST_TTL" }, { "IPPROTO_IPV6", "IPV6_MULTICAST_HOPS" },
    { { 0, 0, 0 }, { 1, 1, 1 }, { 255, 255, 255 } } },
}

-- Options whose number another one tells.
local READ_BY = { SO_BINDTODEVICE = "SO_BINDTOIFINDEX", SO_RCVBUFFORCE = "SO_RCVBUF", SO_SNDBUFFORCE = "SO_SNDBUF" }

-- Whether EXPECT names the constant of a row.
local function is_expected(expect, level, opt)
  local one, other = expect[2], expect[3]
  if type(one) ~= "table" then return not other or (READ_BY[opt] or opt) == other end
  return opt == (level == one[1] and one or other)[2]
end

local methods, seen, without, kinds, missing = {}, {}, {}, {}, {}
for _, rows in ipairs { options, multicast.OPTIONS } do
  for _, row in ipairs(rows) do
    local name, expect = row[1], EXPECT[row[1]]
    if not seen[name] then methods[#methods + 1] = name end
    seen[name], kinds[name] = true, rows == options and row[4] or row[5]
    if not expect then without[#without + 1] = row end
    local is_other = expect and rows == options and L[row[3]] and not is_expected(expect, row[2], row[3])
    if is_other then missing[#missing + 1] = name .. " of " .. row[3] end
  end
end

-- An option that EXPECT lacks is tested by what its row says, where that can be held against something else: its method
-- must be the C name without prefix, and what is set is read back as bytes.  A flag takes no 2, a number does.
local FAMILY = { SOL_SOCKET = any, IPPROTO_TCP = tcp, IPPROTO_UDP = udp, IPPROTO_IP = v4, IPPROTO_IPV6 = v6 }
local function number(n) return type(n) == "number" end
local NUMBERS = { { 2, 2, 2 }, { 0, 0, 0 } }
local CASES = { boolean = ON, count = NUMBERS, hops = NUMBERS, int = NUMBERS, word = NUMBERS,
  seconds = { { 1.5, 1.5, 1 }, { 0, 0, 0 } } }
local READ = { boolean = { { nil, false, 0 } }, int = { { nil, number, number } }, word = { { nil, number, number } } }

local function is_named_by(opt, method)
  local name = opt:lower():gsub("_", "")
  return name == method or name:gsub("^so", "") == method or name:gsub("^ipv?6?", "") == method
end

local flags = {}
for _, row in ipairs(without) do
  local method, level, opt, kind, access = unpack(row, 1, 5)
  local cases = (access == "ro" and READ or CASES)[kind]
  if not (cases and FAMILY[level] and is_named_by(opt, method)) then
    missing[#missing + 1] = method .. " of " .. opt
  elseif L[opt] then
    local first = EXPECT[method]
    EXPECT[method] = first and pair(first[3], opt, cases) or { FAMILY[level], level, opt, cases }
    if kind == "boolean" and access == "rw" then flags[#flags + 1] = { method, L[level], L[opt] } end
  end
end

local T = require("tap").plan(2 + #methods * #FAMILIES + 6)

for _, name in ipairs(methods) do if not EXPECT[name] then missing[#missing + 1] = name end end
for name in pairs(EXPECT) do if not seen[name] then missing[#missing + 1] = name end end
T.is(table.concat(missing, " "), "", "every row is tested here, and every test has a row")

local numbers = {}
for _, flag in ipairs(flags) do
  for _, family in ipairs(FAMILIES) do
    local sock = socket_of(family[2], family[3])
    local taken = sock and sock:setsockopt(flag[2], flag[3], "int", 2) and sock:getsockopt(flag[2], flag[3], "int")
    if taken == 2 then numbers[#numbers + 1] = flag[1] end
    if sock then sock:close() end
  end
end
T.is(table.concat(numbers, " "), "", #flags .. " flags without a row in EXPECT take no other number")

local function raw(sock, family, expect)
  local level, opt = expect[2], expect[3]
  if not level then return end
  if type(level) == "table" then level, opt = unpack(family == L.AF_INET and level or opt) end
  local bytes, err = sock:getsockopt(L[level], L[opt], "bytes")
  if not bytes then return err end
  return tonumber(ffi.cast(#bytes == ffi.sizeof(layout.timeval) and "long *" or "int *", bytes)[0])
end

-- Whether a value is of the type that annotations give its kind.
local function is_of(value, kind)
  local promised = generated.KIND[kind][2]
  if type(value) == "number" then return promised == "number" or promised:find "^integer" and value % 1 == 0 end
  if type(value) == "table" then return promised:find "^table" or promised:find "^{" or promised:find "%[%]$" end
  if type(value) == "cdata" then return promised == "ffi.cdata*" end
  return promised == type(value) or value == false and promised:find "false"
end

-- Answers what is wrong with a method on a family that has the option.
local function wrong(sock, family, name, expect)
  local out = {}
  local function same(got, want, what)
    if type(want) == "function" then got, want = got ~= nil and want(got), true end
    if got ~= want then out[#out + 1] = ("%s: %s, want %s"):format(what, got, want) end
  end
  for _, case in ipairs(expect[4]) do
    local value, reads, int = case[1], case[2], case[3]
    if value ~= nil then same(line(pack(sock[name](sock, value))), line { n = 1, value }, "set " .. tostring(value)) end
    local got = pack(sock[name](sock))
    if not is_of(got[1], kinds[name]) then out[#out + 1] = "its annotation tells another type" end
    if type(reads) == "function" then same(got[1], reads, "read") else
      same(line(got), line { n = 1, reads }, "read after " .. tostring(value))
    end
    if name ~= "error" then same(raw(sock, family, expect), int, "raw after " .. tostring(value)) end
  end
  return table.concat(out, "; ")
end

local REFUSED = { [L.ENOPROTOOPT] = true, [L.EOPNOTSUPP] = true }

-- On a family that lacks it: ENOPROTOOPT or EOPNOTSUPP, as the kernel likes, in the shape of an option.
local function not_refused(sock, name, expect)
  local out = {}
  for _, value in ipairs { "nothing", expect[4][1][1] } do
    local got = value == "nothing" and pack(sock[name](sock)) or pack(sock[name](sock, value))
    if not REFUSED[got[3]] or line(got) ~= signature.failure("object", got[3]) then out[#out + 1] = line(got) end
  end
  return table.concat(out, "; ")
end

-- Whether this process may set it; what is set may be more than what may be taken back.
local function may(sock, name, expect)
  for _, case in ipairs(expect[4]) do
    local _, _, e = sock[name](sock, case[1])
    if e == L.EPERM or e == L.EACCES then return false end
  end
  return true
end

local function test(family, name)
  local title, domain, socktype = unpack(family)
  local sock, err, e = socket_of(domain, socktype)
  local expect = EXPECT[name]
  if not sock then
    T.skip(1, title .. ": " .. err)
    assert(e == L.EAFNOSUPPORT)
  elseif not may(sock, name, expect) then
    T.skip(1, name .. " needs a privilege")
  elseif expect[1](title) == "either" then
    T.skip(1, ("%s on %s is the kernel's choice"):format(name, title))
  elseif name == "reuseport" and domain == L.AF_UNIX then
    T.is(sock:reuseport(), false, ("reuseport on %s reads false"):format(title))
  elseif expect[1](title) then
    T.is(wrong(sock, domain, name, expect), "", ("%s on %s reads the value that was set"):format(name, title))
  else
    T.is(not_refused(sock, name, expect), "", ("%s on %s is refused"):format(name, title))
  end
  if sock then sock:close() end
end

-- An error in one, or a row that EXPECT lacks, is one failure.
for _, family in ipairs(FAMILIES) do
  for _, name in ipairs(methods) do
    local ok, why = pcall(test, family, name)
    if not ok then T.is(EXPECT[name] and why or "add it to EXPECT", "", ("%s on %s is tested"):format(name, family[1])) end
  end
end

-- Reading alone: an argument does not set.
local listener = net.listener()
T.is(line(pack(listener:acceptconn(false))), "true", "acceptconn only reads: a listener tells true whatever is passed")
T.is(line(pack(listener:error(5))), "0", "error only reads")
listener:close()

-- As on a platform whose headers lack the names: the library is loaded over a smaller table of constants.
local ABSENT = [[
local const = require "llsocket.core.const"
local all = {}
for name, value in pairs(const) do all[name] = value end
local function drop(name) const[name] = nil end
for name in ("%s"):gmatch "%%S+" do drop(name) end
local L = require "llsocket"
local sock = assert(L.socket.new(assert(L.inet.getaddrinfo("127.0.0.1", "0"))[1]))
local function check(sock, want)
  for name, _, _, kind in require("llsocket.socket.option").rows(1) do
    for _, args in ipairs { {}, { kind == "boolean" and true or 1 } } do
      local v, err, e = sock[name](sock, unpack(args))
      if v ~= nil or e ~= all[want] or type(err) ~= "string" then print(name, v, err, e) end
    end
  end
end
check(sock, "ENOPROTOOPT")
sock:close()
check(sock, "EBADF")
]]
local names = {}
for _, row in ipairs(options) do names[#names + 1] = row[3] end
T.is(proc.lua(ABSENT:format(table.concat(names, " "))), "",
  "an option that the platform lacks is ENOPROTOOPT, and EBADF once closed")

local NO_MULTICAST = [[
local const = require "llsocket.core.const"
local ENOPROTOOPT = const.ENOPROTOOPT
for name in pairs(const) do if name:find "MULTICAST" or name:find "^MCAST_" then const[name] = nil end end
local L = require "llsocket"
local sock = assert(L.socket.new(assert(L.inet.getaddrinfo("127.0.0.1", "0", L.SOCK_DGRAM))[1]))
local function check(name, ...)
  local got = { sock[name](sock, ...) }
  if got[#got] ~= ENOPROTOOPT then print(name, unpack(got)) end
end
check("mcastloop"); check("mcastloop", true); check("mcastttl"); check("mcastttl", 1); check("mcastif"); check("mcastif", "")
for _, row in ipairs(require("llsocket.socket.multicast").MEMBERSHIPS) do
  check(row[1], "239.1.2.3", row[1]:find "src" and "127.0.0.1" or nil)
end
]]
T.is(proc.lua(NO_MULTICAST), "", "multicast that the platform lacks is ENOPROTOOPT")

-- Where two rows have one method, the name that the platform knows makes it.
local SECOND = [[
local const = require "llsocket.core.const"
const.TCP_NOPUSH, const.TCP_CORK = const.TCP_CORK or const.TCP_NOPUSH, nil
const.TCP_KEEPALIVE, const.TCP_KEEPIDLE = const.TCP_KEEPIDLE or const.TCP_KEEPALIVE, nil
local L = require "llsocket"
local sock = assert(L.socket.new(assert(L.inet.getaddrinfo("127.0.0.1", "0"))[1]))
print(sock:tcpcork(true), sock:tcpcork(), sock:tcpkeepalive(61), sock:tcpkeepalive())
]]
T.is(proc.lua(SECOND), "true\ttrue\t61\t61\n", "the second of two names serves where the first is absent")

T.is(leak.count(), before, "no descriptor is left")
T.done()
