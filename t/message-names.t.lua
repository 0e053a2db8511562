-- message: source and destination of messages, for every family; addresses stay valid after collections and receives.
local ffi = require "ffi"
local L = require "llsocket"
local layout = require "llsocket.core.layout"
local leak = require "leak"
local net = require "net"
local netns = require "netns"
local proc = require "proc"
local show = require("values").show
local before = leak.count()
local T = require("tap").plan(66)

local function collect() for _ = 1, 2 do collectgarbage() end end

-- Allocates what would take the place of anything freed too early.
local function churn()
  local kept = {}
  for i = 1, 2000 do kept[i % 100 + 1] = ("x"):rep(i % 200) .. i end
  collect()
  return #kept
end

for _, place in ipairs(net.places) do
  local title = place.name
  if not net.has(place) then T.skip(9, "no IPv6 here") else
    local a, a_name = net.bound_at(place, L.SOCK_DGRAM)
    local b, b_name = net.bound_at(place, L.SOCK_DGRAM)
    local mh = assert(L.msghdr.new { name = b_name, data = "there" })
    T.is(show(a:sendmsg(mh)), "5, nil, false", title .. ": a message goes where its name says")
    local into = assert(L.msghdr.new())
    b:recvmsg(into)
    local name = into:name()
    T.is(show(into:data(), tostring(name)), show("there", tostring(a_name)), title .. ": and tells who sent it")
    T.is(show(name:family(), name:socktype(), name:protocol()), show(a_name:family(), a_name:socktype(), a_name:protocol()),
      title .. ": with family, type and protocol")
    churn()
    T.ok(name == a_name, title .. ": the name holds over full collections")
    b:sendto("other", b_name)
    b:recvmsg(into)
    T.ok(into:name() == b_name, title .. ": the next message has its own")
    T.ok(name == a_name, title .. ": and leaves the first as it was")
    local weak = setmetatable({ into }, { __mode = "v" })
    into = nil -- luacheck: ignore
    collect()
    T.ok(weak[1] == nil and name == a_name, title .. ": a name outlives its message")
    mh:name(L.addrinfo.new(a_name:bytes(), L.SOCK_DGRAM))
    churn()
    T.is(show(b:sendmsg(mh)), "5, nil, false", title .. ": a name that only the message has holds as well")
    T.is(show(a:recvfrom()), ('"there", %s, nil, false'):format(tostring(b_name)), title .. ": and is where it goes")
    a:close(); b:close()
  end
end
net.cleanup()

-- No name.
local a, b = net.pair(L.SOCK_DGRAM)
local mh = assert(L.msghdr.new { data = "x" })
a:sendmsg(mh)
b:recvmsg(mh)
T.is(show(mh:name()), "nil", "an unnamed unix socket has no name to tell")
b:sendmsg(mh)
T.is(a:recv(), "x", "and what came from it can still be sent on")
a:close(); b:close()
local bound, name = net.bound_at(net.places[4], L.SOCK_DGRAM)
bound:sendto("named", name)
bound:recvmsg(mh)
T.ok(mh:name() == name, "a name")
local nobody = assert(L.socket.new(name))
nobody:sendto("unnamed", name)
bound:recvmsg(mh)
T.is(show(mh:name(), mh:data()), 'nil, "unnamed"', "is not the next one's, who has none")
nobody:close(); bound:close()
a, b = net.tcp()
a:send "x"
b:recvmsg(mh)
T.is(show(mh:name()), "nil", "a TCP connection tells no name with each message")
a:close(); b:close()

-- Many messages, all names kept.
local udp, udp_name = net.bound(L.AF_INET, L.SOCK_DGRAM)
local senders, names, wrong = {}, {}, 0
for i = 1, 20 do senders[i] = net.bound(L.AF_INET, L.SOCK_DGRAM) end
for round = 1, 10 do
  for i, sender in ipairs(senders) do
    sender:sendto("x", udp_name)
    udp:recvmsg(mh)
    names[(round - 1) * 20 + i] = mh:name()
  end
