-- batch-shapes: the exact values of batches, on datagrams, streams and seqpackets, and what they refuse.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local values = require "values"
local show = values.show
local before = leak.count()
local T = require("tap").plan(97)

local function failed(e) return show(nil, require("llsocket.errno").text(e), e) end
local function batch(fields) return assert(L.batch.new(fields)) end

-- Making one.
T.is(batch():count(), 64, "a batch has 64 messages when nothing is said")
T.is(batch { count = 3 }:count(), 3, "or as many as are asked for")
for _, row in ipairs {
  { "no message", { count = 0 } }, { "more than 1,024 messages", { count = 1025 } }, { "half a message", { count = 1.5 } },
  { "no byte", { size = 0 } }, { "a size that is no number at all", { size = 0/0 } },
  { "2 GiB in all", { count = 1024, size = 2^21 } },
  { "a negative room for control", { controlsize = -1 } }, { "2 GiB of control", { controlsize = 2^31 - 1 } },
} do T.is(show(L.batch.new(row[2])), failed(L.EINVAL), row[1] .. ": EINVAL") end

-- Setting and telling.
local b = batch { count = 4, size = 10 }
local here = net.addr(L.AF_INET, L.SOCK_DGRAM, 9)
T.is(show(b:data(1)), '""', "a message begins empty")
T.is(show(b:data(2, "0123456789"), b:data(2), b:length(2)), '"0123456789", "0123456789", 10', "as much as fits is set")
T.is(show(b:data(2, "0123456789a")), failed(L.EMSGSIZE), "one byte more is EMSGSIZE")
T.is(b:data(2), "0123456789", "and leaves it as it was")
T.is(show(b:data(5)), failed(L.EINVAL), "there is no fifth of four")
T.is(show(b:data(0, "x")), failed(L.EINVAL), "nor one before the first")
T.is(show(b:length(2, 4), b:data(2)), '4, "0123"', "a shorter length cuts")
T.is(show(b:length(2, 11)), failed(L.EINVAL), "a length above the capacity is EINVAL")
local at, length = b:pointer(2)
T.is(ffi.string(at, length), "0123", "pointer tells where the bytes are, and how many")
ffi.copy(b:pointer(3), "written", 7)
T.is(show(b:length(3, 7), b:data(3)), '7, "written"', "what is written there is the message's once the length is set")
T.is(show(b:name(1)), "nil", "a message begins without an address")
T.is(b:name(2, here), here, "one is set")
T.is(show(b:name(2) == here, b:name(2):socktype(), rawequal(b:name(2), here)), show(true, L.SOCK_DGRAM, false),
  "the returned address is equal, and another object")
