-- message-copied: a caller's table is read once, so the checked values are the used ones; and memory inside another object,
-- which does not keep that object alive, is refused by calls that would keep the memory.
local ffi = require "ffi"
local L = require "llsocket"
local addrinfo = require "llsocket.addrinfo"
local leak = require "leak"
local net = require "net"
local show = require("values").show
local before = leak.count()
local T = require("tap").plan(59)

-- A table of seven, whose second entry is answered by a function, which is told how often it was asked before.  The length
-- stays, since the others are there.
local function fickle(fn)
  local t, count = {}, { 0 }
  for i = 1, 7 do t[i] = fn(0, i) end
  t[2] = nil
  return setmetatable(t, { __index = function(_, i)
    count[1] = count[1] + 1
    return fn(count[1] - 1, i)
  end }), count
end

-- Fields of `new` that change: the first reading is right, the others are not.
local function fields(good, bad)
  local asked = {}
  return setmetatable({}, { __index = function(_, name)
    asked[name] = (asked[name] or 0) + 1
    if asked[name] == 1 then return good[name] end
    return bad
  end }), asked
end

local function read_once(asked)
  for name, times in pairs(asked) do
    if times > 1 then return name .. " was read " .. times .. " times" end
  end
  return "each once"
end

local a, b = net.pair(L.SOCK_STREAM, true)
local pointer = ffi.cast("char *", "memory of somebody else's") -- luacheck: ignore
local GOOD = ("good"):rep(7)
local function text_then(bad) return function(asked) if asked == 0 then return "good" end return bad end end

-- Parts of a message.
local WRONG = {
  { "a pointer", pointer }, { "a number", 5 }, { "nil", nil }, { "a table", {} }, { "a longer string", ("x"):rep(100) },
}
for _, row in ipairs(WRONG) do
  local name, bad = row[1], row[2]
  local parts, asked = fickle(text_then(bad))
  T.is(show(a:writev(parts)), "28, nil, false", "writev: parts that turn into " .. name .. " are sent as they were checked")
  T.is(asked[1], 1, "each was read once")
  T.is(b:recv(), GOOD, "and they arrive")
  local mh = L.msghdr.new()
  parts = fickle(text_then(bad))
  T.is(mh:data(parts), parts, "data: the same is set")
  a:sendmsg(mh)
  T.is(b:recv(), GOOD, "and sent")
end

-- Parts that use the message themselves while they are read.
local mh = L.msghdr.new { data = "first" }
local nested = fickle(function(_, i)
  if i == 2 then mh:data { "inner", "more" } end
  return "outer" .. i
end)
local OUTER = "outer1outer2outer3outer4outer5outer6outer7"
mh:data(nested)
a:sendmsg(mh)
T.is(b:recv(), OUTER, "parts that set the message's data while they are read are the data in the end")
local raises = setmetatable({ "x", nil, "x" }, { __index = function() error "no" end })
T.is(#raises == 3 and pcall(mh.data, mh, raises), false, "parts that raise raise")
a:sendmsg(mh)
T.is(b:recv(), OUTER, "and the data stay")
T.is(pcall(mh.data, mh, { "one", 2 }), false, "parts of which one is no string raise")
T.is(show(mh:data { "two" }[1], #mh:data()), '"two", 1', "and leave nothing behind for the next")
a:sendmsg(mh)
T.is(b:recv(), "two", "which is sent alone")

-- Sizes, ancillary data, fields.
local sizes, asked = fickle(function(times) return times == 0 and 2 or 2^30 end)
a:send "abcdefghijklmn"
local parts = b:readv(sizes)
T.is(table.concat(parts, " "), "ab cd ef gh ij kl mn", "readv: sizes that change are used as they were checked")
T.is(asked[1], 1, "each was read once")
local cmsg = assert(L.cmsghdr.rights(a))
local cmsgs = fickle(function(times) return times == 0 and cmsg or "no cmsghdr" end)
T.is(show(mh:control(cmsgs) == cmsgs, #mh:control()), "true, 7", "ancillary data that change are set as they were checked")
mh:control {}
local good = { data = "data", size = 10, name = net.addr(), control = { cmsg }, controlsize = 100 }
for _, bad in ipairs { 0/0, "text", pointer } do
  local t, times = fields(good, bad)
  local made = L.msghdr.new(t)
  T.is(read_once(times), "each once", "msghdr.new reads its fields once, before they are " .. type(bad))
  T.is(show(made:data(), made:name() == good.name, #made:control(), made.into.size), '"data", true, 1, 10', "and has the first")
end
local t, times = fields({ count = 2, size = 10, controlsize = 0, name = good.name }, 2^40)
T.is(L.batch.new(t):count() .. read_once(times), "2each once", "batch.new reads its fields once")
t, times = fields({ own = true, nonblock = true }, "no boolean")
local wrapped = assert(L.socket.wrap(net.pair():unwrap(), t))
T.is(show(wrapped:nonblock()) .. read_once(times), "trueeach once", "wrap reads its fields once")
wrapped:close()

-- Ancillary data hands out its table of descriptors; what the program puts there is looked at when it is sent.
local rights = assert(L.cmsghdr.rights(a))
local carrier = L.msghdr.new { data = "x", control = { rights } }
for _, bad in ipairs { "text", 2^40, 1.5, -1 } do
  rights:rights()[1] = bad
  T.is(show(a:sendmsg(carrier)), require("values").failed(L.EBADF), tostring(bad) .. " among the descriptors is EBADF")
end
T.is(show(b:recv()), require("values").again(L.EAGAIN), "and nothing is sent")

-- References.
local function refused(fn, ...)
  local ok, err = pcall(fn, ...)
  local pattern = "bad argument #1 to '(%w+)' %([^()]*that is no part of another object expected, got cdata%)"
  return not ok and err:match(pattern) or tostring(err)
end
local s, rows = ffi.new "struct { uint8_t bytes[20000]; }", ffi.new "uint8_t[2][20000]"
local ais = ffi.new(ffi.typeof("$[2]", addrinfo.type))
ais[1] = net.addr()
T.is(refused(L.msghdr.new, { into = s.bytes }), "new", "msghdr.new refuses an array in a struct to receive into")
T.is(refused(L.msghdr.new, { into = rows[1] }), "new", "and a row of an array")
T.is(refused(L.msghdr.new, { into = ffi.cast("uint8_t (&)[8]", rows) }), "new", "and what was cast to a reference")
T.ok(L.msghdr.new { into = rows } and L.msghdr.new { into = ffi.new "uint8_t[8]" }, "it takes the arrays themselves")
T.ok(L.msghdr.new { into = ffi.cast("uint8_t *", s), size = 8 }, "and a pointer, whose target is the caller's to keep")
local tcp, peer = net.tcp()
T.is(refused(tcp.sendzerocopy, tcp, s.bytes), "sendzerocopy", "sendzerocopy refuses them, too")
T.is(refused(L.msghdr.new, { name = ais[1] }), "new", "so are addresses in an array, where they are kept: by a message")
T.is(refused(mh.name, mh, ais[1]), "name", "when it is set")
T.is(refused(L.socket.new, ais[1]), "new", "by a socket")
T.is(refused(tcp.dup, tcp, ais[1]), "dup", "and by its copy")
T.is(show(tcp:sendfrom(s.bytes, 3), peer:recvinto(rows[1])), "3, 3, nil, false", "calls that keep nothing take them")
for _, sock in ipairs { a, b, tcp, peer } do sock:close() end
rights = nil -- luacheck: ignore
T.is(leak.count(), before, "no descriptor is left")
T.done()
