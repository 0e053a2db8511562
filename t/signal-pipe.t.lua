-- signal-pipe: no send raises SIGPIPE, whatever its disposition, and none changes the mask, the handler or pending signals.
local ffi = require "ffi"
local L = require "llsocket"
local net = require "net"
local proc = require "proc"
local signals = require "signals"
local leak = require "leak"
local missing = require "missing"
local values = require "values"
local show = values.show
local before = leak.count()

ffi.cdef [[
int llsocket_t_rawsend(int fd, const void *buf, size_t len, int flags) __asm__("send");
int llsocket_t_rawwrite(int fd, const void *buf, size_t len) __asm__("write");
int llsocket_t_rawsendfile(int to, int from, void *offset, size_t len) __asm__("sendfile");
int llsocket_t_rawpipe(int *fds) __asm__("pipe");
int llsocket_t_rawsplice(int from, void *, int to, void *, size_t len, unsigned int flags) __asm__("splice");
int llsocket_t_rawfileno(void *file) __asm__("fileno");
]]
local C, SIGPIPE, SIGUSR1 = ffi.C, proc.SIGPIPE, ffi.os == "Linux" and 10 or 30

local path = net.tmpdir() .. "/file"
local file = assert(io.open(path, "w+"))
file:write(("page"):rep(2^21)) -- 8 MiB
file:flush()
local SIZE = 2^23

-- A socket whose peer is gone, by kind.
local MAKE = {
  { "a unix stream", function()
    local a, b = net.pair()
    b:close()
    return a
  end },
  { "a seqpacket", function()
    local a, b = net.pair(L.SOCK_SEQPACKET)
    b:close()
    return a
  end },
  { "TCP", function()
    local a, b = net.tcp()
    b:close()
    net.await(function() return a:send "x" == nil end)
    return a
  end },
  { "a socket shut down", function()
    local a = net.tcp()
    a:shutdown(L.SHUT_WR)
    return a
  end },
}

local SEND = {
  { "send", function(sock) return sock:send "x" end },
  { "sendto", function(sock) return sock:sendto("x", net.addr()) end },
  { "sendmsg", function(sock) return sock:sendmsg(assert(L.msghdr.new { data = "x" })) end },
  { "writev", function(sock) return sock:writev { "x", "y" } end },
  { "sendbatch", function(sock)
    local batch = assert(L.batch.new { count = 2 })
    batch:data(1, "x"); batch:data(2, "y")
    return sock:sendbatch(batch)
  end },
  { "splice", function(sock)
    local from, to = net.pair()
    to:send "x"
    return from:splice(sock, (assert(L.pipe.new())))
  end },
  { "sendfile", function(sock) return sock:sendfile(file, SIZE) end },
}

local fds = ffi.new "int[2]"
local RAW = {
  { "send", function(fd) C.llsocket_t_rawsend(fd, "x", 1, 0) end },
  { "write", function(fd) C.llsocket_t_rawwrite(fd, "x", 1) end },
  { "splice", function(fd)
    local from, to = net.pair()
    to:send "x"
    C.llsocket_t_rawpipe(fds)
    C.llsocket_t_rawsplice(from:fd(), nil, fds[1], nil, 1, 0)
    C.llsocket_t_rawsplice(fds[0], nil, fd, nil, 1, 0)
  end },
  { "sendfile", function(fd) C.llsocket_t_rawsendfile(fd, C.llsocket_t_rawfileno(file), ffi.new "int64_t[1]", 4096) end },
}

