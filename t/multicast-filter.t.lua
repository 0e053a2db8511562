-- multicast-filter: mcastfilter sets and tells the sources of a group, and the kernel delivers by it; interfaces by index.
local ffi = require "ffi"
local L = require "llsocket"
local emulator = require "emulator"
local leak = require "leak"
local mcast = require "mcast"
local netns = require "netns"
local show = require("values").show
local text = require("llsocket.errno").text
local before = leak.count()
local PLAN = 2 * 41 + 12
local T = require("tap").plan(PLAN)

local why, entered = emulator.groups, nil
if not why then entered, why = netns.enter() end
if not entered then
  T.skip(PLAN, why)
  T.done()
end
netns.batch { "link set lo up", "link add name ve0 type veth peer name 7", "link set dev ve0 up", "link set dev 7 up",
  "addr add 10.8.0.1/24 dev ve0", "addr add fd08::1/64 nodad dev ve0",
  "route add 239.0.0.0/8 dev lo", "route add local ff00::/8 dev lo table local",
  "addr add fd08::a/128 nodad dev lo", "addr add fd08::b/128 nodad dev lo", "addr add fd08::c/128 nodad dev lo" }

local INCLUDE, EXCLUDE = L.MCAST_INCLUDE, L.MCAST_EXCLUDE
local function failed(e) return show(nil, text(e), e) end

local function read(path)
  local file = io.open(path)
  local all = file and file:read "*a" or ""
  if file then file:close() end
  return all
end

