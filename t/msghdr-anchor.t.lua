-- msghdr: what is sent is kept for as long as the kernel may look, and what cannot be set changes nothing.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local sys = require "sys"
local show = require("values").show
local before = leak.count()
local T = require("tap").plan(15)

-- Frees what nobody holds, and writes over it.
local function churn()
  for _ = 1, 2 do collectgarbage() end
  local kept = {}
  for i = 1, 3000 do kept[i % 300 + 1] = ("#"):rep(i % 97 + 1) .. i end
  for _ = 1, 2 do collectgarbage() end
  return #kept
end

-- Strings that exist nowhere else: built anew from numbers, so that no constant of the code holds them.
local function fresh(i, length) return (("%d."):format(i)):rep(length) end

local function message(i)
  return assert(L.msghdr.new {
    name = net.addr(L.AF_INET, L.SOCK_DGRAM, 9),
    data = { fresh(i, 3), fresh(i + 1, 50), "", fresh(i + 2, 1) },
    control = { assert(L.cmsghdr.new(L.SOL_SOCKET, L.SCM_RIGHTS, fresh(i, 4):sub(1, 4))) },
  })
end
local function wanted(i) return fresh(i, 3) .. fresh(i + 1, 50) .. fresh(i + 2, 1) end

-- Only the message holds its strings, its address and its control.
local udp, udp_name = net.bound(L.AF_INET, L.SOCK_DGRAM)
udp:recvttl(true)
udp:rcvtimeo(5)
local function send_kept(sock, mh) return sock:sendmsg(mh) end

local function rounds(n)
  local wrong = 0
  for i = 1, n do
    local mh = assert(L.msghdr.new { data = { fresh(i, 3), fresh(i + 1, 50), "", fresh(i + 2, 1) } })
    mh:name(assert(L.addrinfo.new(udp_name:bytes(), L.SOCK_DGRAM)))
    mh:control { assert(L.cmsghdr.ttl(i % 200 + 1)) }
    if i % 10 == 0 then churn() end
    if not send_kept(udp, mh) then return "refused" end
    local into = assert(L.msghdr.new())
    udp:recvmsg(into)
    local right = into:data() == wanted(i) and into:name() == udp_name and into:control()[1]:integer() == i % 200 + 1
    if not right then wrong = wrong + 1 end
  end
  return wrong
end
T.is(rounds(150), 0, "data, names and control that only the message holds are sent as they were")

-- Compiled: one message, strings replaced all the time, the collector at work in between.
local a, b = net.pair(L.SOCK_DGRAM, true)
local function compiled(n)
  local mh, into, wrong = assert(L.msghdr.new()), assert(L.msghdr.new()), 0
  for i = 1, n do
    mh:data(("%d,"):format(i))
    collectgarbage "step"
    a:sendmsg(mh)
    b:recvmsg(into)
    if into:data() ~= i .. "," then wrong = wrong + 1 end
  end
  return wrong
end
T.is(compiled(3000), 0, "strings that change all the time are right, with the collector at work")
local function gathered(n)
  local mh, into, wrong = assert(L.msghdr.new()), assert(L.msghdr.new { size = { 3, 100 } }), 0
  for i = 1, n do
    mh:data { fresh(i, 1), fresh(i, 2) }
    if i % 50 == 0 then collectgarbage() else collectgarbage "step" end
    a:sendmsg(mh)
    b:recvmsg(into)
    if table.concat(into:data()) ~= fresh(i, 3) then wrong = wrong + 1 end
  end
  return wrong
end
T.is(gathered(1500), 0, "so are lists of strings")
local function writes(n)
  local wrong = 0
  for i = 1, n do
    a:writev { fresh(i, 1), fresh(i, 2) }
    if i % 50 == 0 then collectgarbage() end
    if table.concat((b:readv { 2, 100 })) ~= fresh(i, 3) then wrong = wrong + 1 end
  end
  return wrong
end
T.is(writes(1500), 0, "and those of writev and readv")

-- A message whose caller forgot it is collected, with all that it held.
local weak = setmetatable({}, { __mode = "k" })
for i = 1, 20 do weak[message(i)] = true end
churn()
T.is(next(weak), nil, "messages that nobody holds are collected")

