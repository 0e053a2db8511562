-- option: supports tells what the kernel has, without an error and without changing anything.
local L = require "llsocket"
local leak = require "leak"
local methods = require "methods"
local multicast = require "llsocket.socket.multicast"
local net = require "net"
local proc = require "proc"
local sockets = require "llsocket.socket.object"
local sys = require "sys"
local values = require "values"
local show, text = values.show, require("llsocket.errno").text
local before = leak.count()

local function failed(e) return show(nil, text(e), e) end

local FAMILIES = {
  { "unix stream", L.AF_UNIX, L.SOCK_STREAM }, { "unix dgram", L.AF_UNIX, L.SOCK_DGRAM },
  { "tcp4", L.AF_INET, L.SOCK_STREAM }, { "tcp6", L.AF_INET6, L.SOCK_STREAM },
  { "udp4", L.AF_INET, L.SOCK_DGRAM }, { "udp6", L.AF_INET6, L.SOCK_DGRAM },
  { "unix seqpacket", L.AF_UNIX, L.SOCK_SEQPACKET }, { "raw", L.AF_INET, L.SOCK_RAW, L.IPPROTO_ICMP },
  { "mptcp", L.AF_INET, L.SOCK_STREAM, L.IPPROTO_MPTCP or 262 },
}
local T = require("tap").plan(#FAMILIES * 4 + 29)

-- What a method answers when the kernel has no such option.
local LACKS = { [L.ENOPROTOOPT] = true, [L.EOPNOTSUPP] = true }

-- All that a question could have changed.
local function state(sock)
  local out = { sock:fd(), sock:cloexec(), sock:nonblock(), sock:getsockname(), sock:mcastttl(), sock:mcastif() }
  for i = 1, 6 do out[i] = tostring(out[i]) end
  for _, row in ipairs(methods.options) do
    local value = row[1] ~= "error" and row[4] ~= "tcpinfo" and sock[row[1]](sock)
    out[#out + 1] = row[1] .. "=" .. (type(value) == "table" and "" or tostring(value))
  end
  return table.concat(out, " ")
end

-- Holds supports against what reading answers.
local function different(sock)
  local out = {}
  local function compare(name)
    local value, _, e = sock[name](sock)
    local want = value ~= nil or not LACKS[e]
    if name == "peerpidfd" and value then value:close() end
    local got = show(sock:supports(name))
    if got ~= tostring(want) then out[#out + 1] = name .. " " .. got end
  end
  for _, row in ipairs(methods.options) do compare(row[1]) end
  for _, row in ipairs(multicast.OPTIONS) do compare(row[1]) end
  for _, name in ipairs { "mcastif", "peerpidfd", "originaldst" } do compare(name) end
  return table.concat(out, ", ")
end

-- Methods that are not of every kind of socket, each as a call and what that answers where it is not.  The call may fail for
-- other reasons: nothing is connected.
local KEPT = {}
local OF_SOME = {
  filter = { function(sock) return select(3, sock:filter "ret #-1") end },
  recvfd = { function(sock) return select(4, sock:recvfd(L.MSG_DONTWAIT)) end },
  sendfd = { function(sock) return select(4, sock:sendfd(0)) end },
  sendzerocopy = { function(sock) return select(4, sock:sendzerocopy "x") end },
  splice = { function(sock) return select(4, sock:splice(sock, KEPT.pipe)) end, L.EINVAL },
  steer = { function(sock) return (select(2, sock:steer("cpu", 1))) end, L.EINVAL },
}

local function wrong(sock)
  local out = {}
  KEPT.pipe = assert(L.pipe.new())
  sock:reuseport(true) -- steer wants it, before a send binds the socket
  for name, row in pairs(OF_SOME) do
    local told, e = sock:supports(name), row[1](sock)
    local want = not (LACKS[e] or e == L.ENOSYS or e ~= nil and e == row[2])
    if told ~= want then out[#out + 1] = ("%s %s: %s"):format(name, tostring(told), e and text(e) or "done") end
  end
  KEPT.pipe:close()
  return table.concat(out, ", ")
end

-- The methods that are no options, and of every kind of socket: true everywhere.
local function not_everywhere(sock)
  local options, out = { tcpmd5sig = true, mcastif = true, mcastfilter = true, peerpidfd = true,
    originaldst = true }, {}
  for name in pairs(OF_SOME) do options[name] = true end
  for _, rows in ipairs { methods.options, multicast.OPTIONS, multicast.MEMBERSHIPS } do
    for _, row in ipairs(rows) do options[row[1]] = true end
  end
  for name in pairs(sockets.methods) do
    if not options[name] and sock:supports(name) ~= true then out[#out + 1] = name end
  end
  return table.concat(out, ", ")
end

for _, family in ipairs(FAMILIES) do
  local title, domain, socktype, protocol = unpack(family)
  local ai = domain == L.AF_UNIX and assert(L.unix.getaddrinfo("", socktype))[1] or net.addr(domain, socktype)
  if protocol then ai = assert(L.addrinfo.new(ai:bytes(), socktype, protocol)) end
  local sock, err = L.socket.new(ai, true)
  if not sock then T.skip(4, title .. ": " .. err) else
    local was = state(sock)
    T.is(different(sock), "", title .. ": supports tells true where reading an option finds one, and false elsewhere")
    T.is(not_everywhere(sock), "", title .. ": methods that are no options are there everywhere")
    T.is(state(sock), was, title .. ": nothing was changed by asking")
    local pair = domain == L.AF_UNIX and assert(L.socket.pair(socktype, true)) -- unconnected, splice would be EINVAL
    T.is(wrong(pair and pair[1] or sock), "", title .. ": a method of some sockets is told where it works, and nowhere else")
    if pair then pair[1]:close(); pair[2]:close() end
    sock:close()
  end
end

-- What a read would take away.
local nobody = net.bound(L.AF_INET, L.SOCK_DGRAM)
local there = nobody:getsockname()
nobody:close()
local udp = assert(L.socket.new(there, true))
assert(not udp:connect())
udp:send "x"
T.is(show(udp:supports "error", udp:error()), show(true, L.ECONNREFUSED), "a pending error stays for error()")
local listener, ai = net.listener()
assert(listener:tcpsavesyn(1))
local client = assert(L.socket.new(ai))
assert(not client:connect())
local server = assert(listener:accept())
T.is(show(server:supports "savedsyn", #server:savedsyn() >= 40), "true, true", "a saved SYN stays for savedsyn()")
T.is(show(server:supports "unread", server:supports "unsent", listener:supports "unread"), "true, true, true",
  "queues are there, also on a listener, which answers EINVAL")
T.is(show(client:supports "tcpmd5sig", udp:supports "tcpmd5sig"), show(client:supports "tcpmd5sig", false),
  "tcpmd5sig is TCP's")
T.is(show(client:supports "mtu", udp:supports "mtu"), "true, true", "an option that needs a connection is there without")
T.is(show(client:supports "rcvbufforce", client:supports "sndbufforce"), "true, true", "so are those that are set only")
T.is(show(udp:supports "mcastjoin", udp:supports "mcastif", client:supports "mcastjoin"), "true, true, false",
  "memberships are of datagram sockets")
T.is(show(udp:supports "mcastfilter", client:supports "mcastfilter"), show(L.MCAST_MSFILTER ~= nil, false), "so are filters")
for _, name in ipairs { "nothing", "", "tcpnodelay ", "TCP_NODELAY", "sd", "home", "about", "__index", "tcp\0nodelay" } do
  if client:supports(name) ~= false then T.ok(false, name) end
end
T.ok(true, "unknown names, fields and constants are false")
client:close(); server:close(); listener:close()
T.is(show(client:supports "tcpnodelay"), failed(L.EBADF), "a closed socket answers EBADF")
T.is(show(pcall(udp.supports, udp)), show(false, "bad argument #1 to 'supports' (string expected, got nil)"),
  "a name that is missing is the caller's error")
T.is(show(pcall(udp.supports, udp, 5)), show(false, "bad argument #1 to 'supports' (string expected, got number)"),
  "so is one that is no string")
udp:close()

-- As on a platform whose headers lack the names.
local ABSENT = [[
local const = require "llsocket.core.const"
const.TCP_NODELAY, const.IP_RECVTTL, const.IPV6_RECVHOPLIMIT, const.TCP_MD5SIG = nil
const.TCP_NOPUSH, const.TCP_CORK = const.TCP_CORK or const.TCP_NOPUSH, nil
local L = require "llsocket"
local sock = assert(L.socket.new(assert(L.inet.getaddrinfo("127.0.0.1", "0"))[1]))
print(sock:supports "tcpnodelay", sock:supports "recvttl", sock:supports "tcpmd5sig", sock:supports "tcpcork")
]]
T.is(proc.lua(ABSENT), "false\tfalse\tfalse\ttrue\n", "an option that the platform lacks is false")

-- As on a kernel that has no such option: Linux answers EINVAL to a value of less than 4 bytes, whatever the option is.
local UNKNOWN = [[
local const = require "llsocket.core.const"
const.TCP_MD5SIG, const.SO_ATTACH_FILTER, const.SO_ATTACH_REUSEPORT_CBPF, const.SO_ZEROCOPY = 9999, 9999, 9999, 9999
local L = require "llsocket"
local sock = assert(L.socket.new(assert(L.inet.getaddrinfo("127.0.0.1", "0"))[1]))
print(sock:supports "tcpmd5sig", sock:supports "filter", sock:supports "steer", sock:supports "sendzerocopy")
]]
T.is(proc.lua(UNKNOWN), "false\tfalse\tfalse\tfalse\n", "an option that only the kernel lacks is false, too")

-- Kinds of sockets.
local supports = L.socket.supports
T.is(show(supports(L.AF_INET), supports(L.AF_UNIX), supports(L.AF_INET, L.SOCK_DGRAM)), "true, true, true", "families and types")
T.is(show(supports(L.AF_INET, L.SOCK_STREAM, L.IPPROTO_TCP), supports(L.AF_INET, L.SOCK_STREAM, L.IPPROTO_UDP)), "true, false",
  "a protocol is another type's, or not")
T.is(show(supports(250), supports(L.AF_INET, 12), supports(L.AF_INET, -1), supports(-1)), "false, false, false, false",
  "numbers that nobody has are false")
T.is(show(supports(L.AF_INET, nil, L.IPPROTO_UDP), supports(L.AF_INET, nil, 254), supports(L.AF_UNIX, nil, 254)),
  show(true, supports(L.AF_INET, L.SOCK_RAW, 254), false), "without a type any may have the protocol")
T.is(show(supports(2^31)) .. "; " .. show(supports(L.AF_INET, 1.5)), failed(L.EINVAL) .. "; " .. failed(L.EINVAL),
  "impossible numbers are EINVAL")
T.is(show(pcall(supports)), show(false, "bad argument #1 to 'supports' (number expected, got nil)"), "a family is wanted")
if not (sys.linux and L.AF_PACKET) then T.skip(2, "Linux's own") else
  local raw, _, e = L.socket.new((L.addrinfo.new(L.inet.getaddrinfo("127.0.0.1", nil, L.SOCK_RAW, 1)[1]:bytes(), L.SOCK_RAW, 1)))
  if raw then raw:close() end
  T.is(show(supports(L.AF_INET, L.SOCK_RAW, L.IPPROTO_ICMP)), "true", "raw sockets are there, with a privilege or without: "
    .. (e and text(e) or "made"))
  T.is(type(supports(L.AF_VSOCK)) .. type(supports(L.AF_PACKET)), "booleanboolean", "others are told without an error")
end

if sys.getuid() ~= 0 then T.skip(1, "no root here, who gives up a privilege") else
  T.is(proc.wait(proc.fork(function()
    sys.setuid(65534)
    return supports(L.AF_INET, L.SOCK_RAW, 254) == true and not supports(L.AF_INET, 12)
  end)), 0, "a kind that only a privilege may make is there for a user without it")
end

-- Descriptors run out.
local function starved(fn)
  return proc.wait(proc.fork(function()
    collectgarbage(); collectgarbage()
    assert(sys.limit_descriptors(64))
    local keep = {}
    repeat keep[#keep + 1] = L.socket.new(ai) until select(2, L.socket.new(ai))
    return fn(keep)
  end))
end
T.is(starved(function() return show(supports(L.AF_INET)) == failed(L.EMFILE) end), 0, "without a descriptor it is EMFILE")
T.is(starved(function(keep)
  while #keep > 0 do keep[#keep] = nil end
  return supports(L.AF_INET)
end), 0, "garbage is collected first")
local open = leak.count()
for _ = 1, 100 do supports(L.AF_INET); supports(L.AF_UNIX, L.SOCK_DGRAM) end
T.is(leak.count(), open, "a question leaves no descriptor")
local pair = assert(L.socket.pair(L.SOCK_STREAM))
open = leak.count()
for _ = 1, 10 do pair[1]:supports "peerpidfd"; pair[1]:supports "peercred" end
local tcp = assert(L.socket.new(net.addr()))
T.is(show(tcp:supports "peerpidfd", pair[1]:supports "originaldst"), show(tcp:supports "cookie", false),
  "methods that are no rows but ask for an option are told by that")
tcp:close()
T.is(leak.count(), open, "not even one for an option that makes descriptors")
pair[1]:close(); pair[2]:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
