-- operations.lua -- every public function and method, made ready and performed: the one list that the tortures walk.
--
-- A row: its title (the name that the pages give it, and behind a comma a variant), its family of answers (shapes.lua), what it
-- answers without a fault (a pattern for shapes.line), how the objects are made, and what it is called with.  See M.ready.
local ffi = require "ffi"
local L = require "llsocket"
local on = require "makers"
local net = require "net"
local owners = require "owners"
local pollers = require "pollers"
local shapes = require "shapes"
local sys = require "sys"
local options, multicast = require("methods").options, require "llsocket.socket.multicast"

-- faces: of llsocket.luasocket and llsocket.cosocket, whose answers have words; all: both lists; fuzzed: more of the faces, for
-- t/torture/fuzz alone
local M = { list = {}, faces = {}, all = {}, fuzzed = {} }

-- The system calls that may block, by their names in strace(1): close and shutdown never wait without the option linger.
M.BLOCKING = {}
for name in ([[accept accept4 connect epoll_pwait epoll_wait poll ppoll read recvfrom recvmmsg recvmsg sendfile sendmmsg sendmsg
  sendto splice write]]):gmatch "%S+" do M.BLOCKING[name] = true end

local STREAM, DGRAM = L.SOCK_STREAM, L.SOCK_DGRAM
local BY_NUMBER = L.SO_PEERPIDFD or 77 -- makes a descriptor; younger than Debian 12's headers
local SOCK, AI, EVENT = "llsocket.socket: fd", "127.0.0.1:%d+", "llsocket.event: fd"
local function object(class) return "llsocket%." .. class .. ": 0x" end

-- The list ---------------------------------------------------------------------------------------------------

local zeros = ffi.new "uint8_t[16384]"

