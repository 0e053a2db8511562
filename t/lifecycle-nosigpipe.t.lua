-- lifecycle-nosigpipe: on systems with SO_NOSIGPIPE and without MSG_NOSIGNAL, every new socket gets that option.  Linux
-- does not have it; SO_OOBINLINE, which every socket takes and remembers, stands in for it.
local plain = require "llsocket"
local net = require "net"
local standin = require "standin"
local leak = require "leak"
local before = leak.count()
local T = require("tap").plan(18)

local L = standin.load { MSG_NOSIGNAL = false, SO_NOSIGPIPE = plain.SO_OOBINLINE }
local ai = L.inet.getaddrinfo("127.0.0.1", "0")[1]

local function carries(sock, name)
  T.is(sock:getsockopt(L.SOL_SOCKET, L.SO_NOSIGPIPE, "boolean"), true, name .. " carries it")
  return sock
end

local plain_sock = net.bound()
T.is(plain_sock:oobinline(), false, "a socket of the system's own does not carry the option")

local made = carries(assert(L.socket.new(ai)), "new")
carries(made:dup(), "dup"):close()
made:close()
carries(assert(L.socket.new(ai, true)), "a non-blocking new"):close()
local pair = assert(L.socket.pair(L.SOCK_STREAM))
carries(pair[1], "the first of a pair")
carries(pair[2], "the second of a pair")

-- A listener without it, since on Linux accepted sockets inherit options.
local listener, name = net.listener()
local client = assert(plain.socket.new(name))
assert(not client:connect())
listener = standin.adopt(listener)
T.is(listener:oobinline(), false, "the listener does not carry it")
carries(assert(listener:accept()), "accept"):close()
client:close(); listener:close()

-- Taken over, lent, and received.
local fd = net.bound():unwrap()
carries(assert(L.socket.wrap(fd)), "wrap"):close()
local lent = carries(assert(L.socket.wrap(plain_sock:fd(), { own = false })), "what is borrowed")
T.is(lent:close(), nil, "what is borrowed is only let go")
T.ok(plain_sock:getsockname(), "and stays open")
plain_sock:close()

local passed = plain.socket.new(net.addr())
assert(pair[1]:sendfd(passed:fd()) == 1)
local got = assert(pair[2]:recvfd())
carries(got, "what is received")
T.is(passed:oobinline(), true, "which is the socket's, not the descriptor's: its other owner sees it")
got:close(); passed:close()

local file = assert(io.open "/dev/null")
assert(pair[1]:sendfd(file) == 1)
file:close()
got = assert(pair[2]:recvfd())
T.is(tostring(got):match "^[%w.]+", "llsocket.descriptor", "a received descriptor that is not a socket needs no option")
got:close()

-- The option does it alone: no guard is put around a send.
T.is(pair[1]:send "x", 1, "a send goes through")
T.is(pair[2]:recv(), "x", "and arrives")
pair[1]:close(); pair[2]:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
