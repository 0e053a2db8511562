-- option: what the options by name do on the loopback, as the socket itself, its peer, ss(8) and Python see it.
local bit = require "bit"
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local values = require "values"
local show, text = values.show, require("llsocket.errno").text
local before = leak.count()
local T = require("tap").plan(74)

local function failed(e) return show(nil, text(e), e) end
local has6 = net.has(net.places[2])

-- Whether this kernel has a method on a socket; the reason to skip.
local function lacks(sock, ...)
  for _, name in ipairs { ... } do
    if not sock:supports(name) then return "this kernel has no " .. name end
  end
end

-- What ss(8) says of a socket, or nil and why it says nothing.
local function ss(flags, sock)
  local peer = sock:getpeername()
  local filter = ("sport = :%d"):format(sock:getsockname():port()) .. (peer and (" and dport = :%d"):format(peer:port()) or "")
  local out, ok = proc.run(("ss -HO%s '%s'"):format(flags, filter))
  if not ok then return nil, "ss(8) is missing, or too old" end
  return out
end

-- The ancillary data of the next message: level, type and integer of each piece.
local function control(sock, size)
  local mh = assert(L.msghdr.new { size = size or 64, controlsize = 256 })
  assert(sock:recvmsg(mh))
  local out = {}
  for _, cmsg in ipairs(mh:control()) do out[#out + 1] = show(cmsg:level(), cmsg:type(), cmsg:integer()) end
  return table.concat(out, "; ")
end

-- Who a socket is ----------------------------------------------------------------------------------------------

local a, b = net.tcp(L.AF_INET, true)
local out, why = ss("tane", a)
if not out then T.skip(1, why) else
  T.is(tonumber(out:match "sk:(%x+)", 16), tonumber(a:cookie()), "cookie is what ss(8) shows")
end
T.ok(a:cookie() == a:cookie() and a:cookie() ~= b:cookie(), "cookie remains the same, and is another for another socket")
T.is(type(a:cookie()) .. tostring(ffi.istype("uint64_t", a:cookie())), "cdatatrue", "it is a uint64_t")

local PY = "python3 -c 'import socket, struct; print(struct.unpack(\"Q\", socket.socket().getsockopt(%d, %d, 8))[0])'"
local COOKIE = PY:format(L.SOL_SOCKET, L.SO_NETNS_COOKIE)
out, why = proc.run(COOKIE)
if not why then T.skip(1, "no Python: " .. out) else
  T.is(out, (tostring(a:netnscookie()):gsub("ULL", "\n")), "netnscookie is that of Python's sockets in this namespace")
end
out, why = proc.run("unshare -n " .. COOKIE)
if not why then T.skip(1, "no namespace for Python: " .. out) else
  T.ok(out ~= tostring(a:netnscookie()):gsub("ULL", "\n"), "and another in another namespace: " .. out)
end
T.is(show(a:napiid()), "0", "napiid is 0 on the loopback, which has no such queue")

-- Memory -------------------------------------------------------------------------------------------------------

local udp, name = net.bound(L.AF_INET, L.SOCK_DGRAM, true)
local from = net.bound(L.AF_INET, L.SOCK_DGRAM, true)
udp:rcvbuf(0)
for _ = 1, 20 do from:sendto(("x"):rep(500), name) end
local info = udp:meminfo()
T.ok(info.rmem_alloc > 0 and info.rcvbuf == udp:rcvbuf() and info.drops > 0 and info.drops < 20,
  "meminfo tells what waits, the buffer's size and what was dropped")
out, why = ss("uanm", udp)
if not out then T.skip(1, why) else
  local words = "r%d,rb%d,t%d,tb%d,f%d,w%d,o%d,bl%d,d%d"
  T.is(out:match "skmem:%((.-)%)", words:format(info.rmem_alloc, info.rcvbuf, info.wmem_alloc, info.sndbuf, info.fwd_alloc,
    info.wmem_queued, info.optmem, info.backlog, info.drops), "its numbers are ss(8)'s")
end
local count = 0
while udp:recv() do count = count + 1 end
T.is(show(count + info.drops, udp:meminfo().rmem_alloc), "20, 0", "what was neither dropped nor read is none")

local function limit(file)
  local f = io.open("/proc/sys/net/core/" .. file)
  local n = f and f:read "*n"
  if f then f:close() end
  return n
end
for _, row in ipairs { { "rcvbufforce", "rcvbuf", "rmem_max", "rb" }, { "sndbufforce", "sndbuf", "wmem_max", "tb" } } do
  local force, plain, most = row[1], row[2], limit(row[3])
  local _, _, e = udp[force](udp, 4096)
  if e == L.EPERM or not most then T.skip(3, force .. " needs a privilege") else
    udp[plain](udp, most + 100000)
    T.is(udp[plain](udp), 2 * most, plain .. " is bound by the system")
    T.is(show(udp[force](udp, most + 100000), udp[force](udp), udp[plain](udp)), show(most + 100000, 2 * most + 200000,
      2 * most + 200000), force .. " is not")
    out, why = ss("uanm", udp)
    if not out then T.skip(1, why) else
      T.is(out:match("[(,]" .. row[4] .. "(%d+)"), ("%d"):format(2 * most + 200000), "as ss(8) shows")
    end
  end
end
T.is(show(udp:rcvbufforce(-1)), failed(L.EINVAL), "rcvbufforce(-1) is EINVAL")
local reserved, _, e = udp:reservemem(4096)
if e then
  T.is(e, L.EOPNOTSUPP, "reservemem outside of a memory cgroup is EOPNOTSUPP")
else
  T.is(show(reserved, udp:reservemem()), "4096, 4096", "reservemem in a memory cgroup is kept")
end

-- A child in a memory cgroup of its own, of the first version with a limit for sockets, or of the second.
local IN_CGROUP = [[
for top in /sys/fs/cgroup/memory /sys/fs/cgroup; do
  group=$top/llsocket-t-$$
  mkdir $group 2>/dev/null || continue
  { test ! -e $group/memory.kmem.tcp.limit_in_bytes || echo 100M >$group/memory.kmem.tcp.limit_in_bytes; } 2>/dev/null
  test -e $group/memory.limit_in_bytes -o -e $group/memory.max && (echo 0 >$group/cgroup.procs && exec "$1" "$2") 2>/dev/null
  rmdir $group
done]]
local CODE = [[
local L = require "llsocket"
local sock = assert(L.socket.new(assert(L.inet.getaddrinfo("127.0.0.1", "0"))[1]))
if sock:reservemem(40000) then print(sock:reservemem(), sock:meminfo().fwd_alloc) end
]]
local function in_cgroup()
  local script, code = os.tmpname(), os.tmpname()
  for path, source in pairs { [script] = IN_CGROUP, [code] = CODE } do
    local file = assert(io.open(path, "w"))
    file:write(source)
    file:close()
  end
  local printed = proc.run(shell.format("sh %q %q %q", script, proc.luajit, code))
  os.remove(script); os.remove(code)
  return printed
end
local told, used = in_cgroup():match "(%d+)\t(%d+)"
if not told then T.skip(1, "no memory cgroup may be made here") else
  T.ok(tonumber(told) >= 40000 and tonumber(used) >= 40000, "reservemem in a memory cgroup sets memory aside, as meminfo tells")
end

-- What comes with datagrams --------------------------------------------------------------------------------------

why = lacks(udp, "rcvpriority", "rcvmark")
if why then T.skip(4, why) else
  udp:rcvpriority(true)
  from:priority(5)
  from:sendto("x", name)
  T.is(control(udp), show(L.SOL_SOCKET, L.SO_PRIORITY, 5), "rcvpriority: the sender's priority comes with a datagram")
  udp:rcvpriority(false)
  local marks = from:mark(77) and udp:rcvmark(true)
  if not marks then T.skip(2, "a mark needs a privilege") else
    from:sendto("x", name)
    T.is(control(udp), show(L.SOL_SOCKET, L.SO_MARK, 77), "rcvmark: so does its mark")
    udp:rcvmark(false)
    from:sendto("x", name)
    T.is(control(udp), "", "rcvmark(false) ends it")
  end
  T.is(show(udp:rcvpriority(), udp:rcvmark()), "false, false", "both are off again")
end

-- Where a peek begins --------------------------------------------------------------------------------------------

local function peeks(sock)
  local seen = {}
  for i = 1, 3 do seen[i] = sock:recv(2, L.MSG_PEEK) end
  return table.concat(seen, " ")
end
a:send "abcdef"
net.await(function() return b:unread() == 6 end)
T.is(peeks(b), "ab ab ab", "each peek sees the first bytes")
if b:peekoff(0) == nil then T.skip(4, "this kernel has no peekoff on TCP") else
  T.is(peeks(b), "ab cd ef", "with peekoff each peek sees the next")
  T.is(b:peekoff(), 6, "which it tells")
  b:recv(2)
  T.is(show(b:peekoff(), b:peekoff(1), (b:recv(2, L.MSG_PEEK))), show(4, 1, "de"), "a receive moves it back, and it can be set")
  b:peekoff(-1)
  T.is(peeks(b), "cd cd cd", "-1 ends it")
end
T.is(show(b:peekoff(2^31)), "2147483648", "a word of 32 bits is taken signed or unsigned")
b:peekoff(-1); b:recv()

-- TCP --------------------------------------------------------------------------------------------------------------

T.is(show(b:tcpinq(true)), "true", "tcpinq is on")
a:send "0123456789"
net.await(function() return b:unread() == 10 end)
T.is(control(b, 3), show(L.IPPROTO_TCP, L.TCP_CM_INQ, 7), "a message tells how many bytes wait behind it")
b:tcpinq(false); b:recv()

-- Fills a connection that nobody reads; answers how much of it never left.
local function filled(lowat)
  local sender, reader = net.tcp(L.AF_INET, true)
  if lowat then assert(sender:tcpnotsentlowat(lowat) == lowat) end
  local chunk = ("x"):rep(4096)
  while sender:send(chunk) > 0 do end -- luacheck: ignore 542
  local waits, unsent = not sender:sendable(0), sender:tcpinfo().notsent_bytes
  while reader:recv(65536) do end -- luacheck: ignore 542
  local again = sender:sendable(5)
  sender:close(); reader:close()
  return unsent, waits and again
end
local kept, waited = filled(10000)
T.ok(kept >= 10000 and kept <= 10000 + 65536, "with tcpnotsentlowat so much waits unsent, up to a segment: " .. kept)
T.ok(waited, "it is not sendable before that has gone")
T.ok(filled() > 200000, "without, much more waits")
local limitless, idle = net.tcp(L.AF_INET)
local function lowat(...) return limitless:tcpnotsentlowat(...) end
T.is(show(lowat(2^32 - 1), lowat(), lowat(-1), lowat()),
  show(2^32 - 1, 2^32 - 1, -1, 2^32 - 1), "2^32-1 is no limit, and read as it is")
limitless:close(); idle:close()

local function answer_time(rto)
  local one, other = net.tcp(L.AF_INET)
  if rto then assert(one:tcprtomin(rto) == rto) end
  for _ = 1, 5 do one:send "x"; other:recv(); other:send "y"; one:recv() end
  local shown = ss("tani", one)
  local usec = one:tcpinfo().rto
  one:close(); other:close()
  return usec, shown and tonumber(shown:match "rto:([%d.]+)")
end
why = lacks(a, "tcprtomin")
if why then T.skip(3, why) else
  local usual, short, shown = answer_time(), answer_time(20000)
  T.ok(usual >= 200000, "without tcprtomin a repetition waits 200 ms at least: " .. usual)
  T.ok(short >= 20000 and short < 100000, "with it less: " .. short)
  if not shown then T.skip(1, "ss(8) is missing") else T.is(shown * 1000, short, "as ss(8) shows") end
end
T.is(show(a:tcprtomin(300000)), failed(L.EINVAL), "tcprtomin above 200,000 is EINVAL")
T.is(show(a:tcprtomax(999)), failed(L.EINVAL), "tcprtomax below 1,000 is EINVAL")
T.is(show(a:tcpsyncnt(0)) .. "; " .. show(a:tcpsyncnt(128)), failed(L.EINVAL) .. "; " .. failed(L.EINVAL),
  "tcpsyncnt takes 1 to 127")
T.is(show(a:tcptxdelay(1000), a:tcptxdelay()), "1000, 1000", "tcptxdelay is kept")
T.is(show(a:tcptxdelay(2^30)), failed(L.EINVAL), "tcptxdelay of half an hour is EINVAL")
a:close(); b:close()

-- The state of a socket that was closed, as /proc/net/tcp has it: "05" is FIN_WAIT2, "04" FIN_WAIT1.
local function state_of(ports)
  local file = assert(io.open "/proc/net/tcp")
  local all = file:read "*a"
  file:close()
  for line in all:gmatch "[^\n]+" do
    local port, peer, state = line:match "^ *%d+: %x+(:%x+) %x+(:%x+) (%x+)"
    if port and port .. " " .. peer == ports then return state end
  end
  return "gone"
end

local function state_after_close(linger2)
  local one, other = net.tcp(L.AF_INET)
  assert(one:tcplinger2(linger2) == linger2)
  local ports = (":%04X :%04X"):format(one:getsockname():port(), other:getsockname():port())
  one:close()
  local state = net.await(function()
    local now = state_of(ports)
    return now ~= "04" and now -- the acknowledgement may be delayed
  end)
  other:close()
  return state
end
T.is(state_after_close(30), "05", "tcplinger2: a closed socket waits in FIN_WAIT2")
T.is(state_after_close(-1), "gone", "with -1 it is gone")

-- The headers of a client's SYN.
local function saved(how)
  local listener, ai = net.listener()
  assert(listener:tcpsavesyn(how) == how)
  local client = assert(L.socket.new(ai))
  assert(not client:connect())
  local server = assert(listener:accept())
  assert(server:supports "savedsyn") -- which takes nothing away
  local syn, again, port = server:savedsyn(), server:savedsyn(), client:getsockname():port()
  client:close(); server:close(); listener:close()
  return syn, again, port
end
local syn, again, port = saved(1)
local source = #syn >= 40 and syn:byte(21) * 256 + syn:byte(22)
T.is(show(syn:byte(1), source, again), show(0x45, port, ""), "savedsyn has the SYN's headers from IP on, once")
T.is(bit.band(syn:byte(34), 0x3f), 2, "the flag SYN alone is set")
syn = saved(2)
T.is(syn:byte(15), 0x45, "with tcpsavesyn(2) those of the link, too")
T.is((saved(0)), "", "without tcpsavesyn there are none")

-- Hops.
local function reaches(family, hops, least)
  local listener, ai = net.listener(family, true)
  local floor, own = "minttl", "ttl"
  if family == L.AF_INET6 then floor, own = "minhopcount", "hoplimit" end
  assert(listener[floor](listener, least) == least)
  local client = assert(L.socket.new(ai, true))
  client[own](client, hops)
  client:connect()
  local there = listener:recvable(0) -- over the loopback the SYN has arrived when connect returns
  client:close(); listener:close()
  return there
end
T.is(show(reaches(L.AF_INET, 64, 64), reaches(L.AF_INET, 63, 64), reaches(L.AF_INET, 255, 255)), "true, false, true",
  "minttl: what comes with a lower time to live is dropped")
if not has6 then T.skip(1, "no IPv6 here") else
  T.is(show(reaches(L.AF_INET6, 64, 64), reaches(L.AF_INET6, 63, 64), reaches(L.AF_INET6, 255, 255)), "true, false, true",
    "minhopcount: the same for IPv6")
end

-- Signatures.
local function meets(key_there, key_here, family, prefix)
  local listener, ai = net.listener(family, true)
  local client = assert(L.socket.new(ai, true))
  local err = key_there and listener:tcpmd5sig(ai, key_there, prefix) or key_here and client:tcpmd5sig(ai, key_here)
  if err then print("# " .. err) end
  client:connect()
  local there = listener:recvable(0)
  local shown = there and ss("tani", client)
  local server = there and listener:accept()
  if server then
    server:send "signed"
    there = client:recvable(5) and client:recv()
    server:close()
  end
  client:close(); listener:close()
  return there, shown
end
local tcp = assert(L.socket.new(net.addr()))
why = lacks(tcp, "tcpmd5sig")
if why then T.skip(13, why) else
  local met, shown = meets("secret", "secret")
  T.is(met, "signed", "tcpmd5sig: with one key on both sides they meet")
  if not shown then T.skip(1, "ss(8) is missing") elseif not shown:find "md5keys" then T.skip(1, "ss(8) shows no keys") else
    T.ok(shown:find("md5keys:127.0.0.1/32=", 1, true) and shown:find "secret", "ss(8) shows the key, and whose it is")
  end
  T.is(show(meets("secret", "public")), "false, false", "with another they do not")
  T.is(show(meets("secret", nil)), "false, false", "nor without one")
  T.is(show(meets(nil, "secret")), "false, false", "on either side")
  T.is((meets("secret", "secret", L.AF_INET, 8)), "signed", "a key may be that of a network")
  if not has6 then T.skip(1, "no IPv6 here") else
    T.is((meets("secret", "secret", L.AF_INET6)), "signed", "it works over IPv6")
  end
  local ai = net.addr()
  T.is(show(tcp:tcpmd5sig(ai, "")), show(text(L.EINVAL), L.EINVAL), "a key of no bytes is EINVAL")
  T.is(show(tcp:tcpmd5sig(ai, "x")), "no values", "one of 1 byte is taken")
  T.is(show(tcp:tcpmd5sig(ai, ("x"):rep(80))) .. "; " .. show(tcp:tcpmd5sig(ai, ("x"):rep(81))),
    "no values; " .. show(text(L.EINVAL), L.EINVAL), "one of 80 as well, one of 81 is EINVAL")
  T.is(show(tcp:tcpmd5sig(ai, false)) .. "; " .. show(tcp:tcpmd5sig(ai, false)),
    "no values; " .. show(text(L.ENOENT), L.ENOENT), "false takes it away, once")
  T.is(show(tcp:tcpmd5sig(ai, "key", 33)), show(text(L.EINVAL), L.EINVAL), "a prefix of 33 bits is EINVAL for IPv4")
  T.is(show(tcp:tcpmd5sig(L.unix.getaddrinfo("/x")[1], "key")), show(text(L.EINVAL), L.EINVAL), "so is a path")
end
tcp:close()

-- UDP ----------------------------------------------------------------------------------------------------------

if not has6 then T.skip(3, "no IPv6 here") else
  local to, to_name = net.bound(L.AF_INET6, L.SOCK_DGRAM, true)
  local plain = net.bound(L.AF_INET6, L.SOCK_DGRAM, true)
  assert(plain:nocheck6(true) == true)
  plain:sendto("bare", to_name)
  T.is(show(to:recv()), values.again(L.EAGAIN), "nocheck6: a datagram without checksum is dropped")
  to:nocheck6(true)
  plain:sendto("bare", to_name)
  T.is(to:recv(), "bare", "unless the receiver takes it")
  to:setsockopt(L.IPPROTO_UDP, L.UDP_NO_CHECK6_RX, "int", 0)
  T.is(show(to:nocheck6(), plain:nocheck6(), plain:nocheck6(false), plain:nocheck6()), "false, true, false, false",
    "it is read as on where both halves are")
  to:close(); plain:close()
end

-- Takes what waits after these were sent.
local function passes(...)
  for _, message in ipairs { ... } do from:sendto(message, name) end
  local got = {}
  for message in function() return (udp:recv()) end do got[#got + 1] = message end
  return table.concat(got, " ")
end
local ESP = L.UDP_ENCAP_ESPINUDP
T.is(passes("\255", "\0\0\0\0ike"), "\255 \0\0\0\0ike", "without udpencap every datagram is received")
if udp:udpencap(ESP) == nil then T.skip(2, "this kernel has no IPsec") else
  T.is(passes("\255", "\0\0\0\0ike"), "\0\0\0\0ike", "with UDP_ENCAP_ESPINUDP the kernel takes keepalives of IPsec")
  T.is(udp:udpencap(), ESP, "which udpencap tells")
end
T.is(select(3, udp:udpencap(250)), L.ENOPROTOOPT, "an unknown encapsulation is ENOPROTOOPT")
udp:close(); from:close()

-- A group that another socket joined.
local member = assert(L.socket.new(assert(L.inet.getaddrinfo("239.7.7.8", "0", L.SOCK_DGRAM))[1], true))
member:reuseaddr(true)
if member:bind() or member:mcastjoin("239.7.7.8", "lo") then T.skip(3, "no IPv4 groups on the loopback here") else
  local group = member:getsockname()
  local other = assert(L.socket.new(assert(L.inet.getaddrinfo("0.0.0.0", group:port(), L.SOCK_DGRAM))[1], true))
  local sender = assert(L.socket.new(group, true))
  other:reuseaddr(true)
  assert(not other:bind())
  sender:mcastif "lo"
  sender:sendto("one", group)
  T.is(show(member:recv(), (other:recv())), show("one", "one"), "multicastall: a socket gets the groups that others joined")
  T.is(show(other:multicastall(), other:multicastall(false)), "true, false", "which it tells, and can be turned off")
  sender:sendto("two", group)
  T.is(show(member:recv(), (other:recv())), show("two", nil), "then it does not")
  other:close(); sender:close()
end
member:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