end
churn()
for i, one in ipairs(names) do if one ~= senders[(i - 1) % 20 + 1]:getsockname() then wrong = wrong + 1 end end
T.is(wrong, 0, "200 names from one message are 200 right ones")
for _, sender in ipairs(senders) do sender:close() end
udp:close()

-- IPv6 with a scope, in a namespace of its own.
local function index_of(ifname)
  for _, entry in ipairs(L.device.getifaddrs()) do if entry.name == ifname then return entry.index end end
end

local function test_scope()
  netns.ip "link add ve0 type veth peer name ve1"
  netns.ip "addr add fe80::53/64 dev ve0 nodad"
  netns.ip "link set ve0 up"; netns.ip "link set ve1 up"
  local ai = assert(L.inet.getaddrinfo("fe80::53%ve0", "0", L.SOCK_DGRAM))[1]
  local sock = assert(L.socket.new(ai))
  assert(not sock:bind())
  local own = sock:getsockname()
  T.is(own:addr(), "fe80::53%ve0", "scope: a socket is bound to a link-local address")
  local from = assert(L.socket.new(ai))
  assert(not from:bind())
  local out = assert(L.msghdr.new { name = own, data = "scoped" })
  T.is(show(from:sendmsg(out)), "6, nil, false", "scope: a message is sent to it")
  sock:rcvtimeo(0.5)
  local got = show(sock:recvmsg(mh))
  for _ = 1, 20 do -- the kernel makes the address's route when it has time, and drops what comes before
    if got == "6, nil, false" then break end
    from:sendmsg(out)
    got = show(sock:recvmsg(mh))
  end
  T.is(got, "6, nil, false", "scope: and arrives")
  T.is(mh:name():addr(), own:addr(), "scope: its name has the scope")
  T.ok(mh:name() == from:getsockname(), "scope: and is the sender's own")
  local cell = layout.sockaddr_in6()
  ffi.copy(cell, mh:name():bytes(), ffi.sizeof(cell))
  T.is(cell.sin6_scope_id, index_of "ve0", "scope: which is the interface's index")
  collect()
  T.is(tostring(mh:name()), ("[%s]:%d"):format(own:addr(), from:getsockname():port()), "scope: it is in the text")
  T.is(show(sock:sendmsg(mh)), "6, nil, false", "scope: it can be answered")
  from:rcvtimeo(5)
  T.is(show((from:recv())), '"scoped"', "scope: and the answer arrives")
  sock:close(); from:close()
end
local ok, why = netns.enter()
if ok then
  netns.ip "link set lo up"
  ok, why = net.has(net.places[2]), "no IPv6 here"
end
if not ok then T.skip(9, why) else test_scope() end

-- An address that recvfrominto overwrites is another for all that hold it, of whatever length.
local function at(tag)
  local sock = assert(L.socket.new(L.unix.getaddrinfo(("\0llsocket-%d-%s"):format(proc.getpid(), tag), L.SOCK_DGRAM)[1], true))
  assert(not sock:bind())
  return sock, sock:getsockname()
end
local me, my_name = at "me"
local short, short_name = at "ab"
local long = at "abc"
local to = assert(L.unix.getaddrinfo(short_name:addr(), L.SOCK_DGRAM))[1]
local answer = assert(L.msghdr.new { name = to, data = "answer" })
local batch = assert(L.batch.new { count = 1, size = 16, name = to })
local plain = assert(L.socket.new(to, true))
batch:data(1, "batch")
long:sendto("question", my_name)
T.ok(select(2, me:recvfrominto(ffi.new "char[16]", nil, to)) == long:getsockname(), "a longer address is written into another")
T.is(show(me:sendmsg(answer), long:recv()), '6, "answer", nil, false', "a message that has it goes to the longer one")
T.is(show(me:sendbatch(batch), short:recv()), '1, "batch", nil, false', "a batch that has copied it goes to the old one")
T.is(show(plain:connect(), plain:send "plain", long:recv()),
  'nil, 5, "plain", nil, false', "a socket made with it connects there")
short:sendto("question", my_name)
me:recvfrominto(ffi.new "char[16]", nil, to)
T.is(show(me:sendmsg(answer), short:recv()), '6, "answer", nil, false', "a shorter one written into it is as exact")
me:close(); short:close(); long:close(); plain:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