local T = require("tap").plan(#MAKE * #SEND + #RAW + 2 * #SEND + 1 + 3 * #SEND + 5)

local FOR_SENDFILE = #MAKE + 2 + 3 + 4
if missing.sendfile then
  table.remove(SEND)
  T.skip(FOR_SENDFILE, missing.sendfile)
end
if missing.splice then
  table.remove(SEND, 6)
  T.skip(#MAKE + 2 + 3, missing.splice)
end

-- What became of a child that ran fn.
local function fate(fn)
  local pid = proc.fork(fn)
  return show(proc.wait(pid))
end
local SURVIVED, KILLED = "0, 0", show(nil, SIGPIPE)

-- The default disposition, whatever the caller of the tests had.
local function by_default(fn)
  return fate(function()
    proc.signal(SIGPIPE, proc.SIG_DFL)
    return fn()
  end)
end

for _, send in ipairs(SEND) do
  for _, make in ipairs(MAKE) do
    local answer = by_default(function()
      local sock = make[2]()
      -- A unix stream looks at sendto's address before it looks at the peer.
      local refuses = send[1] == "sendto" and make[1] == "a unix stream"
      local wanted = refuses and values.failed(L.EISCONN) or "no values"
      if send[1] == "splice" and make[1] == "a seqpacket" then wanted = values.failed(L.EINVAL) end
      for _ = 1, 3 do assert(show(send[2](sock)) == wanted) end
    end)
    T.is(answer, SURVIVED, send[1] .. " to " .. make[1] .. " that is closed: no values, and the process lives")
  end
end

for _, raw in ipairs(RAW) do
  T.is(by_default(function() raw[2](MAKE[1][2]():fd()) end), KILLED, "a plain " .. raw[1] .. " kills, so these tests can fail")
end

-- A handler that ends the process tells whether it ran.
local exit = ffi.cast("void *", C.llsocket_t_exit)
for _, disposition in ipairs { { "SIG_IGN", proc.SIG_IGN }, { "a handler", exit } } do
  for _, send in ipairs(SEND) do
    local answer = fate(function()
      signals.handler(SIGPIPE, disposition[2])
      local sock = MAKE[1][2]()
      for _ = 1, 3 do send[2](sock) end
      return signals.handler(SIGPIPE, disposition[2]) == tonumber(ffi.cast("intptr_t", disposition[2]))
    end)
    T.is(answer, SURVIVED, disposition[1] .. " stays, and does not run, with " .. send[1])
  end
end
local handled = fate(function()
  signals.handler(SIGPIPE, exit)
  C.llsocket_t_rawwrite(MAKE[1][2]():fd(), "x", 1)
end)
T.is(handled, SIGPIPE .. ", 0", "the handler runs for a plain write, so that test can fail")

-- Masks and what is pending, before and after: the words hold before | after.
local function around(prepare, send)
  local out = os.tmpname()
  local ended = fate(function()
    proc.signal(SIGPIPE, proc.SIG_DFL)
    local sock = MAKE[1][2]()
    prepare()
    local was = signals.mask() .. ";" .. signals.pending()
    send(sock)
    local now = signals.mask() .. ";" .. signals.pending()
    local f = assert(io.open(out, "w"))
    f:write(was, "|", now)
    f:close()
    C.llsocket_t_exit(0) -- with the signal still pending
  end)
  local f = assert(io.open(out))
  local text = f:read "*a"
  f:close()
  os.remove(out)
  return ended == SURVIVED and text or ended
end

local function same(mask, pending) return ("%s;%s|%s;%s"):format(mask, pending, mask, pending) end

for _, send in ipairs(SEND) do
  T.is(around(function() signals.block(SIGUSR1) end, send[2]), same(SIGUSR1, ""),
    send[1] .. " leaves a mask without SIGPIPE as it was")
  T.is(around(function() signals.block(SIGPIPE) end, send[2]), same(SIGPIPE, ""),
    send[1] .. " leaves no SIGPIPE pending where it is blocked")
  T.is(around(function()
    signals.block(SIGPIPE)
    signals.raise(SIGPIPE)
  end, send[2]), same(SIGPIPE, SIGPIPE), send[1] .. " leaves a SIGPIPE that was pending")
end

-- A sendfile that blocks half-way, while the peer resets what it had half closed: EPIPE after some bytes.
local function cut_short(sendfile)
  local a, b = net.tcp()
  a:sndbuf(16384); b:rcvbuf(16384)
  b:shutdown(L.SHUT_WR)
  assert(a:recv() == nil) -- the end has arrived here, so that the reset is EPIPE and not ECONNRESET
  local pid = proc.fork(function()
    local stuck = a:dup()
    a:close()
    net.await(function() return not stuck:sendable(0) end)
    stuck:close()
    b:linger(0); b:close()
  end)
  b:close()
  local answer = sendfile(a)
  proc.wait(pid)
  return answer
end

local function some(sock)
  local n, err, again = sock:sendfile(file, SIZE)
  return n and n > 0 and n < SIZE and err == nil and again == true
end

local function cut_short_tests()
  T.is(by_default(function() return cut_short(some) end), SURVIVED,
    "a sendfile cut short by the peer answers its bytes, and the process lives")
  T.is(by_default(function()
    return cut_short(function(sock)
      some(sock)
      return show(sock:sendfile(file, SIZE, 4096)) == "no values"
    end)
  end), SURVIVED, "the next answers no values")
  T.is(by_default(function()
    cut_short(function(sock) C.llsocket_t_rawsendfile(sock:fd(), C.llsocket_t_rawfileno(file), ffi.new "int64_t[1]", SIZE) end)
  end), KILLED, "a plain sendfile cut short kills, so this test can fail")
  T.is(by_default(function()
    signals.block(SIGPIPE)
    return cut_short(some) and signals.pending() == ""
  end), SURVIVED, "no SIGPIPE is left pending by a sendfile cut short")
end
if not missing.sendfile then cut_short_tests() end

file:close()
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
