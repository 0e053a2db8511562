-- transfer-zero: what 0 bytes mean, for each kind of socket, each way to receive and each state; nothing that follows is lost.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local netns = require "netns"
local values = require "values"
local before = leak.count()
local errno_name = require("llsocket.errno").name
local DGRAM, SEQPACKET, STREAM = L.SOCK_DGRAM, L.SOCK_SEQPACKET, L.SOCK_STREAM

-- Every way answers one word: the bytes in quotes, "end", "again", or the errno's name.
local function say(...)
  if select("#", ...) == 0 then return "end" end
  local value, _, again, e = ...
  if value then return ("%q"):format(value) end
  return again and "again" or errno_name(e)
end

-- A recvfrom's answers without the sender.
local function without_name(...)
  if select("#", ...) == 0 then return end
  local value, _, err, again, e = ...
  return value, err, again, e
end

local buf = ffi.new "uint8_t[100]"

local function in_memory(...)
  if type((...)) ~= "number" then return ... end
  return ffi.string(buf, (...)), select(2, ...)
end

local mh = assert(L.msghdr.new { size = 100 })
local one = assert(L.batch.new { count = 1, size = 100 })

local function in_message(...)
  if type((...)) ~= "number" then return ... end
  return mh:data(), select(2, ...)
end

local function in_batch(...)
  if type((...)) ~= "number" then return ... end
  return one:data(1), select(2, ...)
end

local function in_parts(...)
  if type((...)) ~= "table" then return ... end
  return table.concat((...)), select(2, ...)
end

local WAYS = {
  { "recv", function(sock, flag) return say(sock:recv(100, flag)) end },
  { "recvfrom", function(sock, flag) return say(without_name(sock:recvfrom(100, flag))) end },
  { "recvinto", function(sock, flag) return say(in_memory(sock:recvinto(buf, nil, nil, flag))) end },
  { "recvfrominto", function(sock, flag) return say(in_memory(without_name(sock:recvfrominto(buf, nil, nil, nil, flag)))) end },
  { "recvmsg", function(sock, flag) return say(in_message(sock:recvmsg(mh, flag))) end },
  { "readv", function(sock, flag) return say(in_parts(sock:readv({ 50, 50 }, flag))) end },
  { "recvbatch", function(sock, flag) return say(in_batch(sock:recvbatch(one, flag))) end },
  { "recv of 100,000 bytes", function(sock, flag) return say(sock:recv(100000, flag)) end },
}

local UNIX = net.places[3]
local DATAGRAMS = {
  { "UDP", named = true, make = function(nonblock) return net.connected(net.places[1], DGRAM, nonblock) end },
  { "unix datagrams with a name", make = function(nonblock) return net.connected(UNIX, DGRAM, nonblock) end },
  { "unix datagrams without", make = function(nonblock) return net.pair(DGRAM, nonblock) end },
}

-- A client that was bound before it connected, so that its messages tell a sender.
local function named_seqpacket(nonblock)
  local listener, ai = net.bound_at(UNIX, SEQPACKET)
  assert(not listener:listen())
  local client = net.bound_at(UNIX, SEQPACKET)
  assert(not client:connect(ai))
  local server = assert(listener:accept(nonblock))
  listener:close()
  return client, server
end

local SEQPACKETS = {
  { "a seqpacket with a name", named = true, make = named_seqpacket },
  { "a seqpacket without", make = function(nonblock) return net.pair(SEQPACKET, nonblock) end },
}
local STREAMS = {
  { "TCP", stream = true, make = function(nonblock) return net.tcp(L.AF_INET, nonblock) end },
  { "a unix stream", stream = true, make = function(nonblock) return net.pair(STREAM, nonblock) end },
}

