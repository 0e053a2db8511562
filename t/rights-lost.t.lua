-- rights-lost: descriptors that nobody takes, or that arrive although nobody asked for any, are closed once.
local bit = require "bit"
local L = require "llsocket"
local net = require "net"
local example = require "example"
local proc = require "proc"
local sys = require "sys"
local leak = require "leak"
local rights = require "rights"
local values = require "values"
local show = values.show
local before = leak.count()
local T = require("tap").plan(40)

local pipe_r, pipe_w = rights.pipe()
local a, b = net.pair(L.SOCK_DGRAM, true)
local three = rights.message(pipe_r, 3, "data")
local base, base_count = rights.settled()

local function installed() return select(2, rights.open()) - base_count end
local function cut(mh) return bit.band(mh:flags(), L.MSG_CTRUNC) ~= 0 end

-- Receives that have no room for any.
for _, row in ipairs {
  { "recv", function() return b:recv() end, '"data", nil, false' },
  { "recvfrom", function() return b:recvfrom() end, '"data", nil, nil, false' },
  { "recv with MSG_PEEK", function() return b:recv(4, L.MSG_PEEK) end, '"data", nil, false' },
  { "readv", function()
    local parts, err, again = b:readv { 2, 9 }
    return table.concat(parts, "|"), err, again
  end, '"da|ta", nil, false' },
} do
  a:sendmsg(three)
  T.is(show(row[2]()), row[3], row[1] .. " of a message with descriptors gives the data")
  T.is(rights.open(), base, "and no descriptor came")
  b:recv()
end

-- MSG_PEEK gives new numbers each time.
do
  local mh = assert(L.msghdr.new())
  a:sendmsg(three)
  b:recvmsg(mh, L.MSG_PEEK)
  T.is(installed(), 3, "MSG_PEEK brings three descriptors")
  b:recvmsg(mh, L.MSG_PEEK)
  T.is(installed(), 3, "a second MSG_PEEK three others, the first are closed")
  local peeked = rights.objects(mh)
  b:recvmsg(mh)
  T.is(installed(), 6, "the receive three more, those taken are kept")
  local got = rights.objects(mh)
  T.is(rights.valid(peeked) + rights.valid(got), 6, "six in all are valid")
  local numbers = {}
  for _, list in ipairs { peeked, got } do
    for _, object in ipairs(list) do numbers[object:fd()] = true end
  end
  local n = 0
  for _ in pairs(numbers) do n = n + 1 end
  T.is(n, 6, "and each is another")
  peeked, got, mh = nil, nil, nil -- luacheck: ignore
  T.is(rights.settled(), base, "the collector closes them all")
end

