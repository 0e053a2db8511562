-- rights-fd: sendfd and recvfd, and what no message may carry: descriptors over another family, closed ones, a reused number.
local L = require "llsocket"
local net = require "net"
local sys = require "sys"
local leak = require "leak"
local rights = require "rights"
local values = require "values"
local text = require("llsocket.errno").text
local show, failed = values.show, values.failed
local before = leak.count()
local T = require("tap").plan(134)

local pipe_r, pipe_w = rights.pipe()
local file = assert(io.tmpfile())
local SENT = "1, nil, false" -- what a send of one byte answers

-- The refused object, by its own error, as rights and control have it.
local function refused(e) return show(nil, text(e), e) end

for _, name in ipairs { "SOCK_STREAM", "SOCK_DGRAM", "SOCK_SEQPACKET" } do
  local a, b = net.pair(L[name])
  local base = rights.open()
  local sock = net.pair()
  local object = (function()
    a:sendfd(pipe_r)
    return (b:recvfd())
  end)()
  for _, row in ipairs { { "a number", pipe_w }, { "a socket", sock }, { "a descriptor", object }, { "a file", file } } do
    T.is(show(a:sendfd(row[2])), SENT, ("%s: sendfd of %s sends one byte"):format(name, row[1]))
    local got, err, again, e = b:recvfd()
    T.is(show(err, again, e), "nil, false, nil", ("%s: recvfd of %s answers it"):format(name, row[1]))
    T.is(rights.valid { got }, 1, "and it is open")
    got:close()
  end
  T.is(rights.valid { object, sock }, 2, "a sent descriptor still belongs to the caller")
  object:close(); sock:close()
  collectgarbage(); collectgarbage() -- net.pair's other half
  T.is(rights.open(), base, name .. ": no other number is left")
  a:close(); b:close()
end

-- The byte carries a NUL, and no more.
do
  local a, b = net.pair()
  a:sendfd(pipe_r)
  a:send "after"
  b:recvfd():close()
  T.is(b:recv(), "after", "on a stream the bytes after the descriptor are not lost")
  a:sendfd(pipe_r)
  a:sendfd(pipe_w)
  a:send "after"
  b:recvfd():close()
  local second = b:recvfd()
  T.ok(second and rights.valid { second } == 1, "two descriptors sent are received one after another")
  T.is(b:recv(), "after", "and the bytes after both are there")
  second:close()
  a:sendfd(pipe_r)
  T.is(b:recv(), "\0", "the byte that carries a descriptor is a NUL")

  a:send "plain"
  T.is(show(b:recvfd()), failed(L.EBADMSG), "a message without a descriptor is EBADMSG")
  T.is(b:recv(), "lain", "and takes its one byte")

  b:nonblock(true)
  T.is(show(b:recvfd()), values.again(L.EAGAIN), "when nothing waits, recvfd is to be called again")
  a:close()
  T.is(show(b:recvfd()), "no values", "recvfd answers no values at the end of the stream")
  T.is(show(b:sendfd(pipe_r)), "no values", "sendfd answers no values when the peer has closed")
  b:close()
  T.is(show(b:recvfd()), failed(L.EBADF), "recvfd on a closed socket is EBADF")
  T.is(show(b:sendfd(pipe_r)), failed(L.EBADF), "sendfd on a closed socket is EBADF")
end

-- A full buffer.
do
  local a, b = net.pair(L.SOCK_DGRAM, true)
  local n = 0
  while a:sendfd(pipe_r) == 1 do n = n + 1 end
  T.is(show(a:sendfd(pipe_r)), values.sent_again(L.EAGAIN), "if the queue is full, sendfd returns again")
  local got = 0
  for _ = 1, n do
    local object = b:recvfd()
    if object then
      got = got + 1
      object:close()
    end
  end
  T.is(got, n, "and what went before arrives")
  T.is(show(b:recvfd()), values.again(L.EAGAIN), "and nothing else")
  a:close(); b:close()
end

-- By address.
do
  local here = assert(L.socket.new(L.unix.getaddrinfo("", L.SOCK_DGRAM)[1]))
  here:bind()
  local there = assert(L.socket.new(L.unix.getaddrinfo("", L.SOCK_DGRAM)[1]))
  T.is(show(there:sendfd(pipe_r, here:getsockname())), SENT, "sendfd to an address, on an unconnected datagram socket")
  local got = here:recvfd()
  T.is(rights.valid { got }, 1, "arrives")
  got:close()
  T.is(show(there:sendfd(pipe_r)), failed(L.ENOTCONN), "without an address it is ENOTCONN")
  here:close(); there:close()
end

-- One that a peer slips in.
do
  local a, b = net.pair()
  local base = rights.open()
  local most = rights.most()
  for _, n in ipairs { 2, 3, 60, 61, most } do
    assert(a:sendmsg(rights.message(pipe_r, n)))
    local got = b:recvfd()
    T.is(rights.valid { got }, 1, ("of %d descriptors in one message recvfd answers one"):format(n))
    got:close()
    T.is(rights.open(), base, "and has closed the others")
  end
  local e = select(4, a:sendmsg(rights.message(pipe_r, most + 1)))
  T.is(text(e), text(most == 253 and L.EINVAL or L.ENOMEM), "one more than a message carries is refused")
  T.is(show(b:recv(1, L.MSG_DONTWAIT)), values.again(L.EAGAIN), "and nothing was sent")
  local two = assert(L.cmsghdr.rights(pipe_r, pipe_w))
  a:sendmsg(assert(L.msghdr.new { data = "xyz", control = { two } }))
  local got = b:recvfd()
  T.is(b:recv(), "yz", "the bytes after the first are not lost")
  got:close()
  T.is(rights.open(), base, "nor any descriptor")
  a:close(); b:close()
