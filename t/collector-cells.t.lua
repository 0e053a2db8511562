-- collector-cells: a finaliser makes the same call between a call and the reading of its result.
--
-- Compiled code may branch where a call failed, and a branch begins with a collector step: so calls that fail and
-- calls that do not are mixed at one place.  Interpreted code allocates as it goes.
local bit = require "bit"
local ffi = require "ffi"
local L = require "llsocket"
local interface = require "llsocket.address.interface"
local leak = require "leak"
local net = require "net"

local before = leak.count()
local socks = {}
local function keep(...)
  for i = 1, select("#", ...) do socks[#socks + 1] = (select(i, ...)) end
  return ...
end
local function udp() return (net.bound(L.AF_INET, L.SOCK_DGRAM)) end

-- The loop's, the finalisers', one that receives nothing, one that is closed.
local a, b = keep(net.pair(L.SOCK_DGRAM, true))
local other, peer = keep(net.pair(L.SOCK_DGRAM, true))
local quiet = keep(net.pair(L.SOCK_DGRAM, true))
local closed, group, other_group = keep(net.pair(), udp(), udp())
closed:close()

local MSG, NOISE = "HELLO!!!", ("#"):rep(8)
local NUMERIC = bit.bor(L.NI_NUMERICHOST, L.NI_NUMERICSERV)
local mine, theirs = L.inet.getaddrinfo("10.0.0.1", "1111")[1], L.inet.getaddrinfo("192.168.77.77", "2222")[1]
local no_name = assert(L.addrinfo.new("\255\127xxxxxx")) -- of a family that there is not
local LO = interface.index "lo"
local _, all = L.device.macaddrs(), L.device.getifaddrs()
local last = all[#all].name

a:rcvbuf(50000); other:rcvbuf(100000); a:linger(7); other:linger(9)
a:rcvtimeo(7.25); other:rcvtimeo(9.5); group:mcastttl(7); other_group:mcastttl(9)
local rcvbuf, timeo = a:rcvbuf(), a:rcvtimeo()

local function is(want) return function(value) return value == want end end
local function lists(addr, port)
  return function(list) return list ~= nil and #list == 1 and list[1]:addr() == addr and list[1]:port() == port end
end
local function names(host, serv) return function(ni) return ni ~= nil and ni.host == host and ni.serv == serv end end
local function recv(sock)
  if sock == b then a:send(MSG) end
  return sock:recv(64)
end
local function recvfrom(sock)
  if sock == b then a:send(MSG) end
  return sock:recvfrom(64)
end
local function same_macs(found)
  if not found then return false end
  for _, entry in ipairs(all) do if found[entry.name] ~= entry.mac then return false end end
  return true
end
local function same_addresses(found)
  if not found or #found ~= #all or found[#found].name ~= last then return false end
  for i, entry in ipairs(all) do if found[i].addr ~= entry.addr or found[i].index ~= entry.index then return false end end
  return true
end
local function in_and_out(sock, mcaddr)
  local err, e = sock:mcastjoin(mcaddr, "lo")
  local _, e2 = sock:mcastleave(mcaddr, "lo")
  return not err and not e2, nil, e
end
local function source_in_and_out(sock, mcaddr, source)
  local err, e = sock:mcastjoinsrc(mcaddr, source, "lo")
  local _, e2 = sock:mcastleavesrc(mcaddr, source, "lo")
  return not err and not e2, nil, e
end

-- rounds; the call; what makes it succeed and what fail; whether the answer is right; the error and its position;
-- what a finaliser does.
local CASES = {
  { "recv", 6000, recv, b, quiet, is(MSG), L.EAGAIN, 4,
    function() other:send(NOISE); return peer:recv() == NOISE end },
  { "recvfrom", 6000, recvfrom, b, quiet, is(MSG), L.EAGAIN, 5,
    function() other:send(NOISE); return peer:recvfrom() == NOISE end },
  { "getaddrinfo", 2000, function(host) return L.inet.getaddrinfo(host, "80", L.SOCK_STREAM, 0, L.AI_NUMERICHOST) end,
    "127.0.0.1", "zz:zz", lists("127.0.0.1", 80), L.EAI_NONAME, 3,
    function() return lists("192.168.1.1", 99)(L.inet.getaddrinfo("192.168.1.1", "99")) end },
  { "nameinfo", 2000, function(ai) return ai:nameinfo(NUMERIC) end, mine, no_name, names("10.0.0.1", "1111"),
    L.EAI_FAMILY, 3, function() return names("192.168.77.77", "2222")(theirs:nameinfo(NUMERIC)) end },
  { "addr", 6000, function(ai) return ai:addr() end, mine, no_name, is "10.0.0.1", nil, 1,
    function() return theirs:addr() == "192.168.77.77" end },
  { "an option that is an int", 6000, function(sock) return sock:rcvbuf() end, a, closed, is(rcvbuf), L.EBADF, 3,
    function() return other:rcvbuf() > rcvbuf end },
  { "an option that is a boolean", 6000, function(sock) return sock:reuseaddr() end, a, closed, is(false), L.EBADF, 3,
    function() return other_group:broadcast(true) == true and other_group:broadcast() == true end },
  { "linger", 6000, function(sock) return sock:linger() end, a, closed, is(7), L.EBADF, 3,
    function() return other:linger() == 9 end },
  { "an option in seconds", 6000, function(sock) return sock:rcvtimeo() end, a, closed, is(timeo), L.EBADF, 3,
    function() return other:rcvtimeo() > timeo end },
  { "an option set in seconds", 6000, function(sock) sock:sndtimeo(1.5) return sock:sndtimeo() end,
    a, closed, is(a:sndtimeo(1.5) and a:sndtimeo()), L.EBADF, 3,
    function() return other:sndtimeo(3.25) == 3.25 and other:sndtimeo() >= 3.25 end },
  { "an option that is a byte", 6000, function(sock) return sock:mcastttl() end, group, closed, is(7), L.EBADF, 3,
    function() return other_group:mcastttl() == 9 end },
  { "an option that is bytes", 6000, function(sock) return sock:getsockopt(L.SOL_SOCKET, L.SO_RCVBUF, "bytes") end,
    a, closed, is(a:getsockopt(L.SOL_SOCKET, L.SO_RCVBUF, "bytes")), L.EBADF, 3,
    function() return #other:getsockopt(L.SOL_SOCKET, L.SO_LINGER, "bytes") == 8 end },
  { "an interface's name", 3000, function(index) local name, e = interface.name(index) return name, nil, e end,
    LO, 2^31 - 1, is "lo", L.ENXIO, 3, function() return interface.name(2^31 - 2) == nil end },
  { "a membership", 600, function(mcaddr) return in_and_out(group, mcaddr) end, "239.1.1.1", "10.0.0.1",
    is(true), L.EINVAL, 3, function() return in_and_out(other_group, "239.9.9.9") end },
  { "a membership with a source", 600, function(mcaddr) return source_in_and_out(group, mcaddr, "10.1.1.1") end,
    "239.1.1.1", "10.0.0.1", is(true), L.EINVAL, 3,
    function() return source_in_and_out(other_group, "239.9.9.9", "10.9.9.9") end },
  { "macaddrs", 80, L.device.macaddrs, nil, nil, same_macs, nil, 2, function() return same_macs(L.device.macaddrs()) end },
  { "getifaddrs", 80, L.device.getifaddrs, nil, nil, same_addresses, nil, 2,
    function() return same_addresses(L.device.getifaddrs()) end },
}

io.stdout:setvbuf "line" -- should memory be spoilt
local T = require("tap").plan(2 * #CASES + 2)

-- A finaliser leaves another behind, so that there is always one to run.
local run, ran, spoilt
local function trap(of)
  getmetatable(newproxy(true)).__gc = function()
    if of ~= run then return end -- another case's
    ran = ran + 1
    if not of() then spoilt = spoilt + 1 end
    ffi.errno(L.ENOTCONN)
    trap(of)
  end
end

-- Without upvalues, for each case runs a copy of its own: else one case's traces would lead into another's.
local function loop(rounds, call, good, bad, right, e, at)
  local wrong, calls, garbage = 0, {}, {}
  for i = 1, 64 do calls[i] = i % 3 == 0 or good == bad end
  for i = 1, rounds do
    local well = calls[i % 64 + 1]
    garbage[1] = { i }
    local answers = { call(well and good or bad) }
    garbage[2] = { i }
    if well and not right(answers[1]) or not well and answers[at] ~= e then wrong = wrong + 1 end
  end
  return wrong, garbage
end

for _, case in ipairs(CASES) do
  local name, rounds, call, good, bad, right, e, at, disturb = unpack(case, 1, 9)
  ran, spoilt, run = 0, 0, disturb
  for _ = 1, math.min(400, rounds / 5) do trap(disturb) end
  local copy = loadstring(string.dump(loop))
  local pause = collectgarbage("setpause", 50)
  local wrong, again = 0, 20
  repeat -- compiled code makes less garbage
    wrong, again = wrong + copy(rounds, call, good, bad, right, e, at), again - 1
  until ran > 0 or again == 0
  collectgarbage("setpause", pause)
  run = nil
  collectgarbage()
  T.is(wrong, 0, ("%s: none of %d answers is another's"):format(name, rounds))
  T.is(ran > 0 and spoilt, 0, ("%s: nor is a finaliser's"):format(name))
end

T.is(a:rcvtimeo(), timeo, "an option that was read stays as it was")
for _, sock in ipairs(socks) do sock:close() end
T.is(leak.count(), before, "no descriptor is left")
T.done()