local ROWS = {
  { "addrinfo.new", "object", AI, on.none, function() return net.addr():bytes(), STREAM end },
  { "ai:addr", "never", '"127.0.0.1"', on.addr }, { "ai:port", "never", "0", on.addr },
  { "ai:family", "never", "%d+", on.addr }, { "ai:socktype", "never", "%d+", on.addr },
  { "ai:protocol", "never", "%d+", on.addr }, { "ai:canonname", "never", "nil", on.addr },
  { "ai:bytes", "never", '".+"', on.addr },
  { "ai:nameinfo", "gai", '{host="127.0.0.1", serv="0"}', on.addr, { L.NI_NUMERICHOST, L.NI_NUMERICSERV } },
  { "ai:nameinfo, by name", "gai", '{host=".+", serv="0"}', on.addr },
  { "ai:fields", "never", '{addr="127.0.0.1", port=0}', on.addr },
  { "ai:fields, of an interface", "never", '{.*ifname="lo".*}', on.made("packet", "lo", 8) },
  { "ai:unmapped", "never", "127.0.0.1:0", on.addr },
  { "ai:unmapped, of a mapped one", "never", "127.0.0.1:80", on.made("inet6", "::ffff:127.0.0.1", 80) },
  { "ai:nameinfo, without libc", "gai", '{host="2", serv="1"}', on.made("vsock", 2, 1) },
  { "addrinfo.inet", "object", "127.0.0.1:80", on.none, { "127.0.0.1", 80 } },
  { "addrinfo.inet6", "object", "%[fe80::1%%lo]:80", on.none, { "fe80::1%lo", 80 } },
  { "addrinfo.unix", "object", "unix:/x", on.none, { "/x" } },
  { "addrinfo.netlink", "object", "netlink:1/0x", on.none, { 1, 1 } },
  { "addrinfo.packet", "object", "packet:lo:0x/02:00", on.none, { "lo", 8, "02:00" } },
  { "addrinfo.vsock", "object", "vsock:2:1", on.none, { 2, 1 } },
  { "inet.pton", "object", '"\\127.+"', on.none, { "127.0.0.1" } },
  { "inet.ntop", "object", '"127.0.0.1"', on.none, { "\127\0\0\1" } },
  { "inet.service", "gai", "80", on.none, { "http" } }, { "inet.service, by number", "gai", '"http"', on.none, { 80 } },
  { "inet.getaddrinfo", "gai", "{127.0.0.1:80}", on.none, { "127.0.0.1", "80", STREAM } },
  { "inet.getaddrinfo, by name", "gai", "{.*127.0.0.1:80.*}", on.none, { "localhost", "80", STREAM } },
  { "inet.getaddrinfo4", "gai", "{.*127.0.0.1:80.*}", on.none, { "localhost", "80", STREAM } },
  { "inet.getaddrinfo6", "gai", "{%[fe80::1%%lo]:80}", on.none, { "fe80::1%lo", 80, STREAM } },
  { "unix.getaddrinfo", "object", "{unix:.+}", on.none, { "\0name", STREAM } },

  { "socket.new", "object", SOCK, on.addr, { true } },
  { "socket.pair", "object", "{" .. SOCK .. ", " .. SOCK .. "}", on.none, { STREAM, true } },
  { "socket.wrap", "object", SOCK, on.number, { true } },
  { "socket.activated", "object", "{" .. SOCK .. ", web=" .. SOCK .. "}, {\"web\"}", on.activated, process = true },
  { "socket.zerocopykept", "object", "%d+", on.none }, { "socket.congestions", "object", "{.+}", on.none },
  { "sock:tcpinfo, into a table", "object", "{.+}", on.tcp, function() return {} end },
  { "sock:dup", "object", SOCK, on.unix }, { "sock:unwrap", "object", "%d+", on.tcp_new, number = true },
  { "sock:fd", "never", "%d+", on.unix },
  { "sock:family", "object", "1", on.unix }, { "sock:socktype", "object", "%d+", on.unix },
  { "sock:protocol", "object", "0", on.unix },
  { "sock:bind", "plain", "", on.tcp_new }, { "sock:listen", "plain", "", on.bound(STREAM), { 5 } },
  { "sock:connect", "connect", "", on.caller(false) },
  { "sock:connect, non-blocking", "connect", "nil, true, %d+", on.caller(true) },
  { "sock:connect, datagrams", "connect", "", on.bound(DGRAM), function() return net.addr(L.AF_INET, DGRAM, 9) end },
  { "sock:shutdown", "plain", "", on.unix, { L.SHUT_WR } },
  { "sock:close", "plain", "", on.unix }, { "sock:close, shut down first", "plain", "", on.unix, { L.SHUT_RDWR } },
  { "sock:close, watched", "plain", "", on.watched, kept = true }, { "sock:close, zero-copy", "plain", "", on.sent_zerocopy },
  { "sock:accept", "accept", SOCK, on.called, { true } },
  { "sock:accept, named", "accept", SOCK, on.called, function(_, name) return false, name end },
  { "sock:send", "send", "3, nil, false", on.unix, { "abc" } },
  { "sock:send, TCP", "send", "3, nil, false", on.tcp, { "abc", L.MSG_DONTWAIT } },
  { "sock:sendto", "send", "3, nil, false", on.bound(DGRAM), function(sock) return "abc", sock:getsockname() end },
  { "sock:sendfile", "send", "10, nil, false", on.tcp, function(_, _, _, own) return on.file(own), 10, 0 end },
  { "sock:recv", "recv", '"abc", nil, false', on.fed(on.unix, "abc") },
  { "sock:recv, TCP", "recv", '"abc", nil, false', on.fed(on.tcp, "abc"), { 4096, L.MSG_DONTWAIT } },
  { "sock:recv, large", "recv", '"abc", nil, false', on.fed(on.unix, "abc"), { 100000 } },
  { "sock:recv, the end", "recv", "", on.ended },
  { "sock:recv, an empty message", "recv", '"", nil, false', on.fed(on.unix_seq, "") },
  { "sock:recvfrom", "recvfrom", '"abc", ' .. AI .. ", nil, false", on.fed(on.udp, "abc") },
  { "sock:recvfrom, large", "recvfrom", '"abc", ' .. AI .. ", nil, false", on.fed(on.udp, "abc"), { 100000 } },
  { "sock:recvfrom, seqpacket", "recvfrom", '"abc", nil, nil, false', on.fed(on.unix_seq, "abc") },
  { "sock:recvable", "object", "true", on.fed(on.unix, "abc"), { 5 } }, { "sock:sendable", "object", "true", on.unix, { 5 } },
  { "sock:recvable, in vain", "object", "false", on.unix, { 0.001 } },
  { "sock:atmark", "object", "false", on.tcp },
  { "sock:getsockname", "object", AI, on.tcp }, { "sock:getpeername", "object", AI, on.tcp },
  { "sock:cloexec", "object", "true", on.unix }, { "sock:cloexec, set", "object", "false", on.unix, { false } },
  { "sock:nonblock", "object", "true", on.unix }, { "sock:nonblock, set", "object", "false", on.unix, { false } },
  { "sock:getsockopt", "object", "1", on.tcp, { L.SOL_SOCKET, L.SO_TYPE, "int" } },
  { "sock:getsockopt, bytes", "object", '".+"', on.tcp, { L.SOL_SOCKET, L.SO_TYPE, "bytes" } },
  { "sock:getsockopt, uint64", "object", "%d+ULL", on.tcp, { L.SOL_SOCKET, L.SO_TYPE, "uint64" } },
  { "sock:getsockopt, descriptor", "object", "llsocket.descriptor: fd", on.unix, { L.SOL_SOCKET, BY_NUMBER, "descriptor" } },
  { "sock:originaldst", "object", 'nil, ".+", ' .. L.EOPNOTSUPP, on.unix }, -- of what nft redirects: t/option-origin
  { "sock:peerpidfd", "object", "llsocket.descriptor: fd", on.unix },
  { "sock:setsockopt", "object", "1", on.tcp, { L.SOL_SOCKET, L.SO_KEEPALIVE, "int", 1 } },
  { "sock:setsockopt, seconds", "object", "1.5", on.tcp, { L.SOL_SOCKET, L.SO_RCVTIMEO, "seconds", 1.5 } },
  { "sock:sendmsg", "send", "3, nil, false", on.unix, function() return assert(L.msghdr.new { data = "abc" }) end },
  { "sock:sendmsg, parts and descriptors", "send", "6, nil, false", on.unix, function(a)
    return assert(L.msghdr.new { data = { "abc", "def" }, control = { assert(L.cmsghdr.rights(a, 1)) } })
  end },
  { "sock:sendmsg, named", "send", "3, nil, false", on.bound(DGRAM), function(sock)
    return assert(L.msghdr.new { data = "abc", name = sock:getsockname() })
  end },
  { "sock:recvmsg", "recv", "3, nil, false", on.fed(on.unix, "abc"), function() return assert(L.msghdr.new { size = 64 }) end },
  { "sock:recvmsg, descriptors", "recv", "1, nil, false", on.handed, function()
    return assert(L.msghdr.new { size = 64, controlsize = 64 })
  end },
  { "sock:recvmsg, named", "recv", "3, nil, false", on.fed(on.udp, "abc"), function()
    return assert(L.msghdr.new { size = 64, name = net.addr(), into = on.into() })
  end },
  { "sock:writev", "send", "6, nil, false", on.unix, { { "abc", "def" } } },
  { "sock:readv", "recv", '{"ab", "c"}, nil, false', on.fed(on.unix, "abc"), { { 2, 4 } } },
  { "sock:sendfd", "send", "1, nil, false", on.unix, function(a) return a end },
  { "sock:recvfd", "recv", SOCK .. ", nil, false", on.handed },
  { "sock:recvinto", "recv", "3, nil, false", on.fed(on.unix, "abc"), function() return on.into(), 8, 2 end },
  { "sock:sendfrom", "send", "8, nil, false", on.unix, function() return on.into(), 8, 2 end },
  { "sock:recvfrominto", "recvfrom", "3, " .. AI .. ", nil, false", on.fed(on.udp, "abc"), function()
    return on.into(), 8, net.addr()
  end },
  { "sock:sendtofrom", "send", "8, nil, false", on.bound(DGRAM), function(sock) return on.into(), 8, sock:getsockname() end },
  { "sock:recvbatch", "recv", "2, nil, false", on.with_batch(on.fed(on.udp, "abc", "def")), on.second },
  { "sock:recvbatch, a stream", "recv", "1, nil, false", on.with_batch(on.fed(on.tcp, "abc")), on.second },
  { "sock:sendbatch", "send", "2, nil, false", on.with_batch(on.bound(DGRAM)), function(sock, msgs)
    msgs:to(sock:getsockname())
    return msgs, 2
  end },
  { "sock:sendbatch, a stream", "send", "2, nil, false", on.with_batch(on.tcp), function(_, msgs)
    msgs:to(nil)
    return msgs, 2
  end },
  { "sock:splice", "send", "3, nil, .*", on.spliced, function(_, to, pipe) return to, pipe, 3 end },
  { "sock:sendzerocopy", "send", "16384, nil, false", on.tcp, { zeros, 16384 }, kept = true },
  { "sock:sendzerocopy, small", "send", "100, nil, false", on.tcp, { zeros, 100 } },
  { "sock:completed", "completed", "%d, %d, %a+", on.sent_zerocopy, kept = true },
  { "sock:steer", "plain", "", on.reuseport, { "hash", 1 } },
  { "sock:steer, off", "plain", "", on.steered, { "off" } },
  { "sock:supports", "object", "true", on.tcp_new, { "tcpnodelay" } }, { "sock:tcpmd5sig", "plain", "", on.tcp_new,
    function() return net.addr(), "key" end },
  { "socket.supports", "object", "true", on.none, { L.AF_INET, STREAM } },
  { "sock:filter", "program", "{{6, 0, 0, 4294967295}}", on.filtered },
  { "sock:filter, assembler", "program", '"ret #%-1"', on.udp_new, { "ret #-1" } },
  { "sock:filter, rows", "program", "{{6, 0, 0, 5}}", on.udp_new, { { { 6, 0, 0, 5 } } } },
  { "sock:filter, none", "program", "false", on.filtered, { false } },
  { "bpf.assemble", "program", "{{6, 0, 0, 4294967295}}", on.none, { "ret #-1" } },
  { "sock:onclose", "object", object "hook", on.unix, { on.none }, kept = true },
  { "hook:remove", "never", "true", on.hooked, kept = true },
  { "sock:getfd", "never", "%d+", on.unix },
  { "sock:pollfd", "never", "%d+", on.unix }, { "sock:dirty", "never", "false", on.unix },
  { "sock:events", "never", '"r"', on.unix }, { "sock:timeout", "never", "nil", on.unix },

  { "sock:mcastif, set", "object", '"lo"', on.udp_new, { "lo" } }, { "sock:mcastif", "object", '".*"', on.udp_new },
  { "sock:mcastif, IPv6", "object", '"lo"', on.udp6_new, { "lo" } },
  { "sock:mcastjoin", "plain", "", on.udp_new, { "239.1.2.3", "lo" } },
  { "sock:mcastjoin, IPv6", "plain", "", on.udp6_new, { "ff02::42%lo" } },
  { "sock:mcastleave", "plain", "", on.member, { "239.1.2.3", "lo" } },
  { "sock:mcastjoinsrc", "plain", "", on.udp_new, { "239.1.2.3", "127.0.0.1", "lo" } },
  { "sock:mcastleavesrc", "plain", "", on.member_of_source, { "239.1.2.3", "127.0.0.1", "lo" } },
  { "sock:mcastblocksrc", "plain", "", on.member, { "239.1.2.3", "127.0.0.1", "lo" } },
  { "sock:mcastfilter", "object", "0, {}", on.member, { "239.1.2.3", "lo" } },
  { "sock:mcastfilter, of any interface", "object", "0, {}", on.member, { "239.1.2.3" } },
  { "sock:mcastfilter, set", "object", '1, {"127.0.0.1"}', on.member, { "239.1.2.3", "lo", 1, { "127.0.0.1" } } },
  { "sock:mcastjoin, by index", "plain", "", on.udp_new, { "239.1.2.3", 1 } },
  { "sock:mcastunblocksrc", "plain", "", on.blocker, { "239.1.2.3", "127.0.0.1", "lo" } },

  { "msghdr.new", "object", object "msghdr", on.none, function()
    return { data = { "abc", "def" }, name = net.addr(), size = 64, controlsize = 64, control = { on.ttl() } }
  end },
  { "mh:name", "never", AI, on.control(L.msghdr.new), function() return net.addr() end },
  { "mh:data", "object", '"abc"', on.control(L.msghdr.new), { "abc" } },
  { "mh:data, received", "object", '"abc"', on.received_message },
  { "mh:control", "object", "{.+}", on.control(L.msghdr.new), function() return { on.ttl() } end },
  { "mh:flags", "never", "%d+", on.control(L.msghdr.new) }, { "mh:segment", "never", "nil", on.control(L.msghdr.new) },
  { "mh:timestamp", "never", "nil", on.control(L.msghdr.new) },
  { "batch.new", "object", object "batch", on.none, { { count = 2, size = 64, controlsize = 64 } } },
  { "msgs:count", "object", "2", on.batch, { 2 } }, { "msgs:data", "object", '"xyz"', on.batch, { 1, "xyz" } },
  { "msgs:pointer", "object", "cdata<.+>: 0x, 3", on.batch, { 1 } }, { "msgs:length", "object", "2", on.batch, { 1, 2 } },
  { "msgs:name", "object", AI, on.batch, { 1 } }, { "msgs:to", "never", "", on.batch, function() return net.addr() end },
  { "msgs:flags", "object", "0", on.batch, { 1 } }, { "msgs:segment", "object", "9", on.batch, { 1, 9 } },
  { "msgs:timestamp", "maybe", "%d+, %d+", on.stamped_batch, { 1 } }, { "msgs:timestamping", "object", "2", on.batch, { 1, 2 } },
  { "msgs:control", "object", "{}", on.batch, { 1 } },
  { "pipe.new", "object", object "pipe", on.none, { 65536 } },
  { "tube:held", "never", "0", function(own) return own(assert(L.pipe.new())) end },
  { "tube:from", "send", "10, nil, false", on.tube, function(_, own) return on.file(own), 10, 0 end },
  { "tube:from, TCP", "send", "3, nil, true", on.tube, function(_, own) return on.fed(on.tcp, "abc")(own):fd(), 9 end },
  { "tube:to", "send", "3, nil, false", on.holding "abc", function(_, own) return on.file(own), 9, 0 end },
  { "tube:to, TCP", "send", "3, nil, false", on.holding "abc", function(_, own) return on.tcp(own):fd(), 9 end },
  { "tube:tee", "send", "3, nil, false", on.holding "abc", function(_, own) return own(assert(L.pipe.new())) end },
  { "tube:fill", "send", "16384, nil, false", on.tube, { zeros, 16384 } },
  { "tube:close", "plain", "", function(own) return own(assert(L.pipe.new())) end },
  { "desc:fd", "never", "%d+", on.received_descriptor },
  { "desc:unwrap", "object", "%d+", on.received_descriptor, number = true },
  { "desc:close", "plain", "", on.received_descriptor },

  { "cmsghdr.new", "object", object "cmsghdr", on.none, { L.SOL_SOCKET, 77, "abc" } },
  { "cmsghdr.rights", "object", object "cmsghdr", on.unix, on.second },
  { "cmsghdr.credentials", "object", object "cmsghdr", on.none },
  { "cmsghdr.pktinfo", "object", object "cmsghdr", on.none, { "127.0.0.1", "lo" } },
  { "cmsghdr.pktinfo, IPv6", "object", object "cmsghdr", on.none, { "fe80::1%lo" } },
  { "cmsghdr.segment", "object", object "cmsghdr", on.none, { 100 } },
  { "cmsg:level", "never", "%d+", on.control(on.ttl) }, { "cmsg:type", "never", "%d+", on.control(on.ttl) },
  { "cmsg:data", "never", '".+"', on.control(on.ttl) }, { "cmsg:integer", "never", "1", on.control(on.ttl) },
  { "cmsg:rights", "never", "{1}", on.control(function() return L.cmsghdr.rights(1) end) },
  { "cmsg:credentials", "never", "{.+}", on.control(L.cmsghdr.credentials) },
  { "cmsg:pktinfo", "never", "{.+}", on.control(function() return L.cmsghdr.pktinfo("127.0.0.1", "lo") end) },
  { "cmsg:pidfd", "never", "nil", on.control(on.ttl) }, { "cmsg:security", "never", '"a:b"', on.control(on.label) },
  { "cmsg:origdst", "never", AI, on.control(on.origdst) }, { "cmsg:pathmtu", "never", "{.+}", on.control(on.pathmtu) },
  { "cmsg:auxdata", "never", "nil", on.control(on.ttl) }, { "cmsg:optpktinfo", "never", "nil", on.control(on.ttl) },
  { "cmsg:optstats", "never", "{}", on.control(on.stats) }, { "cmsg:rfc4884", "never", "nil", on.control(on.exterr) },
  { "cmsg:timestamp", "never", "0, 0", on.control(on.time) }, { "cmsg:exterr", "never", "{.+}", on.control(on.exterr) },

  { "device.getifaddrs", "object", "{.+}", on.none }, { "device.macaddrs", "object", "{.*}", on.none },
  { "device.list", "object", "{.+}", on.none },
  { "device.index", "object", "1", on.none, { "lo" } }, { "device.name", "object", '"lo"', on.none, { 1 } },
  { "errno.name", "never", '"ENOENT"', on.none, { L.ENOENT } }, { "errno.text", "never", '".+"', on.none, { L.ENOENT } },
  { "gai.text", "never", '".+"', on.none, { L.EAI_NONAME } },

  { "poll.timer", "object", EVENT, on.none, { 60, 1 } },
  { "poll.signal", "object", EVENT, on.signal_mask, { on.WINCH }, mask = true },
  { "poll.child", "object", EVENT, on.child, process = true },
  { "poll.child, a descriptor", "object", EVENT, on.peer_process },
  { "event:read", "read", "1, nil, false", on.timer },
  { "event:read, signals", "read", on.WINCH .. ", nil, false", on.signalled, process = true },
  { "event:read, a child", "read", "0, nil, false", on.child_event, process = true },
  { "event:fd", "never", "%d+", on.timer }, { "event:close", "plain", "", on.timer },
  { "poller:event", "never", '"value", true, false, .+', on.waited, { 1 } },
  { "poller:events", "never", "1", on.waited, run = function(events, p)
    local n = 0
    for _ in events(p) do n = n + 1 end
    return n
  end },

  { "wait.poll", "object", "true", on.fed(on.unix, "abc"), run = function(poll, sock) return poll(sock:fd(), "r", 5) end },
  { "wait.wait", "object", "true", on.fed(on.unix, "abc"), run = function(wait, sock) return wait(sock:fd(), "r", 5) end },
  { "wait.set", "never", "function: .+", function(own) own.later(function() L.wait.set() end) end },
  { "wait.is_set", "never", "false", on.none },
  { "loop.spawn", "never", "thread: 0x", function(own) own.later(require("llsocket.wait.coroutine").run) end, { on.none } },
  { "loop.run", "never", "", on.none }, { "loop.now", "never", "%d+.*", on.none },
  { "loop.wait", "object", "true", on.fed(on.unix, "abc"), run = on.wait_for_number },
  { "loop.wait, a socket", "object", "true", on.fed(on.unix, "abc"), run = on.wait_for_socket },
  { "loop.sleep", "object", "true", on.none, run = on.sleep }, { "loop.cancel", "never", "true", on.none, run = on.cancel },
  { "loop.join", "object", "3", on.none, run = on.join },
}