end

-- Families that would drop them without a word.
do
  local client, server = net.tcp()
  local udp, udp_ai = net.bound(L.AF_INET, L.SOCK_DGRAM)
  local raw = assert(L.cmsghdr.new(L.SOL_SOCKET, L.SCM_RIGHTS, ("\0"):rep(4)))
  local cmsg = assert(L.cmsghdr.rights(pipe_r))
  for _, row in ipairs { { "TCP", client }, { "UDP", udp, udp_ai } } do
    T.is(show(row[2]:sendfd(pipe_r, row[3])), failed(L.EOPNOTSUPP), "sendfd over " .. row[1] .. " is EOPNOTSUPP")
    for _, kind in ipairs { { "rights()", cmsg }, { "SCM_RIGHTS by new()", raw } } do
      local mh = assert(L.msghdr.new { name = row[3], data = "x", control = { kind[2] } })
      T.is(show(row[2]:sendmsg(mh)), failed(L.EOPNOTSUPP), ("sendmsg with %s over %s is EOPNOTSUPP"):format(kind[1], row[1]))
      mh:control {}
      T.is(show(row[2]:sendmsg(mh)), SENT, "and goes without it")
    end
  end
  T.is(server:recv(), "xx", "nothing else went")
  client:close(); server:close(); udp:close()
end

-- What is closed between its making and its sending: its number's next owner is a stranger.
local function fd_of(object) return object:fd() end
local function socket() return (net.pair()) end
local MORTAL = {
  { "a socket", socket, function(s) s:close() end, fd_of },
  { "a socket given up", socket, function(s) sys.close(s:unwrap()) end, fd_of },
  { "a descriptor", function()
    local a, b = net.pair()
    a:sendfd(pipe_r)
    return (b:recvfd())
  end, function(d) d:close() end, fd_of },
  { "a file", io.tmpfile, function(f) f:close() end },
}
do
  local a, b = net.pair(L.SOCK_DGRAM, true)
  for _, row in ipairs(MORTAL) do
    local object = row[2]()
    local fd = row[4] and row[4](object)
    local cmsg = assert(L.cmsghdr.rights(pipe_r, object))
    local mh = assert(L.msghdr.new { data = "x", control = { cmsg } })
    row[3](object)
    local stranger = sys.copy(pipe_w, fd or 0)
    T.ok(not fd or stranger == fd, row[1] .. " is closed, and another descriptor has its number")
    T.is(show(a:sendmsg(mh)), failed(L.EBADF), "the message with it is EBADF")
    T.is(show(b:recvfd()), values.again(L.EAGAIN), "and nothing was sent")
    T.is(show(mh:control { cmsg }), refused(L.EBADF), "control() with it is EBADF")
    T.is(show(L.msghdr.new { control = { cmsg } }), refused(L.EBADF), "so is a new message")
    T.is(show(a:sendfd(object)), failed(L.EBADF), "and sendfd")
    T.is(cmsg:data(), "", "its data is empty")
    sys.close(stranger)
  end
  T.is(show(a:sendfd(4000)), failed(L.EBADF), "a number that is not open is the kernel's EBADF")
  a:close(); b:close()
end

-- Flags.
do
  for _, name in ipairs { "SOCK_STREAM", "SOCK_DGRAM", "SOCK_SEQPACKET" } do
    local a, b = net.pair(L[name]) -- blocking
    T.is(show(b:recvfd(L.MSG_DONTWAIT)), values.again(L.EAGAIN), name .. ": recvfd with MSG_DONTWAIT does not block")
    T.is(show(a:sendfd(pipe_r, nil, L.MSG_DONTWAIT)), SENT, name .. ": sendfd takes flags")
    local peeked = b:recvfd(L.MSG_PEEK, L.MSG_DONTWAIT)
    local taken = b:recvfd(L.MSG_DONTWAIT)
    T.ok(peeked and taken and peeked:fd() ~= taken:fd(), name .. ": with MSG_PEEK recvfd answers a copy, and takes nothing")
    T.is(show(b:recvfd(0, L.MSG_DONTWAIT)), values.again(L.EAGAIN), name .. ": a second flag counts, too")
    for i = 1, 10000 do
      local n = a:sendfd(pipe_r, nil, 0, L.MSG_DONTWAIT)
      if n ~= 1 or i == 10000 then
        T.is(n, 0, name .. ": sendfd with MSG_DONTWAIT does not block either")
        break
      end
    end
    for _, object in ipairs { peeked, taken, a, b } do object:close() end
  end
  local a, b = net.pair()
  T.is(show(a:sendfd(pipe_r, nil, 1.5)), failed(L.EINVAL), "sendfd: half a flag is EINVAL")
  T.is(show(a:sendfd(pipe_r, nil, L.MSG_ZEROCOPY or 2^32)), failed(L.EINVAL), "as is MSG_ZEROCOPY")
  T.is(show(b:recvfd(2^32)), failed(L.EINVAL), "recvfd: a flag of 33 bits is EINVAL")
  T.is(show(b:recvfd(L.MSG_TRUNC)), failed(L.EINVAL), "as is MSG_TRUNC on a stream")
  local ok, err = pcall(b.recvfd, b, "text")
  T.is(not ok and err:match "bad argument.*", "bad argument #1 to 'recvfd' (number expected, got string)", "text is no flag")
  a:close(); b:close()
end

file:close()
sys.close(pipe_r); sys.close(pipe_w)
T.is(leak.count(), before, "no descriptor is left")
T.done()