T.is(show(b:to(here)) .. show(b:name(4) == here), "no valuestrue", "to sets all")
T.is(show(b:to()) .. show(b:name(4)), "no valuesnil", "and takes all back")
T.is(batch({ name = here }):name(64), here, "new sets all, too")
T.is(show(b:flags(1), #b:control(1)), "0, 0", "nothing has come yet")
T.is(show(b:count(2), b:count()), "2, 2", "how many it holds is set")
T.is(show(b:count(5)), failed(L.EINVAL), "not to more than there are")

-- Datagrams.
local server, server_name = net.bound(L.AF_INET, L.SOCK_DGRAM, true)
local clients, names = {}, {}
for i = 1, 3 do clients[i], names[i] = net.bound(L.AF_INET, L.SOCK_DGRAM, true) end
local r = batch { count = 8, size = 10 }
T.is(show(server:recvbatch(r)), values.again(L.EAGAIN), "nothing has arrived: again")
T.is(r:count(), 8, "and the batch is as it was")
for i = 1, 3 do clients[i]:sendto(("from %d"):format(i), server_name) end
clients[1]:sendto("", server_name); clients[2]:sendto("longer than 10", server_name)
T.is(show(server:recvbatch(r)), "5, nil, false", "five datagrams arrive by one call")
T.is(show(r:data(1), r:data(2), r:data(3), r:data(4), r:data(5)), '"from 1", "from 2", "from 3", "", "longer tha"',
  "each with its bytes, one of them empty and one cut")
T.is(show(r:flags(4), r:flags(5)), show(0, L.MSG_TRUNC), "the flags tell which was cut")
T.is(show(r:name(1) == names[1], r:name(3) == names[3], r:name(4) == names[1]), "true, true, true", "each knows its sender")
T.is(show(r:name(1):socktype(), r:name(1):family()), show(L.SOCK_DGRAM, L.AF_INET), "as recvfrom would tell it")
T.is(r:count(), 5, "and the batch holds five")
local kept = r:name(1)
T.is(show(server:sendbatch(r)), "5, nil, false", "all are answered as they are")
T.is(show(clients[1]:recv(), clients[3]:recv()), '"from 1", "from 3", nil, false', "the senders get what they sent")
T.is(show(clients[1]:recv()), '"", nil, false', "the empty one, too")
clients[2]:recv(); clients[2]:recv()
clients[3]:sendto("other", server_name)
T.is(show(server:recvbatch(r)) .. show(kept == names[1]), "1, nil, falsetrue", "a name outlives the next receive")
T.is(show(r:count(), r:data(1)), '1, "other"', "which brought one")
T.is(show(server:sendbatch(r, 3, 2)), "3, nil, false", "a part of a batch is sent by number")
T.is(show((clients[2]:recv()), (clients[3]:recv()), (clients[1]:recv())), '"from 2", "from 3", ""', "that part alone")
for _, row in ipairs { { 0 }, { 9 }, { 8, 2 }, { 1, 9 }, { 1, 0 }, { nil, 2 }, { 1, 1.5 } } do
  T.is(show(server:sendbatch(r, row[1], row[2])), values.failed(L.EINVAL),
    ("sending %s from %s on of 8 is EINVAL"):format(tostring(row[1]), tostring(row[2])))
end
r:to()
T.is(show(server:sendbatch(r, 1)), values.failed(L.EDESTADDRREQ), "without an address: EDESTADDRREQ")
r:to(names[1]); r:data(1, "a"); r:data(2, "b"); r:data(3, "c")
clients[1]:shutdown(L.SHUT_WR)
T.is(show(server:sendbatch(r, 2, nil, L.MSG_DONTWAIT)), "2, nil, false", "flags are taken")
T.is(show(clients[1]:recvbatch(b, L.MSG_PEEK)), "4, nil, false", "MSG_PEEK fills a batch with the first")
T.is(show(b:data(1), b:data(4)), '"a", "a"', "again and again")
T.is(show(clients[1]:recvbatch(b)), "2, nil, false", "and takes none")
server:sendto("0123456789abc", names[1])
T.is(show(clients[1]:recvbatch(b, L.MSG_TRUNC)) .. show(b:data(1), b:length(1)), '1, nil, false"0123456789", 10',
  "MSG_TRUNC shows no byte that did not arrive")
T.is(show(server:recvbatch(r, 2^32)), values.failed(L.EINVAL), "a flag of 33 bits is EINVAL")

-- What freed memory held.
local secrets = {}
for i = 1, 50 do
  secrets[i] = batch { count = 8, size = 1000 }
  for j = 1, 8 do secrets[i]:data(j, ("secret"):rep(150)) end
end
secrets = nil -- luacheck: ignore
collectgarbage(); collectgarbage()
local told = {}
for i = 1, 50 do
  local fresh = batch { count = 8, size = 1000 }
  for j = 1, 8 do fresh:length(j, 1000) end
  for j = 1, 8 do told[fresh:data(j)] = i end
end
T.ok(told[("\0"):rep(1000)] and next(told, (next(told))) == nil,
  "a message that is only made longer holds zeroes, not old memory")

-- Fewer than asked: an error in the middle is told by the next call.
local many = batch { count = 3, size = 70000 }
many:to(names[2])
many:data(1, "fits"); many:data(2, ("x"):rep(70000)); many:data(3, "too")
T.is(show(server:sendbatch(many)), "1, nil, true", "a message that cannot go stops a batch")
T.is(show(server:sendbatch(many, 2, 2)), values.failed(L.EMSGSIZE), "and the next call tells why")
T.is(show(server:sendbatch(many, 1, 3)), "1, nil, false", "the messages after it can still be sent")
local x, y = net.pair(L.SOCK_DGRAM, true)
local full = batch { count = 1024, size = 1 }
for i = 1, 1024 do full:data(i, "x") end
local n, err, again = x:sendbatch(full)
T.ok(n > 0 and n < 1024 and err == nil and again == true, "a full queue takes some, and again is true")
T.is(show(x:sendbatch(full, 1024 - n, n + 1)), values.sent_again(L.EAGAIN), "then none")
T.is(show(y:recvbatch(full)), n .. ", nil, false", "the counted messages arrive")
T.is(show(full:name(1)), "nil", "from a socket without a name")

-- An error after the first message.
local lonely, lonely_name = net.bound(L.AF_INET, L.SOCK_DGRAM, true)
local gone, gone_name = net.bound(L.AF_INET, L.SOCK_DGRAM)
lonely:connect(gone_name); gone:connect(lonely_name)
gone:send "last words"; gone:close()
lonely:send "anybody?"
T.is(show(lonely:recvbatch(r)), values.failed(L.ECONNREFUSED), "an error of the socket comes first")
T.is(show(lonely:recvbatch(r)) .. show(r:data(1)), '1, nil, false"last words"', "then what waits")

-- Blocking.
x:nonblock(false); y:nonblock(false)
x:send "one"; x:send "two"
T.is(show(y:recvbatch(r)), "2, nil, false", "a blocking receive takes the waiting messages, and does not wait for more")
y:rcvtimeo(0.02)
T.is(show(y:recvbatch(r)), values.again(L.EAGAIN), "where nothing is, it waits")
local pid = proc.fork(function()
  for i = 1, 8 do
    x:send("waited " .. i)
    y:recvable(0)
  end
end)
y:rcvtimeo(0)
T.is(show(y:recvbatch(r, L.MSG_WAITALL)) .. show(r:data(8)), '8, nil, false"waited 8"',
  "with MSG_WAITALL until the batch is full")
proc.wait(pid)

-- Streams and seqpackets.
local s, t = net.pair(L.SOCK_STREAM, true)
local parts = batch { count = 3, size = 4 }
parts:data(1, "abcd"); parts:data(2, "e"); parts:data(3, "fgh")
T.is(show(s:sendbatch(parts)), "3, nil, false", "a stream takes a batch")
T.is(show(t:recvbatch(r)) .. show(r:data(1), r:name(1)), '1, nil, false"abcdefgh", nil', "and gives it in other parts")
parts:length(2, 0)
T.is(show(s:sendbatch(parts)), values.failed(L.EINVAL), "an empty message is EINVAL on a stream")
T.is(show(t:recvbatch(r, L.MSG_TRUNC)), values.failed(L.EINVAL), "nor is there MSG_TRUNC")
local large = batch { count = 4, size = 2^20 }
for i = 1, 4 do large:data(i, tostring(i):rep(2^20)) end
local next_one, got = 1, {}
while next_one <= 4 do
  n = assert(s:sendbatch(large, 4 - next_one + 1, next_one))
  next_one = next_one + n
  for msg in function() return t:recv(2^17) end do got[#got + 1] = msg end
end
for msg in function() return t:recv(2^17) end do got[#got + 1] = msg end
T.ok(table.concat(got) == ("1"):rep(2^20) .. ("2"):rep(2^20) .. ("3"):rep(2^20) .. ("4"):rep(2^20),
  "what a stream took a part of keeps the rest, and goes on from there")
s:send "last"; s:close()
T.is(show(t:recvbatch(r)) .. show(r:data(1)), '1, nil, false"last"', "messages before the end are received")
T.is(show(t:recvbatch(r)), "no values", "then the end")
T.is(show(t:sendbatch(parts, 1)), "no values", "to which nothing is sent")
t:close()
s, t = net.pair(L.SOCK_SEQPACKET, true)
parts:data(2, "e")
T.is(show(s:sendbatch(parts)) .. show(t:recvbatch(r)), "3, nil, false3, nil, false", "seqpackets keep their bounds")
s:close()
T.is(show(t:recvbatch(r)), "no values", "and have an end")
t:close()

-- Unix names go back and forth, the longest, too; descriptors find no room.
local dir = net.tmpdir()
local longest = dir .. "/" .. ("n"):rep(107 - #dir) -- 108 bytes, which leave no room for a NUL
local u = assert(L.socket.new(assert(L.unix.getaddrinfo(longest, L.SOCK_DGRAM))[1], true))
local v = assert(L.socket.new(assert(L.unix.getaddrinfo(dir .. "/v", L.SOCK_DGRAM))[1], true))
assert(not u:bind()); assert(not v:bind())
u:sendto("to v", v:getsockname())
T.is(show(v:recvbatch(r)) .. show(r:name(1):addr() == longest), "1, nil, falsetrue", "the longest path is returned")
T.is(show(v:sendbatch(r)) .. show((u:recv())), '1, nil, false"to v"', "and answered")
local controlled = batch { count = 2, size = 10, controlsize = 64 }
T.is(show(v:recvbatch(controlled)), values.failed(L.EOPNOTSUPP), "a controlsize is refused on unix sockets")
local was = leak.count()
x:sendmsg(assert(L.msghdr.new { data = "with fd", control = { assert(L.cmsghdr.rights(u)) } }))
T.is(show(y:recvbatch(r)) .. show(r:data(1), r:flags(1) ~= 0), '1, nil, false"with fd", true',
  "a batch has no capacity for a descriptor")
T.is(leak.count(), was, "and none is left open")

-- Ancillary data.
server:recvttl(true)
clients[3]:sendto("with ttl", server_name)
T.is(show(server:recvbatch(controlled)) .. show(controlled:control(1)[1]:integer(), #controlled:control(2)),
  "1, nil, false64, 0", "control returns ancillary data")
T.is(show(server:sendbatch(controlled)) .. show((clients[3]:recv())), '1, nil, false"with ttl"', "and not sent back")
server:recvttl(false)
clients[3]:sendto("without", server_name)
T.is(show(server:recvbatch(controlled)) .. show(#controlled:control(1)), "1, nil, false0", "nor returned twice")

local function segments()
  local fine = clients[3]:setsockopt(L.IPPROTO_UDP, L.UDP_GRO, "int", 1)
  if not fine then return T.skip(7, "this kernel does not join segments") end
  local out = batch { count = 2, size = 5000 }
  out:to(names[3]); out:data(1, ("0123456789"):rep(250)); out:segment(1, 1000)
  T.is(show(server:sendbatch(out, 1)), "1, nil, false", "a message is sent in segments")
  local joined = batch { count = 4, size = 65535, controlsize = 64 }
  T.is(show(clients[3]:recvbatch(joined)) .. show(joined:length(1), joined:segment(1)), "1, nil, false2500, 1000",
    "and arrives as one, which knows their size")
  T.is(show(clients[3]:sendbatch(joined)), "1, nil, false", "it is answered in segments")
  T.is(show(server:recvbatch(r)), "3, nil, false", "which arrive each for itself")
  local cut = batch { count = 1, size = 5000, controlsize = require("rights").cmsg_len(1) }
  server:sendbatch(out, 1); clients[3]:recvbatch(cut)
  T.is(show(cut:segment(1), cut:flags(1)), show(0, L.MSG_CTRUNC), "a size that arrived only in part is not a size")
  out:segment(2, 7)
  clients[1]:close(); clients[1] = net.bound(L.AF_INET, L.SOCK_DGRAM, true)
  clients[1]:sendto("plain", server_name)
  server:recvbatch(out)
  T.is(show(out:segment(1), out:segment(2)), "0, 7",
    "a message that arrives alone is no longer cut, the others keep their size")
  clients[1]:sendto("plain", server_name); clients[1]:sendto("plain", server_name)
  server:recvbatch(out)
  T.is(show(out:segment(1), out:segment(2)), "0, 0", "until something arrives in its place")
end
if L.UDP_GRO and L.UDP_SEGMENT then segments() else T.skip(7, "there are no segments on this system") end

for _, sock in ipairs { server, x, y, lonely, u, v, unpack(clients) } do sock:close() end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
