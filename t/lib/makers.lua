-- makers.lua -- makes what an operation is performed on: sockets, addresses, messages, pollers, events, with data that waits.
--
-- Each maker takes `own`, which notes what is closed afterwards and answers its arguments (own.later(fn) notes a function), and
-- answers what the call is made on.  Every socket is non-blocking.
local ffi = require "ffi"
local L = require "llsocket"
local layout = require "llsocket.core.layout"
local loop = require "llsocket.wait.coroutine"
local net = require "net"
local proc = require "proc"
local shapes = require "shapes"
local signals = require "signals"
local stream = require "llsocket.stream"
local sys = require "sys"

local M = {}
local STREAM, DGRAM = L.SOCK_STREAM, L.SOCK_DGRAM

local function none() end
local function addr() return net.addr() end

-- An address by its parts.
local function made(name, ...)
  local parts = { ... }
  return function() return assert(L.addrinfo[name](unpack(parts))) end
end

local function bare(socktype, family)
  return function(own) return own(assert(L.socket.new(net.addr(family, socktype), true))) end
end
local tcp_new, udp_new, udp6_new = bare(STREAM), bare(DGRAM), bare(DGRAM, L.AF_INET6)

-- A raw socket: wants a privilege.
local function raw_of(host, protocol)
  return function(own) return own(assert(L.socket.new(assert(L.inet.getaddrinfo(host, nil, L.SOCK_RAW, protocol))[1], true))) end
end

local function pair(socktype)
  return function(own) return own(net.pair(socktype, true)) end
end
local unix, unix_seq = pair(STREAM), pair(L.SOCK_SEQPACKET)

local function tcp(own) return own(net.tcp(L.AF_INET, true)) end
local function udp(own) return own(net.connected(net.places[1], DGRAM, true)) end

local function bound(socktype)
  return function(own) return own((net.bound(L.AF_INET, socktype, true))) end
end

local function listener(own)
  local sock, ai = net.listener(L.AF_INET, true)
  return own(sock), ai
end

-- A listener at which a client waits, and an address for the client's name.
local function called(own)
  local sock, ai = listener(own)
  local client = own(assert(L.socket.new(ai)))
  assert(not client:connect())
  return sock, net.addr()
end

-- A listener's address, for sockets that connect to it.
local function caller(nonblock)
  return function(own)
    local _, ai = listener(own)
    return own(assert(L.socket.new(ai, nonblock)))
  end
end

