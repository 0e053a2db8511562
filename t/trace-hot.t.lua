-- traces: the calls that a server makes for each message are compiled and stay compiled; failing calls allocate nothing.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local trace = require "trace"

local before = leak.count()
local T = require("tap").plan(75)
local ROUNDS = 400
local DONTWAIT, NOSIGNAL, EAGAIN = L.MSG_DONTWAIT, L.MSG_NOSIGNAL or 0, L.EAGAIN
local SOL, NODELAY = L.SOL_SOCKET, L.TCP_NODELAY

local function compiles(name, fn)
  trace.is(T, function() for _ = 1, ROUNDS do fn() end end, name)
end

-- Messages.
local a, b = net.pair(L.SOCK_STREAM)
compiles("send and recv", function() a:send "x"; b:recv() end)
compiles("send and recv with a size", function() a:send "xyz"; b:recv(64) end)
compiles("send and recv with one flag", function() a:send("x", DONTWAIT); b:recv(64, DONTWAIT) end)
compiles("send and recv with two flags", function() a:send("x", DONTWAIT, NOSIGNAL); b:recv(64, DONTWAIT, NOSIGNAL) end)
compiles("recv of a size that needs a buffer of its own", function() a:send "x"; b:recv(100000) end)
local text = ("x"):rep(1000)
compiles("an exchange of strings made on the way", function() a:send(text .. ROUNDS); b:recv() end)
compiles("recvfrom on a stream", function() a:send "x"; b:recvfrom(64) end)
compiles("recvable and sendable", function() a:sendable(0); b:recvable(0) end)
compiles("fd, family, socktype and protocol", function() return a:fd() + a:family() + a:socktype() + a:protocol() end)

local da, db = net.pair(L.SOCK_DGRAM)
compiles("empty datagrams", function() da:send ""; db:recv() end)
compiles("a datagram cut with MSG_TRUNC", function() da:send "12345"; db:recv(2, L.MSG_TRUNC) end)

local function udp(family, name)
  local one, from = net.bound(family, L.SOCK_DGRAM)
  local two, to = net.bound(family, L.SOCK_DGRAM)
  compiles("sendto and recvfrom over " .. name, function() one:sendto("x", to); two:recvfrom() end)
  compiles("sendto and recvfrom with one flag over " .. name, function()
    one:sendto("x", to, DONTWAIT)
    two:recvfrom(64, DONTWAIT)
  end)
  compiles("sendto and recvfrom with two flags over " .. name, function()
    one:sendto("x", to, DONTWAIT, NOSIGNAL)
    two:recvfrom(64, DONTWAIT, NOSIGNAL)
  end)
  compiles("an answer to the sender over " .. name, function()
    one:sendto("x", to)
    local _, ai = two:recvfrom()
    two:sendto("y", ai)
    one:recvfrom()
  end)
  assert(from:port() ~= to:port())
  one:close(); two:close()
end
udp(L.AF_INET, "IPv4")
if L.socket.new(net.addr(L.AF_INET6, L.SOCK_DGRAM)):bind() then T.skip(4, "no IPv6 loopback") else udp(L.AF_INET6, "IPv6") end

compiles("a numeric address and port", function() return L.inet.getaddrinfo("127.0.0.1", "80") end)

-- Options.
local tcp = assert(L.socket.new(net.addr()))
compiles("a boolean option, read", function() return tcp:tcpnodelay() end)
compiles("a boolean option, set", function() return tcp:tcpnodelay(true) end)
compiles("a number option, read and set", function() tcp:rcvbuf(8192); return tcp:rcvbuf() end)
compiles("seconds, read and set", function() tcp:rcvtimeo(1.5); return tcp:rcvtimeo() end)
compiles("linger, read and set", function() tcp:linger(5); tcp:linger(false); return tcp:linger() end)
compiles("error and acceptconn", function() tcp:error(); return tcp:acceptconn() end)
compiles("nonblock and cloexec", function() tcp:nonblock(true); tcp:cloexec(true); return tcp:nonblock() and tcp:cloexec() end)
compiles("getsockopt and setsockopt", function()
  tcp:setsockopt(L.IPPROTO_TCP, NODELAY, "boolean", true)
  return tcp:getsockopt(SOL, L.SO_TYPE, "int")
end)
compiles("atmark", function() return a:atmark() end)
local mcast = assert(L.socket.new(net.addr(L.AF_INET, L.SOCK_DGRAM)))
compiles("mcastttl and mcastloop", function() mcast:mcastttl(3); mcast:mcastloop(true); return mcast:mcastttl() end)
mcast:close()