local S, SERVER = "llsocket.stream: llsocket.socket: fd", { "127.0.0.1", 0 }
for _, row in ipairs {
  { "stream.wrap", "object", S, on.unix }, { "stream.listen", "dial", SOCK, on.none, SERVER },
  { "stream.listen, a path", "dial", SOCK, on.none, function() return "\0" .. net.unique() end },
  { "stream.connect", "dial", S, on.caller_address, { 5 } },
  { "stream.connect, two addresses", "dial", S,
    function(own) return { on.caller_address(own), net.addr(L.AF_INET, STREAM, 9) } end, { 5 } },
  { "stream.connect, a path", "dial", S, on.path_of_listener, function() return nil, 5 end },
  { "stream.serve", "plain", "", on.closed_listener, { on.none } },
  { "s:line", "stream", '"abc"', on.streamed "abc\r\nde" }, { "s:line, the end", "stream", "", on.streamed_end },
  { "s:lines", "never", "function: .+, llsocket.stream.+", on.streamed "abc" },
  { "s:exactly", "stream", '"ab"', on.streamed "abc", { 2 } }, { "s:some", "stream", '"abc"', on.streamed "abc", { 5 } },
  { "s:all", "stream", '"abc"', on.streamed_end_of "abc" }, { "s:write", "write", "true", on.streamed "x", { "abc", "d" } },
  { "s:write, parts", "write", "true", on.streamed "x", { "abc", "", "def" } },
  { "s:deadline", "plain", "", on.streamed "x", { 5 } }, { "s:shutdown", "plain", "", on.streamed "x" },
  { "s:close", "plain", "", on.streamed "x" },
  { "resolve.resolve", "gai", "{127.0.0.1:80}", on.none, { 5, "127.0.0.1", "80", STREAM } },
  { "resolve.getaddrinfo", "gai", "{127.0.0.1:80}", on.none, { 5, "127.0.0.1", "80", STREAM } },
  { "resolve.set", "never", "function: .+", function(own) own.later(function() require("llsocket.resolve").set() end) end },
  { "sock:setfd", "plain", "", on.given_up, { -1 } },
} do ROWS[#ROWS + 1] = row end
if pcall(require, "ssl") then ROWS[#ROWS + 1] = {
  "luasec.secure", "tls", "nil, \".+\", " .. L.EPROTO, on.without_tls, { { mode = "client", protocol = "any" } },
} end

for _, backend in ipairs(pollers.names) do
  local fresh, full = on.poller(backend), on.poller(backend, true)
  for _, row in ipairs {
    { "poll.new", "object", "llsocket.poller: fd ?%-?1?", on.none, { backend } },
    { "poller:add", "object", "true", fresh, function(_, sock) return sock, "rw", "value" end },
    { "poller:modify", "object", "true", full, function(_, sock) return sock, "w" end },
    { "poller:remove", "object", "true", full, on.second },
    { "poller:wait", "object", "1", full, { 5 } }, { "poller:wait, in vain", "object", "0", fresh, { 0.001 } },
    { "poller:wake", "object", "true", full }, { "poller:wakefd", "never", "%d+", full },
    { "poller:fd", "never", "%-?%d+", full }, { "poller:close", "plain", "", full },
  } do
    row[1] = row[1] .. ", " .. backend
    ROWS[#ROWS + 1] = row
  end
end

for _, row in ipairs(L.cmsghdr.NUMBERS) do
  ROWS[#ROWS + 1] = { "cmsghdr." .. row[1], "object", object "cmsghdr", on.none, { 1 } }
end

-- Options ----------------------------------------------------------------------------------------------------

-- What is set, by a row's kind or method, and on what an option is tried, by its level or method.
local VALUES = {
  boolean = true, byteflag = true, count = 2, hops = 2, byte = 2, int = 2, word = 2, unsigned = 2, seconds = 1.5,
  linger = 1, ifname = "lo", string = "reno", incomingcpu = 0, mtudiscover = L.IP_PMTUDISC_DO, udpsegment = 1000,
  tcpmaxseg = 1000, rcvbuf = 8192, sndbuf = 8192, force = 8192, nocheck = true, netif = "lo",
  alert4 = true, alert6 = 7, tcprtomax = 2000, tcprtomin = 20000, portrange = { 40000, 40001 },
}
local REFUSED = { sndlowat = L.ENOPROTOOPT, reservemem = L.EOPNOTSUPP } -- when set, on Linux; the second without a memory cgroup
local ON = {
  SOL_SOCKET = on.tcp_new, IPPROTO_IP = on.udp_new, IPPROTO_IPV6 = on.udp6_new, IPPROTO_TCP = on.tcp_new,
  IPPROTO_UDP = on.udp_new, ioctl = on.tcp, passcred = on.unix, peercred = on.unix, tcpinfo = on.tcp, tcpccinfo = on.tcp,
  mtu = on.tcp, routeralert = on.raw, ["routeralert, IPv6"] = on.raw6,
  passpidfd = on.unix, passrights = on.unix, passsec = on.unix, peergroups = on.unix, peersec = on.unix,
}

-- Most kernels give no labels.
local function has_labels()
  local a, b = net.pair(STREAM)
  local _, _, e = a:peersec()
  a:close(); b:close()
  return e ~= L.ENOPROTOOPT
end

local function option(method, level, kind, access)
  local title = level == "IPPROTO_IPV6" and method .. ", IPv6" or method
  local value, maker = VALUES[method] or VALUES[kind], ON[title] or ON[method] or ON[level]
  local lacks = method == "peersec" and not has_labels()
  ROWS[#ROWS + 1] = { "sock:" .. title, "option", lacks and 'nil, ".+", ' .. L.ENOPROTOOPT or ".+", maker }
  if access == "ro" then return end
  local want = shapes.line { n = 1, value }
  if REFUSED[method] and sys.linux then want = "nil, \".+\", " .. REFUSED[method] end
  ROWS[#ROWS + 1] = { "sock:" .. title .. ", set", "option", want, maker, { value } }
end

for _, row in ipairs(options) do
  if L[row[3]] then option(row[1], row[2], row[4], row[5]) end
end
for _, row in ipairs(multicast.OPTIONS) do
  option(row[1], "IPPROTO_IP", row[5], "rw"); option(row[1], "IPPROTO_IPV6", row[5], "rw")
end

-- The interface ----------------------------------------------------------------------------------------------

local functions = owners.functions()

--- One operation: title; name (without the variant); fn, the function; family; want, a pattern for shapes.line(answer);
--- number: it answers a descriptor's number, which the caller owns; mask: it changes the signal mask, as its page promises;
--- process: a signal or a child of the process that made it ready belongs to it, so that a forked child cannot perform it;
--- kept: the library holds the objects until they are closed, as its page tells.
local function add(list, row)
  local name = row[1]:match "^[^,]+"
  list[#list + 1] = {
    title = row[1], name = name, fn = row.fn or functions[name], family = row[2], want = "^" .. row[3] .. "$",
    make = row[4], args = row[5],
    run = row.run, number = row.number, mask = row.mask, process = row.process, kept = row.kept,
    fails = row[3]:find "^nil, \"",
  }
end

for _, row in ipairs(ROWS) do add(M.list, row) end
for _, row in ipairs(require("faces").rows) do add(M.faces, row) end
for _, row in ipairs(require("faces").fuzzed) do add(M.fuzzed, row) end
for _, list in ipairs { M.list, M.faces } do
  for _, op in ipairs(list) do M.all[#M.all + 1] = op end
end

local function noter(undo)
  local function note(_, ...)
    for i = 1, select("#", ...) do
      undo[#undo + 1] = (select(i, ...))
    end
    return ...
  end
  return setmetatable({ later = function(fn) undo[#undo + 1] = fn end }, { __call = note })
end

local function append(list, ...)
  for i = 1, select("#", ...) do list[list.n + i] = (select(i, ...)) end
  list.n = list.n + select("#", ...)
  return list
end

--- Makes an operation's objects and arguments; raises where this system cannot.  Every object is non-blocking or has what it
--- would wait for, so that M.run never blocks.
---@param op table  of M.list
---@return table case  args: { n =, ... }, `self` first; for run and dispose
function M.ready(op)
  local case = { op = op, undo = {}, args = { n = 0 }, called = false }
  local own = noter(case.undo)
  local made = shapes.pack(op.make(own))
  if made.n > 0 then append(case.args, made[1]) end
  if type(op.args) == "table" then
    append(case.args, unpack(op.args))
  elseif op.args then
    append(case.args, op.args(made[1], made[2], made[3], own))
  end
  return case
end

-- Objects that have given what waited would wait for more.
local function hurry(args)
  for i = 1, args.n do
    local one = type(args[i]) == "table" and args[i] or {}
    if one.deadline then one:deadline(0.05) end
    if one.settimeout then one:settimeout(one.patience and 0.005 or 5) end -- seconds, and milliseconds
  end
end

--- Calls the operation's function and answers what it answers, the first time without an allocation of its own.
function M.call(case)
  local op, args = case.op, case.args
  if case.called then hurry(args) end
  case.called = true
  if op.run then return op.run(op.fn, unpack(args, 1, args.n)) end
  return op.fn(unpack(args, 1, args.n))
end

--- Performs the operation.  May be called again on the same case: the answer is then that of an object that was used before.
---@param case table
---@return table answer  { n =, ... }
function M.run(case)
  case.answer = shapes.pack(M.call(case))
  return case.answer
end

--- Judges an answer.
---@return string? outcome  "done", "again", "end", "failed": what it says in its family; nil: it has no shape of it
---@return integer? errno  of "again" and "failed"
---@return boolean as_wanted  whether it is what the operation answers without a fault
function M.judge(op, answer)
  local outcome, e = shapes.judge(op.family, answer)
  return outcome, e, shapes.line(answer):find(op.want) ~= nil and (outcome ~= "failed" or op.fails)
end

local function close_all(value, depth)
  local kind = type(value)
  if kind == "cdata" or kind == "userdata" or kind == "table" and getmetatable(value) then
    pcall(function() value:close() end)
  elseif kind == "table" and depth < 3 then
    for _, other in pairs(value) do close_all(other, depth + 1) end
  end
end

-- Undoes what no collector can.
local function undo_rest(case)
  local answer = case.answer
  if answer and case.op.number and answer[1] then sys.close(answer[1]) end
  for i = #case.undo, 1, -1 do
    if type(case.undo[i]) == "function" then pcall(case.undo[i], answer) end
  end
end

--- Closes what M.ready made and what the last M.run answered.
function M.dispose(case)
  local answer = case.answer
  for i = 1, answer and answer.n or 0 do close_all(answer[i], 1) end
  for i = #case.undo, 1, -1 do close_all(case.undo[i], 1) end
  undo_rest(case)
end

--- Leaves all that M.dispose closes to the collector, which must find everything but what op.kept names.
function M.drop(case)
  undo_rest(case)
  case.args, case.answer, case.undo = nil, nil, nil
  collectgarbage(); collectgarbage()
end

--- The names that a list of public names has and the operations lack, and the other way round: "" when nothing does.
function M.difference()
  local inner, known, out = require("inner").set, {}, {}
  for _, op in ipairs(M.list) do
    known[op.name] = true
    if not op.fn then out[#out + 1] = "no function: " .. op.name end
  end
  if not pcall(require, "ssl") then known["luasec.secure"] = true end -- it is a stand-in, for the pages
  for name in pairs(functions) do
    if not known[name] and not inner[name] then out[#out + 1] = "no row: " .. name end
  end
  table.sort(out)
  return table.concat(out, ", ")
end

return M