-- What data() and control() answered outlives the message.
local into = assert(L.msghdr.new { size = { 4, 100 } })
udp:sendto("kept for later", udp_name)
udp:recvmsg(into)
local parts, cmsgs, name = into:data(), into:control(), into:name()
udp:sendto("overwritten!!!", udp_name)
udp:recvmsg(into)
into = nil
churn()
T.is(show(parts[1], parts[2], cmsgs[1]:integer(), name == udp_name, into), '"kept", " for later", 64, true, nil',
  "what a message told outlives it and the next receive")

-- What cannot be set: the message stays as it was.
local closed = net.bound()
local rights = assert(L.cmsghdr.rights(closed))
closed:close()
local mh = assert(L.msghdr.new { data = "still", control = { assert(L.cmsghdr.ttl(9)) }, name = udp_name })
T.is(select(3, mh:control { rights }), L.EBADF, "control with a closed descriptor is EBADF")
T.is(#mh:control() .. " " .. mh:control()[1]:integer(), "1 9", "and leaves the control as it was")
into = assert(L.msghdr.new())
T.is(udp:sendmsg(mh) and udp:recvmsg(into) and show(into:data(), into:control()[1]:integer()), '"still", 9',
  "which is what is sent")
local many = {}
for i = 1, 1025 do many[i] = fresh(i, 1) end
T.is(select(3, mh:data(many)), L.EMSGSIZE, "data of 1,025 parts is EMSGSIZE")
many = nil -- luacheck: ignore
churn()
T.is(show(udp:sendmsg(mh)) .. show((udp:recv())), '5, nil, false"still"', "and leaves the data as it was")
udp:close(); a:close(); b:close()

-- Without memory; in a process whose address space is limited.
ffi.cdef "void *llsocket_t_malloc(size_t size) __asm__(\"malloc\"); void llsocket_t_free(void *memory) __asm__(\"free\");"
local C = ffi.C

-- Takes all that malloc(3) still gives, in ever smaller pieces, runs fn, and gives it back.
local function without_memory(fn)
  churn() -- so that LuaJIT has a little of its own
  local taken, n = ffi.new "void *[4096]", 0
  local size = 2^26
  sys.limit_memory(sys.memory() + 2^20)
  while size >= 16 and n < 4096 do
    taken[n] = C.llsocket_t_malloc(size)
    if taken[n] == nil then size = size / 2 else n = n + 1 end
  end
  local one, two, three = fn()
  for i = 0, n - 1 do C.llsocket_t_free(taken[i]) end
  return one, two, three
end

local endless = sys.endless_memory()
local function alone(fn, title)
  if endless then return T.skip(1, endless) end
  T.is(show(proc.wait(proc.fork(fn))), "0, 0", title)
end

local function fails(answer, err, e) assert(answer == nil and type(err) == "string" and e == L.ENOMEM, tostring(e)) end

alone(function()
  local x, y = net.pair(L.SOCK_DGRAM)
  local one = assert(L.msghdr.new { data = "small", control = { assert(L.cmsghdr.credentials()) } })
  local large = { assert(L.cmsghdr.new(L.SOL_SOCKET, L.SCM_CREDENTIALS, ("x"):rep(2^22))) }
  without_memory(function() fails(one:control(large)) end)
  assert(#one:control() == 1)
  y:passcred(true)
  assert(x:sendmsg(one) == 5)
  local got = assert(L.msghdr.new())
  assert(y:recvmsg(got) == 5 and got:control()[1]:credentials().pid == proc.getpid())
end, "without memory for more control, the old is kept and sent")

alone(function()
  local x, y = net.pair(L.SOCK_DGRAM)
  local list = {}
  for i = 1, 1024 do list[i] = fresh(i, 2) end
  local one = assert(L.msghdr.new { data = fresh(7, 3) })
  without_memory(function() fails(one:data(list)) end)
  churn()
  assert(one:data() == "7.7.7." and x:sendmsg(one) == 6 and y:recv() == "7.7.7.")
end, "without memory for more parts, the old data is kept and sent")

alone(function()
  local x, y = net.pair(L.SOCK_DGRAM)
  local large = assert(L.msghdr.new { size = 2^30 })
  x:send "waits"
  local n, err, again, e
  without_memory(function() n, err, again, e = y:recvmsg(large) end)
  assert(n == nil and type(err) == "string" and again == false and e == L.ENOMEM)
  assert(y:recv() == "waits")
  x:send "again"
  assert(y:recvmsg(assert(L.msghdr.new { size = 100 })) == 5)
end, "without memory to receive into, recvmsg is ENOMEM and takes nothing")
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
