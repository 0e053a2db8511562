-- lifecycle-refused: a socket is made, but a following call fails: only this socket is closed, and only once.  The
-- kernel refuses these calls, because their numbers mean nothing to a socket.
local plain = require "llsocket"
local net = require "net"
local standin = require "standin"
local sys = require "sys"
local leak = require "leak"
local show = require("values").show
local text = require("llsocket.errno").text
local before = leak.count()

local F_NOTIFY, UNKNOWN = 1026, 0x7ffe -- fcntl(2): directories only; ioctl(2): no such request
local ENOTDIR, ENOTTY, EINVAL = plain.ENOTDIR, plain.ENOTTY, plain.EINVAL

local function failed(e) return show(nil, text(e), e) end
local function refused(e) return show(nil, text(e), false, e) end
local MADE = "it is made"

-- Systems, and what each birth answers on them.
local CASES = {
  { name = "close-on-exec", nonblock = nil,
    lacks = { SOCK_CLOEXEC = false, SOCK_NONBLOCK = false, F_DUPFD_CLOEXEC = false, F_SETFD = F_NOTIFY },
    new = failed(ENOTDIR), pair = failed(ENOTDIR), dup = failed(ENOTDIR), wrap = failed(ENOTDIR), accept = refused(ENOTDIR),
    received = "llsocket.socket" }, -- the receive itself has set it
  { name = "O_NONBLOCK", nonblock = true,
    lacks = { SOCK_CLOEXEC = false, SOCK_NONBLOCK = false, FIONBIO = UNKNOWN },
    new = failed(ENOTTY), pair = failed(ENOTTY), dup = MADE, wrap = failed(ENOTTY), accept = refused(ENOTTY),
    received = "llsocket.socket" },
  { name = "SO_NOSIGPIPE", nonblock = nil,
    lacks = { MSG_NOSIGNAL = false, SO_NOSIGPIPE = plain.SO_RCVTIMEO }, -- which an int is too short for
    new = failed(EINVAL), pair = failed(EINVAL), dup = MADE, wrap = failed(EINVAL),
    accept = show(nil, nil, true, plain.ECONNABORTED), -- as macOS refuses it to a connection that has died
    received = "llsocket.descriptor" },
}

local BIRTHS = { "new", "pair", "dup", "wrap", "accept" }
local T = require("tap").plan(#CASES * (#BIRTHS * 3 + 4) + 1)

if not sys.linux then
  T.skip(#CASES * (#BIRTHS * 3 + 4), "what these numbers mean is known of Linux only")
  T.is(leak.count(), before, "no descriptor is left")
  T.done()
end

local TOP = 255

-- Without a collection: what is closed late does not count as closed.
local function open()
  local n = 0
  for fd = 0, TOP do if sys.is_open(fd) then n = n + 1 end end
  return n
end

-- Whether numbers that are given out now survive a collection.
local function strangers_live()
  local fds, live = {}, true
  for i = 1, 8 do fds[i] = sys.copy(1) end
  collectgarbage(); collectgarbage()
  for i = 1, 8 do live = sys.close(fds[i]) and live end
  return live
end

-- Each answers the call to judge, and what closes what it needed.
local WAYS = {
  new = function(L, nonblock)
    local ai = L.inet.getaddrinfo("127.0.0.1", "0")[1]
    return function() return L.socket.new(ai, nonblock) end
  end,
  pair = function(L, nonblock) return function() return L.socket.pair(L.SOCK_STREAM, nonblock) end end,
  dup = function()
    local sock = standin.adopt((net.bound()))
    return function() return sock:dup() end, function() sock:close() end
  end,
  wrap = function(L, nonblock)
    local sock = net.bound()
    return function() return L.socket.wrap(sock:fd(), nonblock) end, function() assert(sock:close() == nil) end
  end,
  accept = function(_, nonblock)
    local listener, name = net.listener()
    local client = assert(plain.socket.new(name))
    assert(not client:connect())
    client:rcvtimeo(5)
    listener = standin.adopt(listener)
    return function() return listener:accept(nonblock) end, function()
      assert(show(client:recv()) == "no values", "the connection has not ended")
      client:close(); listener:close()
    end
  end,
}

local function answer(sock, ...)
  if not sock then return show(sock, ...) end
  assert(sock:close() == nil)
  return MADE
end

local function judge(case, birth, L)
  local name = ("%s where %s is refused: "):format(birth, case.name)
  local call, tidy = WAYS[birth](L, case.nonblock)
  local count = open()
  T.is(answer(call()), case[birth], name .. case[birth])
  T.is(open(), count, name .. "nothing stays open")
  if tidy then tidy() end
  T.ok(strangers_live(), name .. "no other descriptor is closed")
end

-- A descriptor that arrives is there already: it is handed over as what it can be.
local function receive(case)
  local name = ("what arrives where %s is refused: "):format(case.name)
  local a, b = net.pair()
  local passed = net.bound()
  assert(a:sendfd(passed) == 1)
  passed:close()
  local count, receiver = open(), standin.adopt(b)
  local got = assert(receiver:recvfd())
  T.is(tostring(got):match "^[%w.]+", case.received, name .. "it is a " .. case.received)
  T.is(open(), count + 1, name .. "it is open once")
  T.is(got:close(), nil, name .. "it closes")
  T.ok(open() == count and strangers_live(), name .. "once")
  a:close(); receiver:close()
end

for _, case in ipairs(CASES) do
  local L = standin.load(case.lacks)
  for _, birth in ipairs(BIRTHS) do judge(case, birth, L) end
  receive(case)
end
T.is(leak.count(), before, "no descriptor is left")
T.done()
