-- segment: one send cut into datagrams and several received as one, with their size; into the caller's memory.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local trace = require "trace"
local values = require "values"
local show, text = values.show, require("llsocket.errno").text
local before = leak.count()
local SIZE = 1200
local FAMILIES = { { "IPv4", L.AF_INET, 65507 }, { "IPv6", L.AF_INET6, 65527 } }
local PER_FAMILY, REST = 18, 21
local T = require("tap").plan(#FAMILIES * PER_FAMILY + REST + 1)

local function failed(e) return show(nil, text(e), false, e) end

-- Bytes of which no two stretches of a datagram's length are alike.
local function pattern(n)
  local out = {}
  for i = 0, math.ceil(n / 4) - 1 do out[i + 1] = ("%04x"):format(i) end
  return table.concat(out):sub(1, n)
end

local function facing(family)
  local from, to = assert(L.socket.new(net.addr(family, L.SOCK_DGRAM))), net.bound(family, L.SOCK_DGRAM)
  assert(not from:connect(to:getsockname()))
  from:sndbuf(2^20); to:rcvbuf(2^20)
  to:rcvtimeo(5)
  return from, to
end

-- All that waits: the datagrams' lengths, and their bytes joined.
local function drain(to, first)
  local lengths, parts = { #first }, { first }
  while true do
    local msg = to:recv(65536, L.MSG_DONTWAIT)
    if not msg then return lengths, table.concat(parts) end
    lengths[#lengths + 1], parts[#parts + 1] = #msg, msg
  end
end

local function told(lengths)
  local out, run = {}, 0
  for i, n in ipairs(lengths) do
    run = run + 1
    if lengths[i + 1] ~= n then out[#out + 1], run = run .. "x" .. n, 0 end
  end
  return table.concat(out, " ")
end

local function cut(size, n)
  local out = {}
  for at = 0, n - 1, size do out[#out + 1] = math.min(size, n - at) end
  return told(out)
end

-- Receives what one send gave into the message: the bytes, the sizes told, and how many receives it took.
local function gather(to, mh, total)
  local parts, sizes, got = {}, {}, 0
  while got < total do
    local n = assert(to:recvmsg(mh))
    got, parts[#parts + 1], sizes[#sizes + 1] = got + n, mh:data(), mh:segment() or false
  end
  return table.concat(parts), sizes, #parts
end

local buf = ffi.new "uint8_t[65536]"

local function family_tests(title, family, most)
  local from, to = facing(family)
  local whole = pattern(most - most % SIZE + 100 > most and most or most - most % SIZE + 100) -- the last is shorter
  T.is(from:udpsegment(SIZE), SIZE, title .. ": a segment's size is set")
  T.is(show(from:send(whole)), show(#whole, nil, false), title .. ": one send takes all")
  local lengths, bytes = drain(to, assert(to:recv(65536)))
  T.is(told(lengths), cut(SIZE, #whole), title .. ": which arrives as datagrams of that size, the last one shorter")
  T.ok(bytes == whole, title .. ": with the right bytes")

  T.is(to:udpgro(true), true, title .. ": the receiver takes them joined")
  local mh = assert(L.msghdr.new { into = buf })
  from:send(whole)
  local joined, sizes, calls = gather(to, mh, #whole)
  T.ok(joined == whole, title .. ": joined, the bytes are the same")
  T.ok(calls < 8, title .. ": in a few receives")
  T.is(sizes[1], SIZE, title .. ": and segment returns the size of each datagram")
  T.is(ffi.string(buf, 8), joined:sub(-mh:data():len()):sub(1, 8), title .. ": they lie in the memory given")
  from:send "one"
  T.is(show(to:recvmsg(mh), mh:segment()), show(3, nil), title .. ": one datagram by itself tells no size")
  T.is(show(mh:data(), mh:name() ~= nil), '"one", true', title .. ": and is received as ever")
  from:send(whole)
  gather(to, mh, #whole)
  T.ok(#mh:control() == 1 and mh:control()[1]:integer() == mh:segment(), title .. ": the ancillary data says the same")
  T.is(mh:segment(), SIZE, title .. ": after which segment still returns the size")

  -- By the message.
  from:udpsegment(0)
  local out = assert(L.msghdr.new { data = whole:sub(1, 5000), control = { assert(L.cmsghdr.segment(2000)) } })
  to:udpgro(false)
  T.is(show(from:sendmsg(out)), show(5000, nil, false), title .. ": a message asks for its own size")
  lengths, bytes = drain(to, assert(to:recv(65536)))
  T.is(told(lengths), "2x2000 1x1000", title .. ": and gets it")
  T.ok(bytes == whole:sub(1, 5000), title .. ": with the right bytes again")
  from:send(whole:sub(1, 5000))
  T.is(told((drain(to, assert(to:recv(65536))))), "1x5000", title .. ": the next send is not cut")
  T.is(show(from:udpsegment()), "0", title .. ": nor has the socket a size")
  from:close(); to:close()
end

local here = net.bound(L.AF_INET, L.SOCK_DGRAM)
local _, _, lacks = here:udpgro()
here:close()
for i, case in ipairs(FAMILIES) do
  if lacks then T.skip(PER_FAMILY, "no UDP_GRO here") elseif not net.has(net.places[i]) then
    T.skip(PER_FAMILY, "no " .. case[1] .. " here")
  else
    family_tests(unpack(case))
  end
end

local function refusals()
  local from, to = facing(L.AF_INET)
  T.is(show(from:udpsegment(65536)), show(nil, text(L.EINVAL), L.EINVAL), "a size above 65535 is EINVAL")
  for _, n in ipairs { -1, 0.5, 0 / 0, 2^31, 2^32 + 1 } do
    T.is(show(from:udpsegment(n)), show(nil, text(L.EINVAL), L.EINVAL), ("a size of %s is EINVAL"):format(n))
  end
  for _, n in ipairs { 0, -1, 65536, 1.5 } do
    T.is(show(L.cmsghdr.segment(n)), show(nil, text(L.EINVAL), L.EINVAL), ("a message's size of %s is EINVAL"):format(n))
  end
  from:udpsegment(10)
  T.is(show(from:send(("x"):rep(20000))), failed(L.EINVAL), "far more segments than the system takes are EINVAL")
  T.is(show(from:send(("x"):rep(640))), show(640, nil, false), "64 are taken")
  from:udpsegment(1000)
  T.is(show(from:send(("x"):rep(65508))), failed(L.EMSGSIZE), "more bytes than a send takes are EMSGSIZE")
  T.is(show(from:send "less than one"), show(13, nil, false), "less than one segment is one datagram")
  from:close(); to:close()
end
if lacks then T.skip(14, "no UDP_SEGMENT here") else refusals() end

-- Memory of the caller's, over any socket.
local a, b = net.pair(L.SOCK_DGRAM)
local three = ffi.new "uint8_t[12]"
local mh = assert(L.msghdr.new { into = three, size = { 4, 8 } })
a:send "abcdefgh"
b:recvmsg(mh)
T.is(show(mh:data()[1], mh:data()[2], ffi.string(three, 8), mh:segment()), show("abcd", "efgh", "abcdefgh", nil),
  "memory is cut into sizes, and a unix socket tells no segments")
T.is(show(L.msghdr.new { into = three, size = 13 }), show(nil, text(L.EINVAL), L.EINVAL), "what does not fit is EINVAL")
local raised = {}
for _, into in ipairs { "string", {}, ffi.cast("const char *", "x"), ffi.new "struct { int x; }" } do
  raised[#raised + 1] = tostring((pcall(L.msghdr.new, { into = into, size = 1 })))
end
T.is(table.concat(raised, " "), "false false false false", "memory that is not writable raises")
T.ok(not pcall(L.msghdr.new, { into = ffi.cast("char *", three) }), "a pointer without a size raises")

-- The message keeps the memory.
mh = assert(L.msghdr.new { into = ffi.new "uint8_t[4096]" })
local weak = setmetatable({ mh.into.memory }, { __mode = "v" })
collectgarbage(); collectgarbage()
a:send "kept"
b:recvmsg(mh)
T.is(show(weak[1] ~= nil, mh:data()), 'true, "kept"', "a message keeps its memory")

local function echo()
  for _ = 1, 1000 do
    a:send "x"
    b:recvmsg(mh)
    if mh:segment() then error "no segments" end
  end
end
trace.is(T, echo, "receiving into memory and asking for the size compiles")
if os.getenv "LLSOCKET_STRESS" or not jit.status() then T.skip(1, "garbage is counted in the default mode only") else
  local used = trace.garbage(echo) / 1000
  if not T.ok(used < 4, "and allocates nothing") then print("# bytes a round: " .. used) end
end
a:close(); b:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
