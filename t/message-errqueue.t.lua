-- message: the error queue: refused datagrams and datagrams too long, with who reported them.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local netns = require "netns"
local values = require "values"
local show, again = values.show, values.again
local before = leak.count()
local T = require("tap").plan(51)

local LOCAL, ICMP, ICMP6 = L.SO_EE_ORIGIN_LOCAL, L.SO_EE_ORIGIN_ICMP, L.SO_EE_ORIGIN_ICMP6

-- A port at which nobody is: who has it is connected to itself, and hears no other.
local function refusing(family)
  local sock, ai = net.bound(family, L.SOCK_DGRAM)
  assert(not sock:connect(ai))
  return ai, sock
end

-- The error of the message received last.
local function exterr(mh)
  for _, cmsg in ipairs(mh:control()) do
    local err = cmsg:exterr()
    if err then return err end
  end
end

local function told(err)
  return show(err.errno, err.origin, err.type, err.code, err.info, err.offender and err.offender:addr())
end

local CASES = {
  { L.AF_INET, 1, "IPv4", show(L.ECONNREFUSED, ICMP, 3, 3, 0, "127.0.0.1") }, -- destination unreachable, port unreachable
  { L.AF_INET6, 2, "IPv6", show(L.ECONNREFUSED, ICMP6, 1, 4, 0, "::1") },
}
for _, case in ipairs(CASES) do
  local family, place, title, want = unpack(case)
  if not LOCAL then T.skip(18, "this system has no error queue")
  elseif not net.has(net.places[place]) then T.skip(18, "no IPv6 here") else
    local sock = net.bound(family, L.SOCK_DGRAM, true)
    local nobody, keeper = refusing(family)
    local mh = assert(L.msghdr.new { size = 100 })
    T.is(show(sock:recvmsg(mh, L.MSG_ERRQUEUE)), again(L.EAGAIN), title .. ": an empty queue says try again")
    T.is(sock:recverr(true), true, title .. ": recverr is set")
    T.is(show(sock:sendto("is there anybody", nobody)), "16, nil, false", title .. ": a datagram is sent to a closed port")
    T.ok(net.await(function() return sock:recvmsg(mh, L.MSG_ERRQUEUE) end), title .. ": the queue has something")
    T.is(show(mh:data(), bit.band(mh:flags(), L.MSG_ERRQUEUE) ~= 0), '"is there anybody", true', title ..
      ": the data is what was sent")
    T.ok(mh:name() == nobody, title .. ": and where to")
    local err = assert(exterr(mh))
    T.is(told(err), want, title .. ": the port is unreachable, as the receiver's host reports")
    T.is(show(err.offender:family(), err.offender:port(), err.data), show(family, 0, 0), title .. ": an address without port")
    T.is(show(sock:recvmsg(mh, L.MSG_ERRQUEUE)), again(L.EAGAIN), title .. ": each error is reported once")
    local ok = pcall(function() return tostring(err.offender), err.offender:bytes(), err.offender == nobody end)
    T.ok(ok, title .. ": the reporter is an address like any other")

    -- Without the queue the error is the next call's; with it too, until read.
    sock:sendto("again", nobody)
    net.await(function() return sock:recvable(0) end)
    T.is(select(4, sock:recvmsg(mh)), L.ECONNREFUSED, title .. ": a receive answers the error as well")
    T.is(show(sock:recvmsg(mh)), again(L.EAGAIN), title .. ": once")
    T.is(show(sock:recvmsg(mh, L.MSG_ERRQUEUE)), "5, nil, false", title .. ": and the queue still has it")

    -- Several errors, a message without data, and one cut short.
    for i = 1, 5 do sock:sendto(("x"):rep(i), nobody) end
    local count, lengths, refused = 0, {}, true
    net.await(function()
      while true do
        local n = sock:recvmsg(mh, L.MSG_ERRQUEUE)
        if not n then return count >= 1 and #lengths >= 1 end
        count, lengths[#lengths + 1] = count + 1, n
        refused = refused and exterr(mh).errno == L.ECONNREFUSED
      end
    end)
    T.ok(count >= 1 and lengths[1] <= 5 and refused, title .. ": several errors come one by one")
    sock:error()
    while sock:recvmsg(mh, L.MSG_ERRQUEUE) do end
    local function send_empty()
      sock:error()
      return sock:sendto("", nobody)
    end
    net.await(function() return send_empty() == 0 end)
    local n = net.await(function() return (sock:recvmsg(mh, L.MSG_ERRQUEUE)) end)
    T.is(n, 0, title .. ": an empty datagram's error is 0 bytes, no end")
    T.is(exterr(mh).errno, L.ECONNREFUSED, title .. ": with its error")
    local small = assert(L.msghdr.new { controlsize = 20 })
    sock:error()
    sock:sendto("tight", nobody)
    net.await(function() return sock:recvmsg(small, L.MSG_ERRQUEUE) end)
    T.ok(bit.band(small:flags(), L.MSG_CTRUNC) ~= 0, title .. ": too little capacity is MSG_CTRUNC")
    T.is(exterr(small), nil, title .. ": and no half an error")
    sock:close(); keeper:close()
  end
end

-- TCP has an error queue too: nothing in it is not the end.
if not LOCAL then T.skip(1, "this system has no error queue") else
  local a, b = net.tcp()
  T.is(show(a:recvmsg(assert(L.msghdr.new()), L.MSG_ERRQUEUE)), again(L.EAGAIN), "the empty queue of a connection says try again")
  a:close(); b:close()
end

-- On a stream a report without bytes is not the peer's end: the kernel tells of a zerocopy send.
local client, server = net.tcp()
local TAKE = {
  recv = { function() return client:recv(1, L.MSG_ERRQUEUE) end, '"", nil, false' },
  recvfrom = { function() return client:recvfrom(1, L.MSG_ERRQUEUE) end, '"", nil, nil, false' },
  recvinto = { function() return client:recvinto(ffi.new "char[1]", nil, nil, L.MSG_ERRQUEUE) end, "0, nil, false" },
  recvfrominto = { function()
    return client:recvfrominto(ffi.new "char[1]", nil, nil, nil, L.MSG_ERRQUEUE)
  end, "0, nil, nil, false" },
  recvmsg = { function() return client:recvmsg(assert(L.msghdr.new()), L.MSG_ERRQUEUE) end, "0, nil, false" },
}
local text = ("x"):rep(20000)
local function report()
  local n = client:sendzerocopy(text)
  while n and n > 0 do n = n - #server:recv(65536) end
  return n and client:recvable(5)
end
for name, row in pairs(TAKE) do
  if report() then T.is(show(row[1]()), row[2], "on a stream " .. name .. " tells a report without bytes from the end")
  else T.skip(1, "no MSG_ZEROCOPY here") end
end
client:close(); server:close()

-- The path MTU, in a namespace of its own.
local function too_long(family, host, mtu_name)
  local ai = assert(L.inet.getaddrinfo(host, "9", L.SOCK_DGRAM))[1]
  local sock = assert(L.socket.new(ai, true))
  sock:recverr(true)
  sock:mtudiscover(L.IP_PMTUDISC_DO)
  sock:connect(ai)
  local n, _, _, e = sock:send(("x"):rep(2000))
  T.is(show(n, e), show(nil, L.EMSGSIZE), mtu_name .. ": a datagram longer than the path takes is EMSGSIZE")
  local mh = assert(L.msghdr.new())
  T.ok(sock:recvmsg(mh, L.MSG_ERRQUEUE), mtu_name .. ": which the queue has")
  local err = assert(exterr(mh))
  T.is(show(err.errno, err.origin, err.info), show(L.EMSGSIZE, LOCAL, 1400),
    mtu_name .. ": with the path's MTU, from this machine")
  T.is(show(family, err.offender and err.offender:addr()), show(family, nil), mtu_name .. ": and no other machine reported it")
  sock:close()
end
local ok, why = nil, not LOCAL and "this system has no error queue"
if not why then ok, why = netns.enter() end
if not ok then T.skip(8, why) else
  netns.ip "link add ve0 type veth peer name ve1"
  netns.ip "link set ve0 mtu 1400 up"; netns.ip "link set ve1 up"
  netns.ip "addr add 10.9.4.1/24 dev ve0"
  too_long(L.AF_INET, "10.9.4.2", "IPv4")
  local _, has6 = netns.try "addr add fd09::1/64 dev ve0 nodad"
  if has6 then too_long(L.AF_INET6, "fd09::2", "IPv6") else T.skip(4, "no IPv6 here") end
end
T.is(leak.count(), before, "no descriptor is left")
T.done()
