-- rights-stream: descriptors on streams: they go with the first byte, once, however often the rest is sent.
local bit = require "bit"
local L = require "llsocket"
local net = require "net"
local sys = require "sys"
local leak = require "leak"
local rights = require "rights"
local values = require "values"
local show = values.show
local before = leak.count()
local T = require("tap").plan(32)

local pipe_r, pipe_w = rights.pipe()
local SIZE = 2^20

-- A mebibyte in which every 16 bytes differ.
local blocks = {}
for i = 1, SIZE / 16 do blocks[i] = ("%015d\n"):format(i) end
local LARGE = table.concat(blocks)
local PARTS = { LARGE:sub(1, 10), LARGE:sub(11, 300000), "", LARGE:sub(300001, 300001), LARGE:sub(300002) }

-- Receives what there is: appends the bytes and the objects.
local function drain(sock, mh, bytes, objects)
  while true do
    local n = sock:recvmsg(mh)
    if not n then return end
    bytes[#bytes + 1] = mh:data()
    for _, object in ipairs(rights.objects(mh)) do objects[#objects + 1] = object end
  end
end

-- Sends the message whole, in as many calls as it takes; answers these, and what arrived.
local function send_all(a, b, mh)
  local into = assert(L.msghdr.new { size = 65536 })
  local calls, waits, bytes, objects = 0, 0, {}, {}
  local n, again
  repeat
    n, _, again = a:sendmsg(mh) -- luacheck: ignore
    calls = calls + 1
    if n == 0 then
      waits = waits + 1
      drain(b, into, bytes, objects)
    end
  until not again
  drain(b, into, bytes, objects)
  return calls, waits, table.concat(bytes), objects
end

local function small_pair()
  local a, b = net.pair(L.SOCK_STREAM, true)
  a:sndbuf(16384)
  return a, b
end

for _, row in ipairs { { "a string", LARGE }, { "parts", PARTS } } do
  local a, b = small_pair()
  local base, count = rights.open()
  local mh = assert(L.msghdr.new { data = row[2], control = { assert(L.cmsghdr.rights(pipe_r, pipe_w, a)) } })
  local calls, waits, bytes, objects = send_all(a, b, mh)
  T.ok(calls > 10 and waits > 3, ("%s with three descriptors takes %d calls, %d would block"):format(row[1], calls, waits))
  T.ok(bytes == LARGE, "every byte arrives once")
  T.is(#objects, 3, "each descriptor arrives once")
  T.is(tostring(objects[3]):match "^%S+", "llsocket.socket:", "in their order")
  T.is(select(2, rights.open()), count + 3, "and the process has these three more")
  local rest = mh:data()
  if type(rest) == "table" then rest = table.concat(rest) end
  T.ok(#rest < SIZE and LARGE:sub(-#rest) == rest and #mh:control() == 0, "the message has the part that went last")
  for _, object in ipairs(objects) do object:close() end
  T.is(rights.open(), base, "no other number is left")
  a:close(); b:close()
end

-- What the message is in between.
do
  local a, b = small_pair()
  local mh = assert(L.msghdr.new { data = LARGE, control = { assert(L.cmsghdr.rights(pipe_r)) } })
  local n, err, again = a:sendmsg(mh)
  T.ok(n > 0 and n < SIZE and err == nil and again == true, "a part is sent, and it is to be sent again")
  T.is(#mh:control(), 0, "the message no longer has ancillary data")
  T.ok(mh:data() == LARGE:sub(n + 1), "its data is the rest")
  T.is(show(a:sendmsg(mh)), values.sent_again(L.EAGAIN), "nothing more can be sent now")
  T.ok(mh:data() == LARGE:sub(n + 1), "which changes nothing")
  a:close(); b:close()
end

-- Would block at once: nothing went, so everything is still there.
do
  local a, b = small_pair()
  while (a:send(("f"):rep(4096)) or 0) > 0 do end
  local mh = assert(L.msghdr.new { data = "with", control = { assert(L.cmsghdr.rights(pipe_r, pipe_w)) } })
  for _ = 1, 3 do T.is(show(a:sendmsg(mh)), values.sent_again(L.EAGAIN), "a full buffer: to be sent again") end
  T.is(#mh:control(), 1, "with its ancillary data")
  local into, bytes, objects = assert(L.msghdr.new()), {}, {}
  drain(b, into, bytes, objects)
  T.is(#objects, 0, "no descriptor went")
  T.is(show(a:sendmsg(mh)), "4, nil, false", "it is sent once the queue has capacity")
  bytes = {}
  drain(b, into, bytes, objects)
  T.is(table.concat(bytes), "with", "with its bytes")
  T.is(#objects, 2, "and its descriptors")
  T.is(show(a:sendmsg(mh)), "4, nil, false", "what went whole may go again")
  drain(b, into, bytes, objects)
  T.is(#objects, 4, "and then takes its descriptors again")
  for _, object in ipairs(objects) do object:close() end
  a:close(); b:close()
end

-- A receive stops where descriptors begin or end, so that none is told of with another's bytes.
do
  local a, b = net.pair(L.SOCK_STREAM, true)
  a:send "one"
  a:sendmsg(assert(L.msghdr.new { data = "two", control = { assert(L.cmsghdr.rights(pipe_r)) } }))
  a:send "three"
  local mh, seen = assert(L.msghdr.new()), {}
  while b:recvmsg(mh) do
    local objects = rights.objects(mh)
    seen[#seen + 1] = mh:data() .. ":" .. #objects
    for _, object in ipairs(objects) do object:close() end
  end
  local got = table.concat(seen, " ")
  T.ok(got == "one:0 two:1 three:0" or got == "onetwo:1 three:0", "each descriptor comes with its bytes: " .. got)
  T.is(bit.band(mh:flags(), L.MSG_CTRUNC), 0, "and none is cut")
  a:close(); b:close()
end

sys.close(pipe_r); sys.close(pipe_w)
T.is(leak.count(), before, "no descriptor is left")
T.done()
