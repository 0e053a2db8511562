-- cmsghdr: what Linux alone sends: marks, fragments, path MTU, times, RFC 4884 lengths; and Python's socket module gets the same.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local netns = require "netns"
local proc = require "proc"
local shell = require "shell"
local show = require("values").show
local before = leak.count()
local bor = require("bit").bor

local PLAN = 58
local T = require("tap").plan(PLAN)
local entered, why = netns.enter()
if not entered then
  T.skip(PLAN, why)
  T.done()
end
netns.batch { "link set lo up", "link set lo mtu 1500" }

-- What a message brought: "level type: decoded", sorted.
local DECODERS = { "origdst", "pktinfo", "auxdata", "security", "integer" }

local function told(cmsg)
  local pathmtu, err = cmsg:pathmtu(), cmsg:exterr()
  if pathmtu then return ("%d to %s"):format(pathmtu.mtu, pathmtu.dest:addr()) end
  if err then return show(err.errno, err.origin, err.type, err.code, err.stage, err.id) end
  for _, name in ipairs(DECODERS) do
    local value = cmsg[name](cmsg)
    if value ~= nil then return tostring(value) end
  end
  return cmsg:timestamp() and "a time" or "?"
end

local function brought(mh)
  local out = {}
  for i, cmsg in ipairs(mh:control()) do out[i] = ("%d %d: %s"):format(cmsg:level(), cmsg:type(), told(cmsg)) end
  table.sort(out)
  return table.concat(out, "; ")
end

local function line(level, kind, value) return ("%d %d: %s"):format(level, kind, value) end
local function lines(...)
  local out = { ... }
  table.sort(out)
  return table.concat(out, "; ")
end

local SOCKET, IP, IPV6, TCP = L.SOL_SOCKET, L.IPPROTO_IP, L.IPPROTO_IPV6, L.IPPROTO_TCP
local DATA = ("x"):rep(4000)

-- Whether this kernel has all of some options; what it lacks otherwise.
local function lacks(sock, options)
  for _, option in ipairs(options) do
    if not sock:setsockopt(option[1], L[option[2]], "int", 1) then return option[2] end
  end
end

-- Marks, priorities, fragments, where it was sent to: received here and by Python.
local PYTHON = [==[
import socket, sys
sock = socket.socket(int(sys.argv[1]), socket.SOCK_DGRAM)
sock.settimeout(20)
sock.bind((sys.argv[2], 0))
for option in sys.argv[3:]:
    level, name = option.split(",")
    sock.setsockopt(int(level), int(name), 1)
print(sock.getsockname()[1], flush=True)
for cmsg in sock.recvmsg(9000, 1000)[1]:
    print(cmsg[0], cmsg[1], cmsg[2].hex(), flush=True)
]==]

local function hex(bytes) return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end)) end

