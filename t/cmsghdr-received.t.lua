-- cmsghdr: ancillary data as the kernel makes it: TTL, TOS, packet info, timestamps, drops, credentials, segments.
local L = require "llsocket"
local emulator = require "emulator"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local values = require "values"
local show, text = values.show, require("llsocket.errno").text
local before = leak.count()
local T = require("tap").plan(55)

-- What a message brought, decoded: "ttl 64; pktinfo ...".  Timestamps are judged apart.
local function decoded(mh)
  local out = {}
  for _, cmsg in ipairs(mh:control()) do
    local info, cred, sec = cmsg:pktinfo(), cmsg:credentials(), cmsg:timestamp()
    if info then
      out[#out + 1] = ("to %s at %s %s"):format(info.addr, info.index, info.specdst)
    elseif cred then
      out[#out + 1] = ("from %d %d %d"):format(cred.pid, cred.uid, cred.gid)
    else
      out[#out + 1] = sec and "time" or tostring(cmsg:integer())
    end
  end
  return table.concat(out, "; ")
end

local function exchange(from, to, name, control)
  local mh = assert(L.msghdr.new { name = name, data = "x", control = control })
  local n, err = from:sendmsg(mh)
  if n ~= 1 then return show(n, err) end
  assert(to:recvmsg(mh))
  return decoded(mh), mh
end

-- As T.is, of a message that sets something for itself.
local function is_set(got, want, name)
  if emulator.order then T.skip(1, emulator.order) else T.is(got, want, name) end
end

-- Each option brings its kind; a message can set each for itself.
local FAMILIES = {
  { L.AF_INET, "IPv4", { L.cmsghdr.ttl, L.cmsghdr.tos }, "to 127.0.0.1 at 1 127.0.0.1", "0.0.0.0" },
  { L.AF_INET6, "IPv6", { L.cmsghdr.hoplimit, L.cmsghdr.tclass }, "to ::1 at 1 nil", "::" },
}
for _, family in ipairs(FAMILIES) do
  local domain, title, make, info = unpack(family)
  if not net.has(net.places[domain == L.AF_INET and 1 or 2]) then T.skip(13, "no IPv6 here") else
    local to, name = net.bound(domain, L.SOCK_DGRAM)
    local from, from_name = net.bound(domain, L.SOCK_DGRAM)
    T.is(exchange(from, to, name), "", title .. ": without options nothing comes along")
    assert(to:recvttl(true))
    T.is(exchange(from, to, name), "64", title .. ": recvttl brings the default")
    is_set(exchange(from, to, name, { make[1](5) }), "5", title .. ": or what one message set")
    T.is(exchange(from, to, name), "64", title .. ": for itself alone")
    assert(to:recvttl(false) == false and to:recvtos(true))
    T.is(exchange(from, to, name), "0", title .. ": recvtos brings the default")
    is_set(exchange(from, to, name, { make[2](184) }), "184", title .. ": or what one message set")
    assert(to:recvtos(false) == false and to:pktinfo(true))
    T.is(exchange(from, to, name), info, title .. ": pktinfo brings destination and interface")
    to:recvttl(true); to:recvtos(true)
    local all, mh = exchange(from, to, name, not emulator.order and { make[1](9), make[2](8) } or nil)
    local kinds = {}
    for kind in (all .. "; "):gmatch "(.-); " do kinds[#kinds + 1] = kind end
    table.sort(kinds)
    is_set(table.concat(kinds, "; "), "8; 9; " .. info, title .. ": all of them come together")
    to:recvttl(false); to:recvtos(false)

    -- Answering from the address that was asked.
    local seen = mh:control()
    local asked
    for _, cmsg in ipairs(seen) do asked = asked or cmsg:pktinfo() end
    local answer = assert(L.msghdr.new { name = mh:name(), data = "answer",
      control = not emulator.order and { assert(L.cmsghdr.pktinfo(asked.specdst or asked.addr, tostring(asked.index))) } or nil })
    is_set(show(to:sendmsg(answer)), "6, nil, false", title .. ": an answer leaves from the address that was asked")
    local back, sender = from:recvfrom()
    T.is(show(back, sender:addr()), show("answer", name:addr()), title .. ": and arrives from there")
    T.ok(mh:name() == from_name, title .. ": while the question's sender is known")
    local foreign = domain == L.AF_INET and "203.0.113.1" or "2001:db8::1"
    local bad = assert(L.msghdr.new { name = name, data = "x", control = { assert(L.cmsghdr.pktinfo(foreign)) } })
    local n, _, _, e = from:sendmsg(bad)
    T.ok(n == nil and (e == L.EINVAL or e == L.EADDRNOTAVAIL or e == L.ENETUNREACH),
      title .. ": an address that the machine lacks is no source")
    T.is(exchange(from, to, name), info, title .. ": and nothing of it is sent")
    from:close(); to:close()
  end
end

-- Another address of the machine as the source.
local any = assert(L.socket.new(assert(L.inet.getaddrinfo("0.0.0.0", "0", L.SOCK_DGRAM))[1]))
assert(not any:bind())
local to, to_name = net.bound(L.AF_INET, L.SOCK_DGRAM)
any:sendmsg(assert(L.msghdr.new { name = to_name, data = "x", control = { assert(L.cmsghdr.pktinfo "127.0.0.9") } }))
T.is(select(2, to:recvfrom()):addr(), "127.0.0.9", "a datagram leaves from any address of the machine that pktinfo says")
any:pktinfo(true)
local there = assert(L.inet.getaddrinfo("127.0.0.7", tostring(any:getsockname():port()), L.SOCK_DGRAM))[1]
T.is(exchange(to, any, there), "to 127.0.0.7 at 1 127.0.0.7", "and a socket bound to all learns which was asked")
any:close()

-- Timestamps.
local function stamp(mh)
  for _, cmsg in ipairs(mh:control()) do
    local sec, nsec = cmsg:timestamp()
    if sec then return sec, nsec, select("#", cmsg:timestamp()) end
  end
end
local from = net.bound(L.AF_INET, L.SOCK_DGRAM)
local function stamped(option)
  to[option](to, true)
  local now = os.time()
  local _, mh = exchange(from, to, to_name)
  local sec, nsec, count = stamp(mh)
  T.ok(sec and sec >= now - 1 and sec <= os.time() + 1, option .. ": seconds since the epoch")
  T.ok(nsec and nsec >= 0 and nsec < 1e9 and nsec % 1 == 0, option .. ": and nanoseconds")
  T.is(count, 2, option .. ": two values")
  to[option](to, false)
  return nsec
end
T.is(stamped "timestamp" % 1000, 0, "timestamp has whole microseconds")
local fine = {}
for _ = 1, 20 do
  to:timestampns(true)
  fine[#fine + 1] = (select(2, stamp(select(2, exchange(from, to, to_name)))) or 0) % 1000 ~= 0 or nil
end
T.ok(#fine > 0, "timestampns has nanoseconds")
stamped "timestampns"
to:timestampns(true)
local _, one = exchange(from, to, to_name)
local _, two = exchange(from, to, to_name)
local s1, n1 = stamp(one)
local s2, n2 = stamp(two)
T.ok(s1 and (s2 > s1 or s2 == s1 and n2 >= n1), "a later message has a later time")
to:timestampns(false)

-- Drops.
to:rxqovfl(true)
to:rcvbuf(2048)
local sent = 0
for _ = 1, 200 do if from:sendto(("x"):rep(500), to_name) == 500 then sent = sent + 1 end end
local got, mh = 0, assert(L.msghdr.new())
while to:recvmsg(mh, L.MSG_DONTWAIT) do got = got + 1 end
local lost = sent - got
from:sendto("after", to_name)
to:recvmsg(mh)
T.is(show(mh:data(), tonumber(decoded(mh))), show("after", lost), "rxqovfl tells how many were dropped")
T.ok(lost > 0, "and some were")
to:rxqovfl(false)

-- Segments.
to:rcvbuf(100000)
local function segment()
  if not (L.UDP_SEGMENT and L.UDP_GRO) then return nil, "this system has neither UDP_SEGMENT nor UDP_GRO" end
  if emulator.order then return nil, emulator.order end
  local out = assert(L.msghdr.new { name = to_name, data = { ("a"):rep(700), ("b"):rep(550) },
    control = { assert(L.cmsghdr.segment(500)) } })
  local n, err, _, e = from:sendmsg(out)
  if e == L.EINVAL or e == L.EIO or e == L.ENOPROTOOPT then return nil, "no UDP_SEGMENT here: " .. err end
  return n
end
local n, why = segment()
if not n then T.skip(4, why) else
  T.is(n, 1250, "one send with a segment size takes all")
  T.is(#to:recv() .. " " .. #to:recv() .. " " .. to:recv(), "500 500 " .. ("b"):rep(250), "and is cut into datagrams")
  T.is(show(to:setsockopt(L.IPPROTO_UDP, L.UDP_GRO, "int", 1)), "1", "UDP_GRO can be set")
  local big = assert(L.msghdr.new { size = 65536 })
  segment()
  local total, sizes = 0, {}
  repeat
    total = total + to:recvmsg(big)
    sizes[#sizes + 1] = decoded(big)
  until total == 1250
  local apart = #sizes == 3 and table.concat(sizes) == ""
  T.ok(apart or table.concat(sizes, " "):find "^500", "what UDP_GRO joins tells its segment size")
end
from:close(); to:close()

-- Credentials.
local a, b = net.pair(L.SOCK_DGRAM)
b:passcred(true)
local own = L.cmsghdr.credentials()
local cred = own:credentials()
local mine = ("from %d %d %d"):format(proc.getpid(), cred.uid, cred.gid)
T.is(exchange(a, b), mine, "passcred tells who sent, although the sender sent no credentials")
T.is(exchange(a, b, nil, { own }), mine, "credentials that are true are taken")
local child = proc.fork(function() return a:send "x" == 1 end)
local into = assert(L.msghdr.new())
b:recvmsg(into)
T.is(decoded(into), ("from %d %d %d"):format(child, cred.uid, cred.gid), "another process sends under its own number")
T.is(show(proc.wait(child)), "0, 0", "and knew nothing of it")
local lie = assert(L.msghdr.new { data = "x", control = { L.cmsghdr.credentials(1, 0, 0) } })
if cred.uid == 0 then
  T.is(exchange(a, b, nil, { L.cmsghdr.credentials(nil, 1234, 5678) }), ("from %d 1234 5678"):format(proc.getpid()),
    "root may say another user")
else
  T.is(show(a:sendmsg(lie)), show(nil, text(L.EPERM), false, L.EPERM), "credentials that are a lie are EPERM")
end
b:passcred(false)
T.is(exchange(a, b, nil, { own }), "", "without passcred there are no credentials")
a:close(); b:close()

-- Too little room.
b, a = net.bound(L.AF_INET, L.SOCK_DGRAM)
b:pktinfo(true)
if emulator.room then T.skip(5, emulator.room) end
for _, room in ipairs(emulator.room and {} or { 0, 8, 15, 16, 20 }) do
  local small = assert(L.msghdr.new { controlsize = room })
  b:sendto("x", a)
  local answer = show(b:recvmsg(small))
  local cut = bit.band(small:flags(), L.MSG_CTRUNC) ~= 0
  T.is(show(answer, cut, (decoded(small):gsub("nil", ""))), show("1, nil, false", true, ""),
    ("with a capacity of %d bytes there is no packet info, and MSG_CTRUNC"):format(room))
end
b:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