-- What a maker makes, with data to be received: one message for each string.
local function fed(maker, ...)
  local messages = { ... }
  return function(own)
    local a, b = maker(own)
    for _, message in ipairs(messages) do assert(b:send(message) == #message) end
    assert(a:recvable(5))
    return a, b
  end
end

-- A unix socket at which a descriptor waits.
local function handed(own)
  local a, b = unix(own)
  assert(b:sendfd(b) == 1)
  return a, b
end

-- A peer that has closed.
local function ended(own)
  local a, b = unix(own)
  b:close()
  return a
end

local function spliced(own)
  local a, b = tcp(own)
  assert(b:send "abc" == 3 and a:recvable(5))
  return a, (tcp(own)), own(assert(L.pipe.new()))
end

local function tube(own) return own(assert(L.pipe.new())), own end

-- A pipe that holds bytes.
local function holding(bytes)
  return function(own)
    local a, b = unix(own)
    assert(b:send(bytes) == #bytes)
    local p = tube(own)
    local n, err = p:from(a:fd(), #bytes)
    assert(n == #bytes, err)
    return p, own
  end
end

local function file(own)
  local out = own(assert(io.tmpfile()))
  out:write "0123456789"
  out:flush()
  return out
end

-- A descriptor's number, which `own` closes unless the call took it over.
local function number(own)
  local sock = own(net.pair())
  local fd = sys.copy(sock:fd())
  own.later(function(answer) if not answer or answer[1] == nil then sys.close(fd) end end)
  return fd
end

local function received_descriptor(own)
  local a, b = unix(own)
  local read, write = require("rights").pipe()
  assert(b:sendfd(read) == 1)
  local object = assert(a:recvfd())
  sys.close(read); sys.close(write)
  return own(object)
end

local function sent_zerocopy(own)
  local a, b = tcp(own)
  assert(a:sendzerocopy(ffi.new "uint8_t[16384]", 16384) == 16384)
  assert(b:recvable(5) and b:recv(16384))
  return a
end

local function reuseport(own)
  local sock = udp_new(own)
  assert(sock:reuseport(true) and not sock:bind())
  return sock
end

local function steered(own)
  local sock = reuseport(own)
  assert(not sock:steer("cpu", 1))
  return sock
end

local function filtered(own)
  local sock = udp_new(own)
  assert(sock:filter "ret #-1")
  return sock
end

local function member(own)
  local sock = udp_new(own)
  assert(not sock:mcastjoin("239.1.2.3", "lo"))
  return sock
end

local function member_of_source(own)
  local sock = udp_new(own)
  assert(not sock:mcastjoinsrc("239.1.2.3", "127.0.0.1", "lo"))
  return sock
end

local function blocker(own)
  local sock = member(own)
  assert(not sock:mcastblocksrc("239.1.2.3", "127.0.0.1", "lo"))
  return sock
end

local function watched(own)
  local sock = unix(own)
  local p = own(assert(L.poll.new()))
  assert(p:add(sock, "r"))
  assert(sock:onclose(none))
  return sock
end

local function hooked(own) return (assert(unix(own):onclose(none))) end

-- A poller of a back-end, and a socket that can be read.
local function poller(backend, registered)
  return function(own)
    local p, sock = own(assert(L.poll.new(backend))), fed(unix, "abc")(own)
    if registered then assert(p:add(sock, "r", "value")) end
    return p, sock
  end
end

local function waited(own)
  local p, sock = poller(nil, true)(own)
  assert(p:wait(0) == 1)
  return p, sock
end

local function timer(own)
  local event = own(assert(L.poll.timer(0)))
  assert(L.wait.poll(event:fd(), "r", 5))
  return event
end

local WINCH = L.SIGWINCH or 28

-- Signals stay blocked by what they promise; the next operation is to find the mask as it was.
local function signal_mask(own) own.later(function() signals.unblock(WINCH) end) end

local function signalled(own)
  signal_mask(own)
  local event = own(assert(L.poll.signal(WINCH)))
  signals.raise(WINCH)
  return event
end

local function child(own)
  local pid = proc.ended()
  own.later(function() proc.reap(pid) end)
  return pid
end

local function child_event(own)
  local event = own(assert(L.poll.child(child(own))))
  assert(L.wait.poll(event:fd(), "r", 5))
  return event
end

-- A socket, for the descriptor of its peer's process, which the call takes.
local function peer_process(own)
  local a, b = net.pair(L.SOCK_STREAM)
  own(a); own(b)
  return own(assert(a:peerpidfd()))
end

-- Takes descriptor 3 for a moment, for what a service manager passes to this process.
local function activated(own)
  local was = sys.copy(3, 500) -- first: the listener's own number may be 3
  local sock = net.listener(L.AF_INET, true)
  local copy = sys.copy(sock:fd(), 500)
  sock:close()
  sys.move(copy, 3)
  sys.close(copy)
  for name, value in pairs { PID = proc.getpid(), FDS = 1, FDNAMES = "web" } do sys.setenv("LISTEN_" .. name, tostring(value)) end
  own.later(function()
    if was >= 0 then sys.move(was, 3) else sys.close(3) end
    sys.close(was)
    for _, name in ipairs { "PID", "FDS", "FDNAMES" } do sys.setenv("LISTEN_" .. name, nil) end
  end)
end

local function control(make) return function() return (assert(make())) end end
local function ttl() return L.cmsghdr.ttl(1) end
local function time() return L.cmsghdr.new(L.SOL_SOCKET, L.SCM_TIMESTAMP, ("\0"):rep(ffi.sizeof(layout.timeval))) end
local function exterr() return L.cmsghdr.new(L.IPPROTO_IP, L.IP_RECVERR, ("\0"):rep(32)) end
local function label() return L.cmsghdr.new(L.SOL_SOCKET, L.SCM_SECURITY, "a:b\0") end
local function origdst() return L.cmsghdr.new(L.IPPROTO_IP, L.IP_ORIGDSTADDR, net.addr():bytes()) end
local function stats() return L.cmsghdr.new(L.SOL_SOCKET, L.SCM_TIMESTAMPING_OPT_STATS, ("\1"):rep(32)) end
local function pathmtu() return L.cmsghdr.new(L.IPPROTO_IPV6, L.IPV6_PATHMTU, ("\0"):rep(ffi.sizeof(layout.ip6_mtuinfo))) end

local function batch()
  local msgs = assert(L.batch.new { count = 2, size = 64, controlsize = 64, name = net.addr() })
  msgs:data(1, "abc"); msgs:data(2, "def")
  return msgs
end

local function stamped_batch()
  local sock, msgs = net.bound(L.AF_INET, L.SOCK_DGRAM), batch()
  sock:timestamp(true)
  sock:sendto("x", sock:getsockname()); sock:sendto("y", sock:getsockname())
  assert(sock:recvbatch(msgs) == 2)
  sock:close()
  return msgs
end

local function with_batch(maker)
  return function(own)
    local a, b = maker(own)
    return a, batch(), b
  end
end

local function into() return ffi.new "uint8_t[64]" end

-- The arguments of what is called on the first that the maker makes, with the second.
local function second(_, b) return b end

-- A message that has received into an array that nobody else holds.
local function received_message(own)
  local sock, mh = fed(unix, "abc")(own), assert(L.msghdr.new { into = into() })
  assert(sock:recvmsg(mh) == 3)
  return mh
end

-- Calls in a coroutine of the own loop, and answers what that answered.  Runs the loop again where it raises, as its page
-- allows; the coroutine may have ended by that error.
local function in_loop(call)
  local answer
  loop.spawn(function() answer = shapes.pack(call()) end)
  local ok, err = pcall(loop.run)
  if not ok then loop.run() end
  if not answer or not ok and err:find("not enough memory", 1, true) then error(err, 0) end
  return unpack(answer, 1, answer.n)
end

-- A short limit is enough: the loop looks at events before times, however late it is.  A hook that closes the socket just before
-- the loop waits lets it wait that long.
local function wait_for_number(wait, sock) return in_loop(function() return wait(sock:fd(), "r", 0.3) end) end
local function wait_for_socket(wait, sock) return in_loop(function() return wait(sock, "r", 0.3) end) end
local function sleep(fn) return in_loop(function() return fn(0.001) end) end

local function cancel(fn)
  local co = loop.spawn(loop.sleep, 0.2)
  return in_loop(function() return fn(co) end)
end

local function join(fn)
  local co = loop.spawn(function() return 3 end)
  return in_loop(function() return fn(co, 5) end)
end

-- A socket whose descriptor is closed afterwards, if the call gave it up.
local function given_up(own)
  local sock = tcp_new(own)
  local fd = sock:fd()
  own.later(function() if sock:fd() == -1 then sys.close(fd) end end)
  return sock
end
M.given_up = given_up

-- A stream of a socket.  A stream waits, so it gets a deadline: nothing may wait for ever here.  It is long, for what it reads
-- is there, but threads and sanitizers may have to wait for a processor.
local function stream_of(own, sock)
  local s = own(assert(stream.wrap(sock)))
  s:deadline(10)
  return s
end

-- A stream at which bytes wait, and its peer.
local function streamed(...)
  local feed = fed(unix, ...)
  return function(own)
    local a, b = feed(own)
    return stream_of(own, a), b
  end
end

-- One whose peer has closed after it said something, or nothing.
local function streamed_end_of(message)
  local make = streamed(message)
  return function(own)
    local s, b = make(own)
    b:close()
    return s
  end
end

local function streamed_end(own) return stream_of(own, ended(own)) end

local function caller_address(own) return (select(2, listener(own))) end

M.made = made
M.streamed_end_of, M.streamed_end, M.caller_address = streamed_end_of, streamed_end, caller_address

-- The path of a listener at which nobody calls.
local function path_of_listener(own)
  local sock = own(assert(stream.listen("\0" .. net.unique())))
  return sock:getsockname():addr()
end

-- A listener that is closed: serve returns at once.
local function closed_listener(own)
  local sock = own(assert(stream.listen("127.0.0.1", 0)))
  sock:close()
  return sock
end

-- A stream whose peer speaks no TLS, so that a handshake fails at once.  LuaSec writes to closed connections: its page has the
-- program ignore SIGPIPE.
local function without_tls(own)
  local a, b = unix(own)
  proc.signal(proc.SIGPIPE, proc.SIG_IGN)
  own.later(function() proc.signal(proc.SIGPIPE, proc.SIG_DFL) end)
  b:send "this is no TLS at all, and long enough to be a record"
  local s = own(assert(stream.wrap(a)))
  s:deadline(10)
  return s
end

M.streamed, M.path_of_listener, M.closed_listener, M.without_tls = streamed, path_of_listener, closed_listener, without_tls

M.none, M.addr, M.tcp, M.udp, M.bound, M.called =
  none, addr, tcp, udp, bound, called
M.tube, M.holding = tube, holding
M.caller, M.fed, M.handed, M.ended, M.spliced, M.file, M.number =
  caller, fed, handed, ended, spliced, file, number
M.received_descriptor, M.sent_zerocopy, M.reuseport, M.member, M.member_of_source, M.blocker, M.watched =
  received_descriptor, sent_zerocopy, reuseport, member, member_of_source, blocker, watched
M.hooked, M.poller, M.waited, M.timer, M.signal_mask, M.signalled, M.child =
  hooked, poller, waited, timer, signal_mask, signalled, child
M.child_event, M.activated, M.control, M.ttl, M.time, M.exterr =
  child_event, activated, control, ttl, time, exterr
M.peer_process, M.stats, M.label, M.origdst = peer_process, stats, label, origdst
M.pathmtu, M.stamped_batch = pathmtu, stamped_batch
M.batch, M.with_batch, M.into, M.second, M.tcp_new, M.udp_new =
  batch, with_batch, into, second, tcp_new, udp_new
M.udp6_new, M.unix, M.unix_seq =
  udp6_new, unix, unix_seq

M.raw, M.raw6 = raw_of("127.0.0.1", L.IPPROTO_ICMP), raw_of("::1", L.IPPROTO_RAW)
M.WINCH, M.filtered, M.steered, M.received_message = WINCH, filtered, steered, received_message
M.wait_for_number, M.wait_for_socket, M.sleep, M.cancel, M.join = wait_for_number, wait_for_socket, sleep, cancel, join

return M