local cases = {}
local function case(kinds, name, fn)
  for _, kind in ipairs(kinds) do cases[#cases + 1] = { kind, name, fn } end
end
local function both(...)
  local out = {}
  for _, kinds in ipairs { ... } do
    for _, kind in ipairs(kinds) do out[#out + 1] = kind end
  end
  return out
end

-- Each case: what is done to the peer `a` and to `b`, and the words that `b` then tells, one a receive.
case(both(DATAGRAMS, SEQPACKETS), "an empty message is a message, and the next one arrives", function(kind, way)
  local a, b = kind.make(true)
  a:send ""; a:send "one"; a:send ""; a:send ""; a:send "two"
  return a, b, { way(b), way(b), way(b), way(b), way(b), way(b) }, '"" "one" "" "" "two" again'
end)

case(both(DATAGRAMS, SEQPACKETS), "so where the receive blocks", function(kind, way)
  local a, b = kind.make(false)
  a:send ""; a:send ""
  return a, b, { way(b), way(b), way(b, L.MSG_DONTWAIT) }, '"" "" again'
end)

case(SEQPACKETS, "messages that wait when the peer has closed come before the end", function(kind, way)
  local a, b = kind.make(true)
  a:send "one"; a:send ""; a:send ""; a:send "two"; a:close()
  return a, b, { way(b), way(b), way(b), way(b), way(b), way(b) }, '"one" "" "" "two" end end'
end)

case(SEQPACKETS, "a last empty message has its sender, or looks like the end", function(kind, way)
  local a, b = kind.make(true)
  a:send "one"; a:send ""; a:close()
  return a, b, { way(b), way(b), way(b) }, kind.named and '"one" "" end' or '"one" end end'
end)

case(SEQPACKETS, "after a half-close comes the end", function(kind, way)
  local a, b = kind.make(false)
  a:send ""; a:send "one"; a:shutdown(L.SHUT_WR)
  return a, b, { way(b), way(b), way(b), way(b, L.MSG_DONTWAIT) }, '"" "one" end end'
end)

case(SEQPACKETS, "and so where this side was shut down", function(kind, way)
  local a, b = kind.make(true)
  a:send ""; a:send "one"; b:shutdown(L.SHUT_RD)
  return a, b, { way(b), way(b), way(b) }, '"" "one" end'
end)

case(STREAMS, "on a stream it is the end", function(kind, way)
  local a, b = kind.make(true)
  local first = way(b)
  a:send "one"; a:shutdown(L.SHUT_WR); b:recvable(5)
  return a, b, { first, way(b), way(b), way(b) }, 'again "one" end end'
end)

case(STREAMS, "also where this side was shut down", function(kind, way)
  local a, b = kind.make(true)
  b:shutdown(L.SHUT_RD)
  return a, b, { way(b), way(b) }, "end end"
end)

case({ STREAMS[1] }, "data that waits when a stream is reset is received before the reset", function(kind, way)
  local a, b = kind.make(true)
  a:send "one"; b:recvable(5)
  a:linger(0); a:close()
  local CLOSE = 7 -- TCP_CLOSE, the first byte of TCP_INFO
  net.await(function() return b:getsockopt(L.IPPROTO_TCP, L.TCP_INFO, "bytes"):byte() == CLOSE end)
  return a, b, { way(b), way(b), way(b) }, '"one" ECONNRESET end'
end)

-- Shut down for reading: the end, for whatever way of not blocking, and also where nothing is connected.
local function shut(sock, flag)
  local _, e = sock:shutdown(flag)
  return e == nil or e == L.ENOTCONN
end

for _, flag in ipairs { "SHUT_RD", "SHUT_RDWR" } do
  case(DATAGRAMS, "after " .. flag .. " comes the end", function(kind, way)
    local a, b = kind.make(true)
    a:send "one"; a:send ""; assert(shut(b, L[flag]))
    local last = kind[1]:find "without" and "end" or '""'
    return a, b, { way(b), way(b), way(b), way(b) }, ('"one" %s end end'):format(last)
  end)
end

case(DATAGRAMS, "and where the receive may block", function(kind, way)
  local a, b = kind.make(false)
  assert(shut(b, L.SHUT_RD))
  return a, b, { way(b), way(b, L.MSG_DONTWAIT) }, "end end"
end)

case(DATAGRAMS, "but not after SHUT_WR", function(kind, way)
  local a, b = kind.make(true)
  assert(shut(b, L.SHUT_WR)); a:send ""
  return a, b, { way(b), way(b) }, '"" again'
end)

case(DATAGRAMS, "a copy knows it", function(kind, way)
  local a, b = kind.make(true)
  shut(b, L.SHUT_RD)
  local copy = assert(b:dup())
  b:close()
  return a, copy, { way(copy) }, "end"
end)

case(DATAGRAMS, "and what is wrapped", function(kind, way)
  local a, b = kind.make(true)
  shut(b, L.SHUT_RD)
  local again = assert(L.socket.wrap(b:unwrap()))
  return a, again, { way(again) }, "end"
end)

case({ DATAGRAMS[1] }, "what Linux delivers later comes, an empty one by its sender", function(kind, way)
  local a, b = kind.make(true)
  shut(b, L.SHUT_RD)
  local first = way(b)
  a:send ""; a:send "late"
  return a, b, { first, way(b), way(b), way(b) }, 'end "" "late" end'
end)

case({ DATAGRAMS[1] }, "a socket that is not connected returns ENOTCONN, but is shut down", function(_, way)
  local b, name = net.bound(L.AF_INET, DGRAM, true)
  local a = net.bound(L.AF_INET, DGRAM)
  local _, e = b:shutdown()
  local first = way(b)
  a:sendto("late", name)
  return a, b, { errno_name(e), first, way(b), way(b) }, 'ENOTCONN end "late" end'
end)

-- Sending nothing: an empty message, but on a stream.
local empty = assert(L.batch.new { count = 1, size = 1 })
local SENDS = {
  { "send", function(sock) return sock:send "" end },
  { "sendto", function(sock, ai) return sock:sendto("", ai) end, to = true },
  { "sendfrom", function(sock) return sock:sendfrom "" end },
  { "sendfrom of 0 bytes at a pointer", function(sock) return sock:sendfrom(buf + 0, 0) end },
  { "sendtofrom", function(sock, ai) return sock:sendtofrom(buf, 0, ai) end, to = true },
  { "sendmsg", function(sock) return sock:sendmsg(L.msghdr.new()) end },
  { "writev", function(sock) return sock:writev { "", "" } end },
  { "sendbatch", function(sock) return sock:sendbatch(empty) end, "1, nil, false" },
  { "sendzerocopy", function(sock) return sock:sendzerocopy "" end },
}
local nothing = {}
for _, row in ipairs(SENDS) do
  for _, kind in ipairs(both(DATAGRAMS, SEQPACKETS, STREAMS)) do
    local has_name = kind[1] == "UDP" or kind[1] == "unix datagrams with a name" -- a connected peer of the others has none
    if kind.stream or not row.to or has_name then nothing[#nothing + 1] = { row, kind } end
  end
end

local function sends_nothing(T, row, kind)
  local a, b = kind.make(true)
  local name = ("%s: %s of nothing "):format(kind[1], row[1])
  local answer = values.show(row[2](a, row.to and b:getsockname()))
  if kind.stream then T.is(answer, values.failed(L.EINVAL), name .. "is EINVAL")
  elseif row[1] == "sendzerocopy" and kind[1] ~= "UDP" then T.is(answer, values.failed(L.EOPNOTSUPP), name .. "is EOPNOTSUPP")
  elseif answer == values.failed(L.EOPNOTSUPP) then T.skip(1, "there is no MSG_ZEROCOPY")
  else T.is(answer .. WAYS[1][2](b), (row[3] or "0, nil, false") .. '""', name .. "is an empty message, which arrives") end
  a:close(); b:close()
end

local linux = ffi.os == "Linux"
local T = require("tap").plan(#cases * #WAYS + 28 + #nothing + #SENDS + #WAYS)
for _, c in ipairs(cases) do
  local kind, name, fn = c[1], c[2], c[3]
  for _, way in ipairs(WAYS) do
    if linux then
      local a, b, got, want = fn(kind, way[2])
      T.is(table.concat(got, " "), want, ("%s: %s: %s"):format(kind[1], way[1], name))
      a:close(); b:close()
    else
      T.skip(1, "the states are Linux's")
    end
  end
end

for _, pair in ipairs(nothing) do sends_nothing(T, pair[1], pair[2]) end
for _, row in ipairs(SENDS) do
  local closed = net.pair(SEQPACKET)
  closed:close()
  T.is(values.show(row[2](closed, net.addr())), values.failed(L.EBADF), row[1] .. ": on a closed socket EBADF")
end

-- Many by one call.
local show = values.show
local many = assert(L.batch.new { count = 8, size = 100 })
local function contents()
  local out = {}
  for i = 1, many:count() do out[i] = ("%q"):format(many:data(i)) end
  return table.concat(out, " ")
end

local function batch_of(kind, sends, after)
  local a, b = kind.make(true)
  for _, msg in ipairs(sends) do a:send(msg) end
  if after then after(a, b) end
  local first = show(b:recvbatch(many))
  local held, second = contents(), show(b:recvbatch(many))
  a:close(); b:close()
  return first, held, second
end
local function close(a) a:close() end

for _, kind in ipairs(SEQPACKETS) do
  local name = "recvbatch: " .. kind[1] .. ": "
  local first, held, second = batch_of(kind, { "", "one", "", "two", "" })
  T.is(first .. " " .. held, '5, nil, false "" "one" "" "two" ""', name .. "no message after an empty one is lost")
  T.is(second, values.again(L.EAGAIN), name .. "and nothing else comes")
  first, held, second = batch_of(kind, { "", "one", "", "two" }, close)
  T.is(first .. " " .. held, '4, nil, false "" "one" "" "two"', name .. "so where the peer has closed")
  T.is(second, "no values", name .. "and then comes the end")
  first, held, second = batch_of(kind, { "", "" }, close)
  local want = kind.named and '2, nil, false "" ""' or "no values"
  T.is((first .. " " .. (kind.named and held or "")):gsub(" $", ""), want, name .. "last empty messages have their sender")
  T.is(second, "no values", name .. "or look like the end")
end

-- More than a batch holds, though the peer has closed: what comes last in the batch is no end.
local a, b = net.pair(SEQPACKET, true)
for _, msg in ipairs { "one", "", "", "", "", "", "", "", "", "two" } do a:send(msg) end
a:close()
T.is(show(b:recvbatch(many)), "8, nil, false", "empty messages at the end of a batch count if another message follows")
T.is(show(b:recvbatch(many)) .. " " .. contents(), '2, nil, false "" "two"', "which comes then")
b:close()

-- A datagram socket that was shut down, and a receive that would wait until the batch is full.
a, b = net.connected(net.places[1], DGRAM, false)
a:send "one"; a:send ""
shut(b, L.SHUT_RD)
T.is(show(b:recvbatch(many, L.MSG_WAITALL)) .. " " .. contents(), '2, nil, false "one" ""',
  "a batch ends with a message that has a sender")
T.is(show(b:recvbatch(many, L.MSG_WAITALL)), "no values", "and then comes the end, also with MSG_WAITALL")
T.is(show(b:recvbatch(many, L.MSG_DONTWAIT)), "no values", "and with MSG_DONTWAIT")
T.is(show(b:recvmsg(mh, L.MSG_ERRQUEUE)), values.again(L.EAGAIN), "an empty error queue is no end")
b:recverr(true)
a:send "two"
T.is(show(b:recvbatch(many)) .. " " .. contents(), '1, nil, false "two"', "later messages arrive in a batch, too")
a:close(); b:close()

-- Descriptors without a byte.
for _, socktype in ipairs { "SOCK_DGRAM", "SOCK_SEQPACKET" } do
  a, b = net.pair(L[socktype], true)
  local bare = assert(L.msghdr.new { control = { assert(L.cmsghdr.rights(a)) } })
  T.is(show(a:sendmsg(bare)), "0, nil, false", socktype .. ": ancillary data alone is sent")
  a:close()
  local object, err, again = b:recvfd()
  T.ok(object and not err and again == false, socktype .. ": recvfd takes it though no byte came, and the peer has closed")
  if object then object:close() end
  T.is(show(b:recvfd(L.MSG_DONTWAIT)), socktype == "SOCK_DGRAM" and values.again(L.EAGAIN) or "no values",
    socktype .. ": then there is nothing more")
  b:close()
end

-- Behind an empty message of an unnamed peer: descriptors without a byte, which the question must not install.
a, b = net.pair(SEQPACKET, true)
a:send ""
assert(a:sendmsg(assert(L.msghdr.new { control = { assert(L.cmsghdr.rights(a)) } })) == 0)
a:close()
local descriptors = leak.count()
T.is(show(b:recv()), '"", nil, false', "a message with descriptors alone behind an empty one is seen")
T.is(leak.count(), descriptors, "and the look installs none of them")
b:close()

-- Raw sockets, of which IPv6's tell no header.
local EXPERIMENT = 253 -- an IP protocol for experiments, RFC 3692
local function raw(way)
  local ai = assert(L.inet.getaddrinfo6("::1", "0", L.SOCK_DGRAM))[1]
  local to = assert(L.addrinfo.new(ai:bytes(), L.SOCK_RAW, EXPERIMENT))
  local from, sock = assert(L.socket.new(to)), assert(L.socket.new(to, true))
  local sent = values.show(from:sendto("", to))
  local first, second = way(sock), way(sock)
  shut(sock)
  local third = way(sock)
  from:sendto("", to)
  local words = table.concat({ sent, first, second, third, way(sock), way(sock) }, " ")
  from:close(); sock:close()
  return words
end
local entered, why = netns.enter()
if entered then netns.ip "link set lo up" end
for _, way in ipairs(WAYS) do
  if not entered then T.skip(1, why) else
    T.is(raw(way[2]), '0, nil, false "" again end "" end',
      "raw sockets: " .. way[1] .. ": an empty message, the end once shut down, a later message")
  end
end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