-- Descriptors.
local ai = net.addr()
compiles("new and close", function() L.socket.new(ai):close() end)
compiles("new, non-blocking, and close", function() L.socket.new(ai, true):close() end)
compiles("pair and close", function()
  local p = L.socket.pair(L.SOCK_STREAM)
  p[1]:close(); p[2]:close()
end)
compiles("dup and close", function() tcp:dup():close() end)
compiles("wrap and unwrap", function() L.socket.wrap(tcp:dup():unwrap()):close() end)
compiles("getsockname", function() return a:getsockname():family() end)
local listener, name = net.listener()
compiles("connect, accept and close", function()
  local client = L.socket.new(name)
  client:connect()
  local server = listener:accept()
  client:linger(0) -- resets: no port waits in TIME_WAIT
  client:close(); server:close()
end)
compiles("accept, non-blocking", function()
  local client = L.socket.new(name)
  client:connect()
  listener:accept(true):close()
  client:linger(0); client:close()
end)

local from = listener:getsockname()
compiles("accept with an address", function()
  local client = L.socket.new(name)
  client:connect()
  listener:accept(true, from):close()
  client:linger(0); client:close()
end)
if net.has(net.places[2]) then
  local six = assert(L.socket.new(net.addr(L.AF_INET6, L.SOCK_DGRAM)))
  compiles("recvttl, which sets both halves of an IPv6 socket", function() return six:recvttl(true) end)
  compiles("mcastttl, which does", function() return six:mcastttl(3) end)
  six:close()
else
  T.skip(2, "no IPv6 here")
end

-- From a caller that is not compiled, as a handler is that a loop calls.
local function below(sock, methods, what, body, has_loop)
  local functions = {}
  for method in methods:gmatch "%a+" do functions[method] = assert(sock[method]) end
  trace.below(T, body, functions, what .. ", from a caller that is not compiled", has_loop)
end