-- The lines of /proc/net/mcfilter(6) about a group, sorted: source, INC, EXC.
local function kernel_filter(group, family)
  local out = {}
  local v4 = family == L.AF_INET
  local bytes = mcast.dgram(group, 0):bytes()
  local hex = bytes:sub(v4 and 5 or 9, v4 and 8 or 24):gsub(".", function(c) return ("%02x"):format(c:byte()) end)
  for line in read(v4 and "/proc/net/mcfilter" or "/proc/net/mcfilter6"):gmatch "[^\n]+" do
    local of, source, inc, exc = line:match "^%s*%d+%s+%S+%s+(%x+)%s+(%x+)%s+(%d+)%s+(%d+)"
    if not of then of, source, inc, exc = line:match "^%s*%d+%s+%S+%s+0x(%x+)%s+0x(%x+)%s+(%d+)%s+(%d+)" end
    if of and of:lower() == hex then out[#out + 1] = ("%s %s %s"):format(source:lower(), inc, exc) end
  end
  table.sort(out)
  return table.concat(out, "; ")
end

local CASES = {
  { family = L.AF_INET, name = "IPv4: ", sources = { "127.0.0.1", "127.0.0.2", "127.0.0.3" }, own = "127.0.0.1",
    hex = { "7f000001", "7f000002", "7f000003" }, other = "fd08::a", many = "10.9.0.%d", most = 10 },
  { family = L.AF_INET6, name = "IPv6: ", sources = { "fd08::a", "fd08::b", "fd08::c" }, own = "fd08::a",
    hex = { "fd0800000000000000000000000000" .. "000a" }, other = "127.0.0.1", many = "fd09::%x", most = 60 },
}
CASES[2].hex = { ("fd08" .. ("0"):rep(27) .. "a"), ("fd08" .. ("0"):rep(27) .. "b"), ("fd08" .. ("0"):rep(27) .. "c") }

local function sorted(list)
  local copy = { unpack(list) }
  table.sort(copy)
  return table.concat(copy, " ")
end

for _, case in ipairs(CASES) do
  local receiver, port = mcast.receiver(case.family)
  local group, s = mcast.group(case.family, 5), case.sources
  local send, socks = mcast.sender "lo"
  local function is(got, want, what) T.is(got, want, case.name .. what) end
  local function told(...)
    local mode, list, e = receiver:mcastfilter(group, ...)
    if not mode then return show(nil, list, e) end
    return (mode == INCLUDE and "include " or mode == EXCLUDE and "exclude " or "?") .. sorted(list)
  end
  local round = 0
  local function heard()
    round = round + 1
    for i, source in ipairs(s) do assert(send(source, group, port, round .. " " .. i)) end
    assert(send(s[1], case.own, port, round .. " end"))
    local got, ended = {}, false
    while receiver:recvable(ended and 0.05 or 3) do
      local msg = receiver:recv()
      if msg == round .. " end" then ended = true else got[#got + 1] = msg:match("^" .. round .. " (%d)$") or msg end
    end
    return sorted(got)
  end

  is(told "lo", failed(L.EADDRNOTAVAIL), "a group that is not joined has no filter: EADDRNOTAVAIL")
  is(told("lo", INCLUDE, s), failed(L.EINVAL), "nor can it have one: EINVAL")
  is(show(receiver:mcastjoin(group, "lo")), "no values", "it is joined")
  is(told "lo", "exclude ", "a joined group excludes nobody")
  is(heard(), "1 2 3", "all are heard")
  local list = { s[1], s[3] }
  local mode, answer = receiver:mcastfilter(group, "lo", INCLUDE, list)
  is(show(mode, sorted(answer)), show(INCLUDE, sorted(list)), "a filter that is set is answered")
  is(told "lo", "include " .. sorted(list), "and read back")
  is(kernel_filter(group, case.family), ("%s 1 0; %s 1 0"):format(case.hex[1], case.hex[3]), "as /proc/net has it")
  is(heard(), "1 3", "two sources are heard, the other is not")
  is(told("lo", EXCLUDE, { s[1] }), "exclude " .. s[1], "it is turned round in one call")
  is(told "lo", "exclude " .. s[1], "and read back")
  is(kernel_filter(group, case.family), case.hex[1] .. " 0 1", "as /proc/net has it")
  is(heard(), "2 3", "the other two are heard now")
  is(show(receiver:mcastblocksrc(group, s[2], "lo")), "no values", "a further source is blocked")
  is(told "lo", "exclude " .. sorted { s[1], s[2] }, "which the filter tells")
  is(heard(), "3", "one is left")
  is(told("lo", EXCLUDE, {}), "exclude ", "an empty list")
  is(heard(), "1 2 3", "lets all in")
  local many = {}
  for i = 1, case.most do many[i] = case.many:format(i) end
  is(told("lo", EXCLUDE, many), "exclude " .. sorted(many), case.most .. " sources are set")
  is(told "lo", "exclude " .. sorted(many), "and read back, all of them")
  for i = case.most + 1, 100 do many[i] = case.many:format(i) end
  is(told("lo", EXCLUDE, many), failed(L.ENOBUFS), "more than the system allows: ENOBUFS")
  local length = #select(2, receiver:mcastfilter(group, "lo"))
  is(length, case.most, "which leaves the filter")
  for i = 1, 65537 do many[i] = s[1] end
  is(told("lo", EXCLUDE, many), failed(L.ENOBUFS), "so are 65,537")

  -- By index.
  local lo = assert(L.device.index "lo")
  is(told(lo), told "lo", "an interface may be given by its index")
  is(told(lo, INCLUDE, { s[2] }), "include " .. s[2], "also to set a filter")
  is(heard(), "2", "which is the same one")

  -- Without an interface.
  is(told(), told "lo", "without an interface it is the one by which the group was joined")
  is(told(nil, INCLUDE, { s[2] }), "include " .. s[2], "also to set a filter")
  is(told(0), told "lo", "an index of 0 is none")

  -- What is wrong.
  is(told("lo", 2, {}), failed(L.EINVAL), "no mode: EINVAL")
  is(told("lo", 0.5, {}), failed(L.EINVAL), "nor a fraction")
  is(told("lo", INCLUDE, { s[1], "x" }), failed(L.EINVAL), "no address: EINVAL")
  is(told("lo", INCLUDE, { s[1], case.other }), failed(L.EAFNOSUPPORT), "an address of the other family: EAFNOSUPPORT")
  is(told "no-such", failed(L.ENODEV), "an interface that is none: ENODEV")
  is(told(-1), failed(L.EINVAL), "no index: EINVAL")
  is(told "lo", "include " .. s[2], "all of which leave the filter")
  is(told("lo", INCLUDE, {}), "include ", "to include nobody")
  is(told "lo", failed(L.EADDRNOTAVAIL), "leaves the group")
  is(told(), failed(L.EADDRNOTAVAIL), "by all interfaces")
  is(heard(), "", "and nobody is heard")
  receiver:close()
  is(told "lo", failed(L.EBADF), "a closed socket: EBADF")
  for _, sock in pairs(socks) do sock:close() end
end

-- More sources than mcastfilter reads, which the socket has by another way.
local function allow(path, n)
  local file = io.open("/proc/sys/net/" .. path, "w")
  return file and file:write(n) and file:close()
end
local MANY, IP_MSFILTER, pton = 70000, 41, L.inet.pton
local crowd, group = mcast.receiver(L.AF_INET), mcast.group(L.AF_INET, 7)
local function is_crowded()
  local words = ffi.string(ffi.new("uint32_t[2]", INCLUDE, MANY), 8)
  local parts = { pton(group) .. pton "127.0.0.1" .. words }
  for i = 1, MANY do parts[i + 1] = pton(("10.%d.%d.%d"):format(i / 65536, i / 256 % 256, i % 256)) end
  if not (allow("ipv4/igmp_max_msf", MANY) and allow("core/optmem_max", 2^25)) then return false end
  return not crowd:mcastjoin(group, "lo") and crowd:setsockopt(L.IPPROTO_IP, IP_MSFILTER, "bytes", table.concat(parts))
end
if jit.status() then T.skip(2, "Linux takes 9 s for 70,000 sources, so only the test in the interpreter sets them")
elseif not is_crowded() then T.skip(2, "this kernel takes no 70,000 sources")
else
  T.is(show(crowd:mcastfilter(group, "lo")), failed(L.ENOBUFS), "70,000 sources are not read: ENOBUFS")
  T.is(show(crowd:mcastfilter(group)), failed(L.ENOBUFS), "nor without an interface")
end
crowd:close()

-- Names that are numbers.
group = mcast.group(L.AF_INET, 6)
local sock = mcast.receiver(L.AF_INET)
local function joined(ifname) return (netns.try("maddr show dev " .. ifname)):find(group, 1, true) ~= nil end
local seven, ve0 = assert(L.device.index "7"), assert(L.device.index "ve0")
T.is(show(sock:mcastjoin(group, "7")), "no values", 'an interface may be called "7"')
T.is(show(joined "7", joined "ve0"), "true, false", "and is the one that is joined, as ip maddr has it")
T.is(show(sock:mcastleave(group, seven)), "no values", "its index leaves it")
T.is(show(sock:mcastjoin(group, ve0)), "no values", "a number is an index")
T.is(show(joined "7", joined "ve0"), "false, true", "of the other interface")
T.is(show(sock:mcastjoin(group, 4711)), show(text(L.ENODEV), L.ENODEV), "an index that nobody has: ENODEV")
sock:close()
local function raises(...)
  local ok, message = pcall(function(...) sock:mcastfilter(...) end, ...)
  return not ok and message:gsub("^.-multicast%-filter%.t%.lua:%d+: ", "")
end
T.is(raises(group, "lo", INCLUDE), "bad argument #4 to 'mcastfilter' (array of strings expected, got nil)",
  "a mode without sources raises")
T.is(raises(group, "lo", nil, { "127.0.0.1" }), "bad argument #3 to 'mcastfilter' (number expected, got nil)",
  "sources without a mode raise")
T.is(raises(group, "lo", INCLUDE, { 1 }), "bad argument #4 to 'mcastfilter' (array of strings expected, got number)",
  "so does a source that is no string")
T.is(leak.count(), before, "no descriptor is left")
T.done()