-- What Python gets of the same message: "level type bytes", sorted; the port of its own socket reads "PORT".
local function in_python(family, host, options, send)
  local words = { shell.quote(PYTHON), family, host }
  for _, option in ipairs(options) do words[#words + 1] = option[1] .. "," .. L[option[2]] end
  local pipe = assert(io.popen("python3 -c " .. table.concat(words, " ")))
  local port = tonumber(pipe:read "*l")
  if not port then return pipe:close() and nil end
  send(net.addr(family, L.SOCK_DGRAM, port))
  local out = {}
  for got in pipe:lines() do out[#out + 1] = (got:gsub(("%04x"):format(port), "PORT")) end
  pipe:close()
  table.sort(out)
  return table.concat(out, "; ")
end

local function as_python(mh, port)
  local out = {}
  for i, cmsg in ipairs(mh:control()) do
    out[i] = ("%d %d %s"):format(cmsg:level(), cmsg:type(), hex(cmsg:data()):gsub(("%04x"):format(port), "PORT"))
  end
  table.sort(out)
  return table.concat(out, "; ")
end

local has_python = select(2, proc.run "python3 -c 'import socket'")
local FAMILIES = {
  { L.AF_INET, "127.0.0.1", "IPv4", IP, "IP", 1500 }, { L.AF_INET6, "::1", "IPv6", IPV6, "IPV6", 1496 },
}
for _, row in ipairs(FAMILIES) do
  local family, host, title, level, prefix, size = unpack(row)
  local OPTIONS = { { SOCKET, "SO_RCVMARK" }, { SOCKET, "SO_RCVPRIORITY" }, { level, prefix .. "_RECVFRAGSIZE" },
    { level, prefix .. "_RECVORIGDSTADDR" } }
  local from = net.bound(family, L.SOCK_DGRAM)
  local to, name = net.bound(family, L.SOCK_DGRAM)
  local function send(where)
    local control = { assert(L.cmsghdr.mark(2^32 - 2)), assert(L.cmsghdr.priority(2^32 - 3)) }
    return from:sendmsg(assert(L.msghdr.new { name = where, data = DATA, control = control }))
  end
  local missing = lacks(to, OPTIONS)
  if missing then T.skip(3, title .. ": this kernel has no " .. missing) else
    local mh = assert(L.msghdr.new { size = 5000 })
    T.is(show(send(name)), "4000, nil, false", title .. ": a message takes a mark and a priority of its own")
    assert(to:recvmsg(mh))
    T.is(brought(mh), lines(line(SOCKET, L.SO_MARK, 2^32 - 2), line(SOCKET, L.SO_PRIORITY, 2^32 - 3),
      line(level, L[prefix .. "_RECVFRAGSIZE"], size), line(level, L[prefix .. "_ORIGDSTADDR"], tostring(name))),
      title .. ": mark, priority, size of the fragments and destination arrive")
    if has_python then
      T.is(in_python(family, host, OPTIONS, send), as_python(mh, name:port()), title .. ": Python's socket module gets the same")
    else
      T.skip(1, "python3 is missing")
    end
  end
  from:close(); to:close()
end

-- The path MTU, once a datagram was too long.
do
  local from, to, name = net.bound(L.AF_INET6, L.SOCK_DGRAM), net.bound(L.AF_INET6, L.SOCK_DGRAM)
  local mh = assert(L.msghdr.new())
  assert(from:setsockopt(IPV6, L.IPV6_RECVPATHMTU, "int", 1) and from:setsockopt(IPV6, L.IPV6_DONTFRAG, "int", 1))
  T.is(select(4, from:sendto(DATA, name)), L.EMSGSIZE, "a datagram that must not be cut is EMSGSIZE")
  T.is(show(from:recvmsg(mh, L.MSG_DONTWAIT)), "0, nil, false", "then an empty message waits")
  T.is(brought(mh), line(IPV6, L.IPV6_PATHMTU, "1500 to ::1"), "which brings the path MTU and the destination")
  from:close(); to:close()
end

-- How much is left behind what a receive took.
do
  local client, server = net.tcp()
  local mh = assert(L.msghdr.new { size = 4 })
  assert(server:setsockopt(TCP, L.TCP_INQ, "int", 1))
  client:send "hello world"
  assert(net.await(function() return server:unread() == 11 end))
  server:recvmsg(mh)
  T.is(brought(mh), line(TCP, L.TCP_INQ, 7), "TCP_INQ tells how many bytes are left")
  client:close(); server:close()
  local a, b = net.pair(L.SOCK_STREAM)
  if not b:setsockopt(SOCKET, L.SO_INQ, "int", 1) then T.skip(1, "this kernel has no SO_INQ") else
    a:send "hello world"
    b:recvmsg(mh)
    T.is(brought(mh), line(SOCKET, L.SCM_INQ, 7), "SO_INQ tells it of a unix socket")
  end
  a:close(); b:close()
end

-- Times.  Software times of arrival, and of what was sent at each stage, with the number of the message.
local SOFTWARE, TX = bor(L.SOF_TIMESTAMPING_SOFTWARE, L.SOF_TIMESTAMPING_RX_SOFTWARE), L.SOF_TIMESTAMPING_TX_SOFTWARE
local BOTH = bor(SOFTWARE, TX, L.SOF_TIMESTAMPING_TX_SCHED, L.SOF_TIMESTAMPING_OPT_ID)

local function is_now(sec, nsec, ...)
  return select("#", ...) == 0 and sec and math.abs(sec - os.time()) < 5 and nsec >= 0 and nsec < 1e9 and nsec % 1 == 0
end

-- The next of the error queue, or nil; whether it has a time, and its data.
local function sent(sock, mh)
  if not sock:recvmsg(mh, L.MSG_ERRQUEUE, L.MSG_DONTWAIT) then return nil end
  for _, cmsg in ipairs(mh:control()) do
    local err = cmsg:exterr()
    if err then return show(err.errno, err.origin, err.stage, err.id), is_now(mh:timestamp()), mh:data() end
  end
end

local function answer(stage, id) return show(L.ENOMSG, L.SO_EE_ORIGIN_TIMESTAMPING, L["SCM_TSTAMP_" .. stage], id) end

-- The kernel begins to stamp arrivals a moment after it is asked to.  The socket is its own peer.
local function await_stamps(sock, mh)
  assert(net.await(function()
    sock:send "warm"
    sock:recvmsg(mh)
    return mh:timestamp() ~= nil
  end))
end

do
  local sock, name = net.bound(L.AF_INET, L.SOCK_DGRAM)
  assert(not sock:connect(name))
  local mh = assert(L.msghdr.new { size = 100 })
  T.is(show(sock:timestamping(BOTH), sock:timestamping()), show(BOTH, BOTH), "timestamping is set and read")
  T.is(show(sock:timestamping(2^30)), show(nil, require("llsocket.errno").text(L.EINVAL), L.EINVAL), "an unknown flag is EINVAL")
  await_stamps(sock, mh)
  T.ok(is_now(mh:timestamp()), "mh:timestamp tells the time of arrival")
  T.ok(is_now(mh:control()[1]:timestamp()), "and so does its cmsghdr")
  repeat local more = sock:recvmsg(mh, L.MSG_ERRQUEUE, L.MSG_DONTWAIT) until not more
  sock:timestamping(0); sock:timestamping(BOTH) -- counts from 0 again
  sock:send "one"; sock:send "two"
  local seen = {}
  for _ = 1, 4 do
    local got, has_time, data = sent(sock, mh)
    if got then seen[got] = has_time and data end
  end
  for id, data in pairs { [0] = "one", "two" } do
    for _, stage in ipairs { "SCHED", "SND" } do
      local found = seen[answer(stage, id)]
      T.is(found and found:sub(-3), data, ("message %d: %s comes back with its id, data and time"):format(id, stage))
    end
  end
  T.is(sent(sock, mh), nil, "and nothing else")
  sock:recv(); sock:recv()

  -- Of one message alone.
  sock:timestamping(bor(SOFTWARE, L.SOF_TIMESTAMPING_OPT_ID, L.SOF_TIMESTAMPING_OPT_TSONLY))
  sock:send "none"
  T.is(sent(sock, mh), nil, "without a TX flag nothing comes back")
  local once = assert(L.msghdr.new { data = "once", control = { assert(L.cmsghdr.timestamping(TX)) } })
  assert(sock:sendmsg(once) == 4)
  local got, has_time = sent(sock, mh)
  T.is(got, answer("SND", 2), "a message may ask for itself")
  T.ok(has_time, "and gets its time")
  sock:send "none"
  T.is(sent(sock, mh), nil, "for itself alone")
  assert(sock:sendmsg(assert(L.msghdr.new { data = "bad", control = { assert(L.cmsghdr.timestamping(SOFTWARE)) } })) == nil)
  T.is(select(4, sock:sendmsg(assert(L.msghdr.new { data = "bad", control = { assert(L.cmsghdr.timestamping(SOFTWARE)) } }))),
    L.EINVAL, "flags that are not of a message are EINVAL")
  local with_id = { assert(L.cmsghdr.timestamping(TX)), assert(L.cmsghdr.timestampid(2^32 - 1)) }
  local n = sock:sendmsg(assert(L.msghdr.new { data = "id", control = with_id }))
  if n then
    T.is(sent(sock, mh), answer("SND", 2^32 - 1), "or choose its id")
  else
    T.skip(1, "this kernel lets no message choose its id")
  end
  sock:close()
end

-- Batches.
do
  local sock, name = net.bound(L.AF_INET, L.SOCK_DGRAM)
  assert(not sock:connect(name))
  sock:timestamping(bor(SOFTWARE, L.SOF_TIMESTAMPING_OPT_ID))
  local mh, msgs = assert(L.msghdr.new()), assert(L.batch.new { count = 3, size = 3000, controlsize = 128 })
  await_stamps(sock, mh)
  for i = 1, 3 do msgs:data(i, ("%d"):format(i):rep(2000)) end
  T.is(show(msgs:timestamping(2, TX), msgs:timestamping(2), msgs:timestamping(1)), show(TX, TX, 0),
    "a batch keeps the flags of each message")
  T.is(show(msgs:segment(2, 1000), msgs:timestamping(2), msgs:segment(2)), show(1000, TX, 1000), "beside its segment size")
  msgs:segment(2, 0)
  T.is(show(sock:sendbatch(msgs, 3)), "3, nil, false", "all go out")
  local got, _, data = sent(sock, mh)
  T.is(show(got, data:sub(-3)), show(answer("SND", 0), "222"), "the one that asked comes back")
  T.is(sent(sock, mh), nil, "no other does")
  T.is(show(sock:recvbatch(msgs)), "3, nil, false", "all arrive")
  local stamped = 0
  for i = 1, 3 do if is_now(msgs:timestamp(i)) then stamped = stamped + 1 end end
  T.is(stamped, 3, "each with its time")
  T.is(show(msgs:timestamping(2)), "0", "a message that arrived asks for none")
  msgs:segment(1, 500)
  msgs:timestamping(1, TX)
  sock:timestamping(bor(SOFTWARE, L.SOF_TIMESTAMPING_OPT_ID, L.SOF_TIMESTAMPING_OPT_TSONLY))
  local n = sock:sendbatch(msgs, 1)
  if n ~= 1 then T.skip(2, "no UDP_SEGMENT here") else
    T.is(sent(sock, mh), answer("SND", 1), "segments and a time go together")
    local count = 0
    while sock:recv(4000, L.MSG_DONTWAIT) do count = count + 1 end
    T.is(count, 4, "and are cut")
  end
  sock:timestamping(bor(SOFTWARE, TX, L.SOF_TIMESTAMPING_OPT_TSONLY))
  sock:send "y"; sock:send "z"
  local queue = assert(L.batch.new { count = 3, controlsize = 256 })
  local came = sock:recvbatch(queue, L.MSG_ERRQUEUE, L.MSG_DONTWAIT)
  T.is(show(came, is_now(queue:timestamp(1)), is_now(queue:timestamp(2))), show(2, true, true),
    "a batch takes the times of what was sent, too")
  while sock:recv(4000, L.MSG_DONTWAIT) do end
  local bare = assert(L.batch.new { count = 1 })
  sock:send "x"
  sock:recvbatch(bare)
  T.is(show(bare:timestamp(1)), "nil", "without room for ancillary data there is no time")
  T.is(show(bare:timestamp(2)), show(nil, require("llsocket.errno").text(L.EINVAL), L.EINVAL), "of no message it is EINVAL")
  sock:close()
end

-- A byte of TCP, once the peer has it.
do
  local client, server = net.tcp()
  local mh = assert(L.msghdr.new())
  client:timestamping(bor(L.SOF_TIMESTAMPING_SOFTWARE, L.SOF_TIMESTAMPING_TX_ACK, L.SOF_TIMESTAMPING_OPT_ID,
    L.SOF_TIMESTAMPING_OPT_TSONLY))
  client:send "12345"
  server:recv()
  local got, has_time
  net.await(function()
    got, has_time = sent(client, mh)
    return got
  end)
  T.is(got, answer("ACK", 4), "TCP tells when its peer acknowledged a byte, and which")
  T.ok(has_time, "with the time")

  client:timestamping(bor(L.SOF_TIMESTAMPING_SOFTWARE, L.SOF_TIMESTAMPING_TX_ACK, L.SOF_TIMESTAMPING_OPT_ID,
    L.SOF_TIMESTAMPING_OPT_TSONLY, L.SOF_TIMESTAMPING_OPT_STATS))
  client:send "678"
  server:recv()
  assert(net.await(function() return client:recvmsg(mh, L.MSG_ERRQUEUE, L.MSG_DONTWAIT) end))
  local stats, info = nil, client:tcpinfo()
  for _, cmsg in ipairs(mh:control()) do stats = stats or cmsg:optstats() end
  if not (stats and L.TCP_NLA_BUSY) then T.skip(1, "this kernel or its headers tell no statistics with a time") else
    T.is(show(stats.bytes_sent, stats.total_retrans, stats.srtt > 0, stats.min_rtt >= info.min_rtt),
      show(8, info.total_retrans, true, true), "optstats are those of tcpinfo")
  end
  client:close(); server:close()
end

-- ICMP messages with extensions, made by a raw socket: the datagram that was sent, 128 bytes of it, and behind them an object.
local function words(text)
  local sum = 0
  for i = 1, #text, 2 do sum = sum + text:byte(i) * 256 + (text:byte(i + 1) or 0) end
  while sum > 0xffff do sum = sum % 0x10000 + math.floor(sum / 0x10000) end
  return string.char(math.floor((0xffff - sum) / 256), (0xffff - sum) % 256)
end

local function be16(n) return string.char(math.floor(n / 256), n % 256) end

local function extensions(is_damaged)
  local object = be16(8) .. "\1\1" .. "\1\2\3\4"
  local sum = words("\32\0\0\0" .. object)
  return "\32\0" .. (is_damaged and "\1\2" or sum) .. object
end

local RAW = {
  { L.AF_INET, "IPv4", IP, "IP_RECVERR", "IP_RECVERR_RFC4884", L.IPPROTO_ICMP, 28,
    function(port, dport)
      local one = "\127\0\0\1"
      return "\69\0" .. be16(128) .. "\0\1\0\0\64\17\0\0" .. one .. one .. be16(port) .. be16(dport) .. be16(108) .. "\0\0"
    end,
    function(rest)
      local head = "\0\32\0\0" .. rest
      return "\3\3" .. words("\3\3\0\0" .. head) .. head
    end },
  { L.AF_INET6, "IPv6", IPV6, "IPV6_RECVERR", "IPV6_RECVERR_RFC4884", L.IPPROTO_ICMPV6, 48,
    function(port, dport)
      local one = ("\0"):rep(15) .. "\1"
      return "\96\0\0\0" .. be16(88) .. "\17\64" .. one .. one .. be16(port) .. be16(dport) .. be16(88) .. "\0\0"
    end,
    function(rest) return "\1\4\0\0\16\0\0\0" .. rest end }, -- the kernel writes the checksum
}

for _, row in ipairs(RAW) do
  local family, title, level, recverr, rfc4884, protocol, headers, datagram, icmp = unpack(row)
  local sock, name = net.bound(family, L.SOCK_DGRAM)
  local peer, there = net.bound(family, L.SOCK_DGRAM)
  assert(not sock:connect(there))
  local raw = assert(L.socket.new(assert(L.addrinfo.new(net.addr(family):bytes(), L.SOCK_RAW, protocol))))
  assert(sock:setsockopt(level, L[recverr], "int", 1) and sock:setsockopt(level, L[rfc4884], "int", 1))
  local function queued(extension)
    local original = datagram(name:port(), there:port())
    local message = icmp(original .. ("p"):rep(128 - #original) .. extension)
    assert(raw:sendto(message, net.addr(family, L.SOCK_RAW, 0)) == #message)
    local mh = assert(L.msghdr.new())
    assert(net.await(function() return sock:recvmsg(mh, L.MSG_ERRQUEUE, L.MSG_DONTWAIT) end))
    for _, cmsg in ipairs(mh:control()) do
      if cmsg:exterr() then
        local info = cmsg:rfc4884()
        return info and show(info.length, info.invalid), mh:data(), cmsg:exterr()
      end
    end
  end
  local got, data, err = queued(extensions())
  T.is(got, show(128 - headers, false), title .. ": rfc4884 tells where the extensions begin")
  T.is(data:sub(128 - headers + 1), extensions(), title .. ": they stand there")
  T.is(err.errno, L.ECONNREFUSED, title .. ": the error is told as ever")
  T.is(queued(extensions(true)), show(128 - headers, true), title .. ": damaged ones are invalid")
  T.is(queued "", nil, title .. ": without extensions there is nothing")
  sock:close(); peer:close(); raw:close()
end

-- Packet sockets: lengths and the tag of a VLAN, and the time of what was sent.
local ffi = require "ffi"
local function packet(ifname, ethertype)
  local index = assert(L.device.index(ifname))
  local bytes = ffi.string(ffi.new("uint16_t[1]", L.AF_PACKET), 2) .. be16(ethertype) .. ffi.string(ffi.new("int[1]", index), 4)
  local ai = assert(L.addrinfo.new(bytes .. ("\0"):rep(12), L.SOCK_RAW, ethertype))
  local sock = assert(L.socket.new(ai, true))
  assert(not sock:bind())
  return sock
end

netns.ip "link add name va type veth peer name vb"
netns.batch { "link set va up", "link set vb up" }
local TYPE = 0x88b5 -- for experiments of one's own: nobody else sends it
local FRAME = ("\2\0\0\0\0\1"):rep(2) .. be16(TYPE) .. ("x"):rep(50)
do
  local to, from = packet("vb", L.ETH_P_ALL), packet("va", TYPE) -- Linux forgets the tag before it looks at the type
  local mh = assert(L.msghdr.new())
  assert(to:setsockopt(L.SOL_PACKET, L.PACKET_AUXDATA, "int", 1))
  local function aux(sock, frame)
    assert(sock:send(frame) == #frame)
    assert(net.await(function() return to:recvmsg(mh) and mh:data() == FRAME end)) -- IPv6 sends frames of its own
    local got = mh:control()[1]:auxdata()
    return show(got.len, got.snaplen, got.mac, got.net, got.vlantci, got.vlantpid)
  end
  T.is(aux(from, FRAME), show(64, 64, 0, 14, nil, nil), "auxdata tells lengths and offsets")
  T.is(aux(from, FRAME:sub(1, 12) .. be16(0x8100) .. be16(5) .. FRAME:sub(13)), show(64, 64, 0, 14, 5, 0x8100),
    "and the tag of a VLAN, which is taken out of the bytes")
  assert(from:timestamping(bor(SOFTWARE, TX, L.SOF_TIMESTAMPING_OPT_ID, L.SOF_TIMESTAMPING_OPT_TSONLY)))
  from:send(FRAME)
  local got, has_time
  net.await(function()
    got, has_time = sent(from, mh)
    return got
  end)
  T.is(got, answer("SND", 0), "a packet socket is told when a packet left")
  T.ok(has_time, "with the time")
  to:close(); from:close()
end

-- What is sent is checked.
local function int(n) return L.cmsghdr.new(SOCKET, L.SO_MARK, n):integer() end
T.is(show(int "\1", int(("\255"):rep(4))), show(1, 2^32 - 1), "numbers are unsigned")
T.is(leak.count(), before, "no descriptor is left")
T.done()