-- What came last counts, whatever the next receive answers.
do
  local mh = assert(L.msghdr.new())
  a:sendmsg(three)
  b:recvmsg(mh)
  T.is(show(b:recvmsg(mh)), values.again(L.EAGAIN), "a receive when nothing waits")
  T.is(rights.open(), base, "closes the descriptors that were not taken")
  T.is(#mh:control(), 0, "and the ancillary data is empty")
  a:sendmsg(three)
  b:recvmsg(mh)
  local closed, half = net.pair()
  closed:close(); half:close()
  closed:recvmsg(mh)
  T.is(rights.open(), base, "so does a receive that fails")
  a:sendmsg(three)
  b:recvmsg(mh)
  a:send "plain"
  b:recvmsg(mh)
  T.is(rights.open(), base, "and one of a message without any")
  a:sendmsg(three)
  b:recvmsg(mh)
  T.is(#mh:control()[1]:rights(), 3, "control() without a word on them")
  T.is(installed(), 3, "leaves them open")
  T.ok(mh:control()[1]:rights()[1] == mh:control()[1]:rights()[1], "and tells the same objects each time")
  a:send "plain"
  b:recvmsg(mh)
  T.is(rights.settled(), base, "until they are garbage")
  a:sendmsg(three)
  b:recvmsg(mh)
  local cmsg = mh:control()[1]
  T.is(#cmsg:data(), 12, "data() tells three ints")
  mh:control {}
  mh, cmsg = nil, nil -- luacheck: ignore
  T.is(rights.settled(), base, "control({}) drops the received ancillary data")
end

-- Both halves of the error in between: before control(), and in it.
do
  local function handler()
    local mh = assert(L.msghdr.new())
    b:recvmsg(mh)
    error "in between"
  end
  a:sendmsg(three)
  T.ok(not pcall(handler), "an error after the receive")
  T.is(installed(), 3, "leaves the descriptors to the message")
  T.is(rights.settled(), base, "and to the collector")
end

-- A finaliser that receives at every step of the collector, and raises where LuaJIT survives that: one that raises
-- into compiled code ends 2.1.0-beta3 in a segmentation fault, whatever the code.
do
  local may_raise = not jit.status()
  local x, y = net.pair(L.SOCK_DGRAM, true)
  local other = assert(L.msghdr.new())
  local mold, ran, spoilt = newproxy(true), 0, 0
  getmetatable(mold).__gc = function()
    ran = ran + 1
    x:sendmsg(three)
    y:recvmsg(other)
    if #rights.objects(other) ~= 3 then spoilt = spoilt + 1 end
    if may_raise and ran % 3 == 0 then error "finaliser" end
  end
  local mh, odd = assert(L.msghdr.new()), 0
  local function round(i)
    newproxy(mold)
    a:sendmsg(three)
    b:recvmsg(mh)
    collectgarbage("step", 16) -- at its own pace the collector would leave 9,000 descriptors open, and 1,024 are usual
    if i % 5 > 0 and rights.valid(rights.objects(mh)) ~= 3 then odd = odd + 1 end
  end
  for i = 1, 3000 do pcall(round, i) end
  mold, round, may_raise = nil, nil, false -- luacheck: ignore
  for _ = 1, 50 do pcall(collectgarbage) end
  while b:recv() do end
  T.ok(ran > 100, "finalisers pass descriptors in the middle of it")
  T.is(spoilt, 0, "and get theirs")
  T.is(odd, 0, "all objects are open nevertheless")
  x:close(); y:close()
  other, mh = nil, nil -- luacheck: ignore
  T.is(rights.settled(), base, "and none is left")
end

-- A process descriptor comes unasked with each message once SO_PASSPIDFD is set (Linux 6.5).
do
  local mh = assert(L.msghdr.new())
  if not b:setsockopt(L.SOL_SOCKET, L.SO_PASSPIDFD or 76, "boolean", true) then
    T.skip(4, "this system has no SO_PASSPIDFD")
  else
    a:send "x"
    b:recvmsg(mh)
    T.is(installed(), 1, "SO_PASSPIDFD brings a descriptor")
    a:send "x"
    b:recvmsg(mh)
    T.is(installed(), 1, "that the next receive closes")
    local objects = rights.objects(mh)
    T.is(#objects == 1 and tostring(objects[1]), "llsocket.descriptor: fd " .. objects[1]:fd(), "and rights() hands over")
    objects, mh = nil, nil -- luacheck: ignore
    T.is(rights.settled(), base, "and the collector closes")
    b:setsockopt(L.SOL_SOCKET, L.SO_PASSPIDFD or 76, "boolean", false)
  end
end

-- A process that may have no more descriptors, or one more.
local limited = proc.fork(function()
  local io_out = {}
  local function is(got, want, what)
    if got ~= want then io_out[#io_out + 1] = ("# %s: %s, not %s"):format(what, tostring(got), tostring(want)) end
  end
  local mh = assert(L.msghdr.new())
  local fill = {}
  assert(sys.limit_descriptors(100))
  repeat
    local fd = sys.copy(pipe_r)
    fill[#fill + 1] = fd >= 0 and fd or nil
  until fd < 0
  local full = rights.settled()
  a:sendmsg(three)
  is(b:recvmsg(mh), 4, "the data with no number left")
  is(cut(mh), true, "MSG_CTRUNC with none left")
  is(#mh:control(), 0, "headers with none left")
  a:sendfd(pipe_r)
  is(show(b:recvfd()), values.failed(L.EMFILE), "recvfd with none left")
  a:send "plain"
  is(show(b:recvfd()), values.failed(L.EBADMSG), "recvfd of a plain message with none left")
  is(rights.open(), full, "what is open with none left")
  local free = table.remove(fill, 3)
  sys.close(free)
  for _ = 1, 3 do
    a:sendmsg(three)
    is(b:recvmsg(mh), 4, "the data with one number left")
    is(cut(mh), true, "MSG_CTRUNC with one left")
    is(rights.open(), full, "what is open, the one not taken")
  end
  local objects = rights.objects(mh)
  is(#objects, 1, "objects with one left")
  is(objects[1]:fd(), free, "the number of it")
  objects[1]:close()
  a:sendmsg(assert(L.msghdr.new { data = "x", control = { L.cmsghdr.rights(a) } }))
  b:recvmsg(mh)
  objects = rights.objects(mh)
  is(tostring(objects[1]), "llsocket.socket: fd " .. free, "a socket with one left")
  objects[1]:close()
  sys.copy(pipe_r)
  is(rights.open(), full, "what is open at the end")
  io.stderr:write(table.concat(io_out, "\n"))
  return #io_out == 0
end)
T.is(proc.wait(limited), 0, "with RLIMIT_NOFILE leaving none or one, none leaks and MSG_CTRUNC tells")

-- An end of the process with some in hand, by both doors.
for _, last in ipairs { "", " b:recvmsg(mh); got = mh:control()[1]:rights()" } do
  local path = os.tmpname()
  local f = assert(io.open(path, "w"))
  f:write([[
    local L = require "llsocket"
    local p = L.socket.pair(L.SOCK_DGRAM)
    local a, b = p[1], p[2]
    mh = L.msghdr.new()
    for _ = 1, 2 do a:sendmsg(L.msghdr.new { data = "x", control = { L.cmsghdr.rights(0, 1) } }) end
    b:recvmsg(mh)]] .. last .. " print 'end'")
  f:close()
  local out, ok = proc.run(example.command(path))
  os.remove(path)
  T.is(out .. tostring(ok), "end\ntrue", "a program that ends with descriptors in hand ends well")
end

three = nil -- luacheck: ignore
a:close(); b:close()
sys.close(pipe_r); sys.close(pipe_w)
T.is(leak.count(), before, "no descriptor is left")
T.done()