local memory = ffi.new "uint8_t[64]"
below(a, "send recv", "send and recv", function() a:send "x"; b:recv(64) end)
below(a, "send recv", "send and recv with two flags", function() a:send("x", DONTWAIT, NOSIGNAL); b:recv(64, DONTWAIT, 0) end)
below(a, "sendfrom recvinto", "sendfrom and recvinto", function() a:sendfrom(memory); b:recvinto(memory) end)
local uone, uname = net.bound(L.AF_INET, L.SOCK_DGRAM)
local uai = uone:getsockname()
below(uone, "sendto recvfrom", "sendto and recvfrom", function() uone:sendto("x", uname); uone:recvfrom(64) end)
below(uone, "sendtofrom recvfrominto", "sendtofrom and recvfrominto", function()
  uone:sendtofrom(memory, 64, uname)
  uone:recvfrominto(memory, 64, uai)
end)
local out, box = L.msghdr.new { data = "x" }, L.msghdr.new { size = 64 }
below(a, "sendmsg recvmsg", "sendmsg and recvmsg", function() a:sendmsg(out); b:recvmsg(box) end)
below(box, "data", "a message's data", function() a:send "x"; b:recvmsg(box); box:data() end)
local outs, boxes = L.batch.new { count = 4, size = 64 }, L.batch.new { count = 4, size = 64 }
for i = 1, 4 do outs:data(i, "x") end
below(da, "sendbatch recvbatch", "sendbatch and recvbatch", function() da:sendbatch(outs); db:recvbatch(boxes) end, true)
below(boxes, "data length", "a batch's data and length", function() boxes:data(1); boxes:length(1) end)
below(a, "recvable sendable", "recvable and sendable", function() a:recvable(0); a:sendable(0) end)
local file = io.tmpfile()
file:write "x"; file:flush()
local number = require("llsocket.core.libc").llsocket2_fileno(file)
below(a, "sendfile", "sendfile of a number", function() a:sendfile(number, 1, 0); b:recv(64, DONTWAIT) end)
below(tcp, "tcpnodelay rcvtimeo fd nonblock", "options", function()
  tcp:tcpnodelay(true); tcp:rcvtimeo(); tcp:fd(); tcp:nonblock(false)
end)
below(uname, "port family bytes", "port, family and bytes of an address", function()
  uname:port(); uname:family(); uname:bytes()
end)
local poller = assert(L.poll.new())
poller:add(b, "r")
below(poller, "wait event", "wait and event", function() a:send "x"; poller:wait(0); poller:event(1):recv(64) end, not L.EPOLLIN)
below(poller, "modify", "modify", function() poller:modify(b, "rw"); poller:modify(b, "r") end)
poller:close()
below(listener, "connect accept close", "connect, accept and close", function()
  local client = L.socket.new(name)
  client:connect()
  local server = listener:accept()
  client:linger(0)
  client:close(); server:close()
end)
trace.below(T, function() L.inet.getaddrinfo("127.0.0.1", "80") end, { getaddrinfo = L.inet.getaddrinfo },
  "a numeric address and port, from a caller that is not compiled")
file:close()
uone:close()

-- What would block.
listener:nonblock(true)
local full, rest = net.pair(L.SOCK_STREAM, true)
repeat local _, _, again = full:send(text) until again
compiles("accept that would block", function() listener:accept() end)
compiles("accept with an address that would block", function() listener:accept(true, from) end)
compiles("recv that would block", function() full:recv() end)
compiles("recv with flags that would block", function() a:recv(64, DONTWAIT, NOSIGNAL) end)
compiles("recvfrom that would block", function() full:recvfrom(64) end)
compiles("send that would block", function() full:send "x" end)
below(full, "recv send recvfrom", "recv, send and recvfrom that would block", function()
  full:recv(); full:send "x"; full:recvfrom(64)
end)
compiles("a loop that branches on the errno", function()
  local _, _, again, e = full:recv()
  if not again or e ~= EAGAIN then error "no EAGAIN" end
end)
local gone, peer = net.pair(L.SOCK_STREAM)
peer:close()
compiles("recv and send where the peer has closed", function() gone:recv(); gone:send "x" end)
gone:close()

-- How many bytes a compiled loop of fn leaves to the collector.
local function garbage(fn)
  return (trace.garbage(function() for _ = 1, 2000 do fn() end end))
end

local compiled = jit.status() and not os.getenv "LLSOCKET_STRESS"
local function leaves_nothing(what, fn)
  if not compiled then return T.skip(1, "compiled code alone avoids all garbage, judged in the default mode only") end
  T.is(garbage(fn), 0, what .. " allocates no byte")
end

leaves_nothing("recv that would block", function() full:recv() end)
leaves_nothing("recvfrom that would block", function() full:recvfrom(64, DONTWAIT) end)
leaves_nothing("accept that would block", function() listener:accept() end)
leaves_nothing("accept with an address that would block", function() listener:accept(nil, from) end)
leaves_nothing("send that would block", function() full:send "x" end)
leaves_nothing("a send and the recv of a text that exists", function() a:send "x"; b:recv(64, DONTWAIT, NOSIGNAL) end)
leaves_nothing("an option, read and set", function() tcp:tcpnodelay(true); tcp:tcpnodelay(); tcp:rcvtimeo(1.5) end)

for _, sock in ipairs { a, b, da, db, tcp, listener, full, rest } do sock:close() end
T.is(leak.count(), before, "no descriptor is left")
T.done()
