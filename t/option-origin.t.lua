-- option: where it went at first, which ports and interfaces are taken: nft redirects, ss(8) and Python's socket module look on.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local netns = require "netns"
local proc = require "proc"
local shell = require "shell"
local show, text = require("values").show, require("llsocket.errno").text
local before = leak.count()

local PLAN = 55
local T = require("tap").plan(PLAN)
local entered, why = netns.enter()
if not entered then
  T.skip(PLAN, why)
  T.done()
end
netns.batch { "link set lo up", "addr add 192.0.2.1/32 dev lo", "addr add 2001:db8::1/128 dev lo nodad",
  "route add 198.51.100.0/24 dev lo", "route add 2001:db8:7::/64 dev lo" }

local STREAM, DGRAM, V4, V6 = L.SOCK_STREAM, L.SOCK_DGRAM, L.AF_INET, L.AF_INET6
local function failed(e) return show(nil, text(e), e) end
local function address(host, port, kind) return assert(L.inet.getaddrinfo(host, port, kind or STREAM))[1] end

local function listener(host, v6only)
  local sock = assert(L.socket.new(address(host, 0)))
  if v6only ~= nil then assert(sock:v6only(v6only) == v6only) end
  local err = sock:bind() or sock:listen()
  assert(not err, err)
  return sock, sock:getsockname():port()
end

local function connection(to, server)
  local client = assert(L.socket.new(to))
  local err = client:connect()
  assert(not err, err)
  return assert(server:accept()), client
end

local has_python = select(2, proc.run "python3 -c 'import socket'")

-- Runs Python with a socket of this process; answers what it prints.
local function in_python(sock, code)
  sock:cloexec(false)
  local head = "import socket, struct, sys; sock = socket.socket(fileno=int(sys.argv[1])); "
  local out = proc.run(("python3 -c %s %d"):format(shell.quote(head .. code), sock:fd()))
  sock:cloexec(true)
  return (out:gsub("\n$", ""))
end

-- As T.is, of what Python tells.
local function is_in_python(sock, code, want, name)
  if has_python then T.is(in_python(sock, code), want, name) else T.skip(1, "python3 is missing") end
end

-- What ss(8) tells of the sockets that a filter of its own names.
local function in_ss(filter) return proc.run("PATH=$PATH:/usr/sbin:/sbin ss -H -n -a " .. filter) end
local has_ss = select(2, in_ss "-t")

-- originaldst.
local function nft(rules) return proc.run("PATH=$PATH:/usr/sbin:/sbin nft " .. shell.quote(rules)) end

local DECODE4 = "a = sock.getsockopt(socket.SOL_IP, 80, 16); print(socket.inet_ntop(socket.AF_INET, a[4:8]), a[2] * 256 + a[3])"
local DECODE6 = "a = sock.getsockopt(socket.IPPROTO_IPV6, 80, 28); print(socket.inet_ntop(socket.AF_INET6, a[8:24]), "
  .. "a[2] * 256 + a[3])"

local plain = listener "0.0.0.0"
local sock, client = connection(address("127.0.0.1", plain:getsockname():port()), plain)
local _, _, e = sock:originaldst()
T.ok(e == L.ENOENT or e == L.ENOPROTOOPT, "without a firewall that tracks it a connection has none")
sock:close(); client:close(); plain:close()

local function has_nat()
  local out, ok = nft [[table inet llsocket { chain out { type nat hook output priority -100; }; }; delete table inet llsocket]]
  return ok, "no NAT by nft may be made here: " .. (out:match "[^\n]*" or "")
end

local nat, no_nat = has_nat()
if not nat then T.skip(21, no_nat) else
  local server4, port4 = listener "0.0.0.0"
  local server6, port6 = listener("::", true)
  local both, port = listener("::", false)
  assert(select(2, nft(([[
    table ip llsocket { chain out { type nat hook output priority -100;
      tcp dport 80 redirect to :%d; tcp dport 81 redirect to :%d; }; };
    table ip6 llsocket { chain out { type nat hook output priority -100;
      tcp dport 80 redirect to :%d; tcp dport 81 redirect to :%d; }; };
  ]]):format(port4, port, port6, port))))
  local function redirected(host, to, server, code, title)
    local accepted, from = connection(address(host, to), server)
    local ai = accepted:originaldst()
    T.ok(ai == address(host, to), ("%s: originaldst is %s"):format(title, tostring(ai)))
    T.ok(accepted:getsockname():port() ~= to, title .. ": where the socket is not")
    is_in_python(accepted, code, host .. " " .. to, title .. ": Python reads the same")
    accepted:close(); from:close()
  end
  redirected("127.0.0.1", 80, server4, DECODE4, "IPv4")
  redirected("192.0.2.1", 80, server4, DECODE4, "IPv4, another address")
  redirected("::1", 80, server6, DECODE6, "IPv6")
  redirected("2001:db8::1", 80, server6, DECODE6, "IPv6, another address")
  redirected("2001:db8::1", 81, both, DECODE6, "IPv6 on a dual-stack socket")
  local mapped, from = connection(address("192.0.2.1", 81), both)
  T.is(tostring(mapped:originaldst()), "192.0.2.1:81", "IPv4 on a dual-stack socket: originaldst is an IPv4 address")
  T.is(mapped:getpeername():family(), V6, "although its own addresses are mapped")
  mapped:close(); from:close()
  local direct, other = connection(address("127.0.0.1", port4), server4)
  T.ok(direct:originaldst() == direct:getsockname(), "without a redirection it is the socket's own address")
  T.is(direct:originaldst():socktype(), STREAM, "with the socket's type")
  local plainly, over4 = connection(address("127.0.0.1", port), both)
  T.ok(plainly:originaldst() == plainly:getsockname():unmapped(), "on a dual-stack socket it is that address, unmapped")
  plainly:close(); over4:close()
  direct:close(); other:close(); server4:close(); server6:close(); both:close()
  T.is(show(direct:originaldst()), failed(L.EBADF), "once closed it is EBADF")
