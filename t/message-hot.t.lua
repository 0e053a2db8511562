-- message: loops over a reused message compile, stay compiled, and allocate nothing but the strings handed out.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local trace = require "trace"
local before = leak.count()
local ROUNDS, LOOP = 2000, 300

local function again(n, fn) return function() for _ = 1, n do fn() end end end

-- Each row: a name, whether it allocates nothing when interpreted too, and what makes the body of a loop.
local CASES = {}
local function case(name, interpreted, make) CASES[#CASES + 1] = { name = name, interpreted = interpreted, make = make } end

local function pair(kind, t, into)
  local a, b = net.pair(kind)
  return a, b, assert(L.msghdr.new(t)), assert(L.msghdr.new(into))
end

local X64 = ("x"):rep(64)

case("sendmsg and recvmsg over a stream", true, function()
  local a, b, mh, into = pair(L.SOCK_STREAM, { data = X64 }, { size = 64 })
  return function() a:sendmsg(mh); b:recvmsg(into) end, a, b
end)
case("sendmsg, recvmsg and data", true, function()
  local a, b, mh, into = pair(L.SOCK_STREAM, { data = X64 }, { size = 64 })
  return function()
    a:sendmsg(mh); b:recvmsg(into)
    if into:data() ~= X64 then error "wrong" end
  end, a, b
end)
case("gathered and scattered parts", true, function()
  local a, b, mh, into = pair(L.SOCK_DGRAM, { data = { "ab", "", "cd", X64 } }, { size = { 1, 2, 3, 100 } })
  return function() a:sendmsg(mh); b:recvmsg(into) end, a, b
end)
case("flags", true, function()
  local a, b, mh, into = pair(L.SOCK_DGRAM, { data = X64 }, { size = 10 })
  return function()
    a:sendmsg(mh, L.MSG_DONTWAIT); b:recvmsg(into, L.MSG_DONTWAIT)
    if into:flags() ~= L.MSG_TRUNC then error "wrong" end
  end, a, b
end)
case("an address on each side", false, function()
  local a, name = net.bound(L.AF_INET, L.SOCK_DGRAM)
  local mh, into = assert(L.msghdr.new { name = name, data = "x" }), assert(L.msghdr.new { size = 100 })
  return function() a:sendmsg(mh); a:recvmsg(into) end, a
end)
case("ancillary data on each side, not asked for", true, function()
  local a, b, mh, into = pair(L.SOCK_DGRAM, { data = "x", control = { L.cmsghdr.credentials() } }, { size = 10 })
  b:passcred(true)
  return function() a:sendmsg(mh); b:recvmsg(into) end, a, b
end)
case("a time", false, function()
  local a, b, mh, into = pair(L.SOCK_DGRAM, { data = "x" }, { size = 10 })
  b:timestamp(true)
  return function()
    a:sendmsg(mh); b:recvmsg(into)
    local sec, usec = into:timestamp()
    if not (sec > 0 and usec >= 0) then error "wrong" end
  end, a, b
end)
case("an echo of the same message", false, function()
  local a, b, mh, into = pair(L.SOCK_DGRAM, { data = "x" }, { size = 10 })
  return function() a:sendmsg(mh); b:recvmsg(into); b:sendmsg(into); a:recvmsg(mh) end, a, b
end)
case("a receive that finds nothing", true, function()
  local a, b, _, into = pair(L.SOCK_DGRAM, {}, { size = 10 })
  b:nonblock(true)
  return function() b:recvmsg(into) end, a, b
end)
case("data set each time", false, function()
  local a, b, mh, into = pair(L.SOCK_DGRAM, {}, { size = 100 })
  local texts, i = { "one", "two", X64 }, 0
  return function()
    i = i % 3 + 1
    mh:data(texts[i])
    a:sendmsg(mh); b:recvmsg(into)
    if into:data() ~= texts[i] then error "wrong" end
  end, a, b
end)
case("parts set each time", false, function()
  local a, b, mh, into = pair(L.SOCK_DGRAM, {}, { size = 100 })
  local parts = { "one", "two", X64 }
  return function() mh:data(parts); a:sendmsg(mh); b:recvmsg(into) end, a, b
end)
case("the address set each time", false, function()
  local a, name = net.bound(L.AF_INET, L.SOCK_DGRAM)
  local mh, into = assert(L.msghdr.new { data = "x" }), assert(L.msghdr.new { size = 100 })
  return function() mh:name(name); a:sendmsg(mh); a:recvmsg(into) end, a
end)
case("writev", false, function()
  local a, b = net.pair(L.SOCK_DGRAM)
  local parts = { "one", "two", X64 }
  return function() a:writev(parts); b:recv(100) end, a, b
end)

local T = require("tap").plan(#CASES * 2 + 1)

local function judged(row)
  if os.getenv "LLSOCKET_STRESS" then return "traces come and go under these flags, and count as memory" end
  if not (jit.status() or row.interpreted) then return "interpreted, pointers and parts of structs are boxed" end
end

for _, row in ipairs(CASES) do
  local body, a, b = row.make()
  trace.is(T, again(LOOP, body), row.name .. ": a loop compiles")
  local why = judged(row)
  if why then T.skip(1, why) else
    local bytes = trace.garbage(again(ROUNDS, body)) / ROUNDS
    if not T.ok(bytes < 4, row.name .. ": a round allocates nothing") then print("# bytes a round: " .. bytes) end
  end
  a:close()
  if b then b:close() end
end
T.is(leak.count(), before, "no descriptor is left")
T.done()
