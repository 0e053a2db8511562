-- msghdr: data to send is kept alive for as long as the kernel may read it, and refused values change nothing.
local L = require "llsocket"
local leak = require "leak"
local litter = require "litter"
local net = require "net"
local show = require("values").show
local before = leak.count()
local T = require("tap").plan(12)
local churn, fresh = litter.churn, litter.fresh

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
T.is(next(weak), nil, "messages without a reference are collected")

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
  "strings and addresses of a message outlive it and the next receive")

-- What cannot be set: the message stays as it was.
local closed = net.bound()
local rights = assert(L.cmsghdr.rights(closed))
closed:close()
local mh = assert(L.msghdr.new { data = "still", control = { assert(L.cmsghdr.ttl(9)) }, name = udp_name })
T.is(select(3, mh:control { rights }), L.EBADF, "control with a closed descriptor is EBADF")
T.is(#mh:control() .. " " .. mh:control()[1]:integer(), "1 9", "and leaves the control as it was")
into = assert(L.msghdr.new())
T.is(udp:sendmsg(mh) and udp:recvmsg(into) and show(into:data(), into:control()[1]:integer()), '"still", 9',
  "which is the data that is sent")
local many = {}
for i = 1, 1025 do many[i] = fresh(i, 1) end
T.is(select(3, mh:data(many)), L.EMSGSIZE, "data of 1,025 parts is EMSGSIZE")
many = nil -- luacheck: ignore
churn()
T.is(show(udp:sendmsg(mh)) .. show((udp:recv())), '5, nil, false"still"', "and leaves the data as it was")
udp:close(); a:close(); b:close()

net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