end
local udp = net.bound(V4, DGRAM)
T.is(select(3, udp:originaldst()), L.ENOPROTOOPT, "UDP has none: ENOPROTOOPT")
udp:close()
local a, b = net.pair(STREAM)
T.is(select(3, a:originaldst()), L.EOPNOTSUPP, "nor has a unix socket: EOPNOTSUPP")
a:close(); b:close()
local lone = assert(L.socket.new(address("::1", 0)))
T.ok(select(3, lone:originaldst()), "nor a socket without connection")
lone:close()

-- recvorigdst, with datagrams that TPROXY hands to another port.
local function tproxy(family, local_port)
  local ip = family == V4 and "ip" or "ip6"
  local any = family == V4 and "0.0.0.0/0" or "::/0"
  netns.ip((family == V4 and "" or "-6 ") .. "rule add fwmark 1 lookup 100")
  netns.ip((family == V4 and "" or "-6 ") .. ("route add local %s dev lo table 100"):format(any))
  return nft(([[table %s proxy {
    chain out { type route hook output priority -150; udp dport 53 meta mark set 1; };
    chain pre { type filter hook prerouting priority -150; udp dport 53 tproxy to :%d meta mark set 1 accept; }; }]])
    :format(ip, local_port))
end

for _, row in ipairs { { V4, "0.0.0.0", "198.51.100.7", "IPv4" }, { V6, "::", "2001:db8:7::7", "IPv6" } } do
  local family, any, host, title = unpack(row)
  local proxy = assert(L.socket.new(address(any, 0, DGRAM)))
  assert(proxy:transparent(true) and proxy:recvorigdst(true))
  assert(not proxy:bind())
  local out, ok = tproxy(family, proxy:getsockname():port())
  if not ok then T.skip(3, "no TPROXY by nft may be made here: " .. out:match "[^\n]*") else
    local from = net.bound(family, DGRAM)
    local to = address(host, 53, DGRAM)
    assert(from:sendto("asked", to) == 5)
    local mh = assert(L.msghdr.new())
    T.is(show(proxy:recvable(5) and proxy:recvmsg(mh)), "5", title .. ": TPROXY hands over a datagram for another machine")
    local cmsg = mh:control()[1]
    T.ok(cmsg and cmsg:origdst() == to, title .. ": origdst is where it was sent to")
    local answer = assert(L.socket.new(cmsg:origdst())) -- answers from there
    assert(answer:transparent(true) and answer:reuseaddr(true))
    assert(not answer:bind())
    answer:sendto("answered", mh:name())
    local msg, who = from:recvfrom()
    T.ok(msg == "answered" and who == to, title .. ": and where an answer may come from")
    answer:close(); from:close()
  end
  proxy:close()
end

-- bindaddressnoport and localportrange.  The namespace has one port for connections.
local function sysctl(value)
  local file = assert(io.open("/proc/sys/net/ipv4/ip_local_port_range", "w"))
  file:write(value)
  return file:close()
end

local one, port_one = listener "127.0.0.1"
local two, port_two = listener "127.0.0.1"
local function connecting(port, option)
  local caller = assert(L.socket.new(address("127.0.0.1", 0)))
  if option then assert(caller:bindaddressnoport(true)) end
  local _, refusal = caller:bind()
  local at_first = caller:getsockname():port()
  if not refusal then _, refusal = caller:connect(address("127.0.0.1", port)), nil end
  return caller, at_first, refusal
end
sysctl "40000 40000"
local first, at_first = connecting(port_one, true)
T.is(show(at_first, first:getsockname():port()), "0, 40000", "with bindaddressnoport connect chooses the port, not bind")
local second = connecting(port_two, true)
T.is(second:getsockname():port(), 40000, "so two connections to different servers have the same")
local third, _, refused = connecting(port_two, false)
T.is(refused, L.EADDRINUSE, "which a bind without it refuses")
first:close(); second:close(); third:close()
sysctl "32768 60999"

local function range_of(kind, family)
  return assert(L.socket.new(address(family == V6 and "::1" or "127.0.0.1", 0, kind)))
end
for _, row in ipairs { { STREAM, V4, "TCP" }, { DGRAM, V4, "UDP" }, { DGRAM, V6, "UDP over IPv6" } } do
  local ports, title = {}, row[3]
  local socks = {}
  for i = 1, 4 do
    socks[i] = range_of(row[1], row[2])
    assert(socks[i]:localportrange { 41000, 41003 })
    assert(not socks[i]:bind())
    ports[i] = socks[i]:getsockname():port()
  end
  table.sort(ports)
  T.is(table.concat(ports, " "), "41000 41001 41002 41003", title .. ": localportrange says which ports bind chooses from")
  local full = range_of(row[1], row[2])
  full:localportrange { 41000, 41003 }
  T.is(select(2, full:bind()), L.EADDRINUSE, title .. ": and no others")
  for _, each in ipairs(socks) do each:close() end
  full:close()
end
do
  local caller = range_of(STREAM, V4)
  T.is(table.concat(caller:localportrange(), " "), "0 0", "at first a socket has no range of its own")
  assert(caller:localportrange { 42000, 42000 })
  T.is(table.concat(caller:localportrange(), " "), "42000 42000", "a range is read back")
  local code = "n = sock.getsockopt(socket.SOL_IP, %d); print(n & 0xffff, n >> 16 & 0xffff)"
  is_in_python(caller, code:format(L.IP_LOCAL_PORT_RANGE), "42000 42000", "by Python, too")
  assert(not caller:connect(address("127.0.0.1", port_one)))
  if has_ss then
    local shown = in_ss "-t 'sport = :42000'"
    T.ok(shown:find("127.0.0.1:42000 +127.0.0.1:" .. port_one), "connect obeys it, as ss(8) shows")
  else
    T.skip(1, "ss(8) is missing")
  end
  T.is(show(caller:localportrange { 0, 0 } and table.concat(caller:localportrange(), " ")), '"0 0"', "zeroes take it back")
  caller:close()
  T.is(show(caller:localportrange()), failed(L.EBADF), "once closed it is EBADF")
end
do
  local taken, out = range_of(STREAM, V4), {}
  for _, bad in ipairs { { 5, 4 }, { -1, 5 }, { 1, 65536 }, { 1.5, 5 }, { 0/0, 5 }, { 1, 1/0 } } do
    if show(taken:localportrange(bad)) ~= failed(L.EINVAL) then out[#out + 1] = show(unpack(bad)) end
  end
  T.is(table.concat(out, "; "), "", "a range that cannot be is EINVAL")
  for _, bad in ipairs { {}, { 1 }, { "1", 2 }, 5, "1-2" } do
    local ok, err = pcall(taken.localportrange, taken, bad)
    if ok or not err:find "array of two numbers expected" then out[#out + 1] = show(bad) end
  end
  T.is(table.concat(out, "; "), "", "what is no array of two numbers is refused")
  T.is(table.concat(taken:localportrange(), " "), "0 0", "and changes nothing")
  taken:close()
end
one:close(); two:close()

-- bindtoifindex: the same as bindtodevice, by number.
do
  local index = assert(L.device.index "lo")
  local on_lo = assert(L.socket.new(address("127.0.0.1", 0, DGRAM)))
  T.is(show(on_lo:bindtoifindex(index), on_lo:bindtoifindex(), on_lo:bindtodevice()), show(index, index, "lo"),
    "bindtoifindex is what bindtodevice reads")
  assert(not on_lo:bind())
  if has_ss then
    T.ok(in_ss("-u"):find("127.0.0.1%lo:" .. on_lo:getsockname():port(), 1, true), "and what ss(8) shows")
  else
    T.skip(1, "ss(8) is missing")
  end
  T.is(show(on_lo:bindtoifindex(0), on_lo:bindtodevice()), '0, ""', "0 is any interface")
  T.is(show(on_lo:bindtoifindex(-1)), failed(L.EINVAL), "below 0 it is EINVAL")
  on_lo:close()
end

-- ipprotocol.
do
  local raw = assert(L.socket.new(assert(L.addrinfo.new(net.addr(V4):bytes(), L.SOCK_RAW, L.IPPROTO_ICMP))))
  T.is(raw:ipprotocol(), L.IPPROTO_ICMP, "ipprotocol is that of a raw socket")
  raw:close()
end

T.is(leak.count(), before, "no descriptor is left")
T.done()
