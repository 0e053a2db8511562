-- lifecycle-within: a debug hook calls a function while the same function runs, at each of its instructions.  Its answers may be
-- spoilt, as doc/llsocket.md says, but no descriptor has two owners and no list is freed twice: that would close or free what is
-- somebody else's.
local L = require "llsocket"
local leak = require "leak"
local before = leak.count()
local T = require("tap").plan(6)

jit.off() -- compiled code asks no hook

-- Calls fn(), and in it fn() again at its instruction n; answers both answers, the inner one nil behind the end.
local function nested(fn, n)
  local inner
  debug.sethook(function()
    debug.sethook()
    inner = fn()
  end, "", n)
  local outer = fn()
  debug.sethook()
  return outer, inner
end

-- Walks through all instructions; `judge` tells what is wrong with two answers.
local function walk(fn, judge)
  local n, fault = 0, nil
  fn() -- what is made at the first use
  repeat
    n = n + 1
    local outer, inner = nested(fn, n)
    local wrong = inner and judge(outer, inner)
    fault = fault or wrong and ("instruction %d: %s"):format(n, wrong)
  until not inner
  return fault, n
end

-- Whether a number has two owners.
local function shared(...)
  local seen = {}
  for _, fd in ipairs { ... } do
    if seen[fd] then return ("two objects own descriptor %d"):format(fd) end
    seen[fd] = true
  end
end

local function pairs_judged(a, b)
  local wrong = shared(a[1]:fd(), a[2]:fd(), b[1]:fd(), b[2]:fd())
  for _, socks in ipairs { a, b } do socks[1]:close(); socks[2]:close() end
  return wrong
end
T.is(walk(function() return L.socket.pair(L.SOCK_STREAM) end, pairs_judged), nil, "two pairs own four descriptors")

local function pipes_judged(a, b)
  local wrong = shared(a.input.sd, a.output.sd, b.input.sd, b.output.sd)
  a:close(); b:close()
  return wrong
end
T.is(walk(function() return L.pipe.new() end, pipes_judged), nil, "two pipes own four descriptors")

local a, c = unpack(L.socket.pair(L.SOCK_STREAM))
local PEERPIDFD = L.SO_PEERPIDFD or 77 -- younger than Debian 12's headers
local function descriptor() return (a:getsockopt(L.SOL_SOCKET, PEERPIDFD, "descriptor")) end
local function descriptors_judged(x, y)
  local wrong = shared(x:fd(), y:fd())
  x:close(); y:close()
  return wrong
end
if descriptor() then
  T.is(walk(descriptor, descriptors_judged), nil, "two options own two descriptors")
else
  T.skip(1, "this kernel has no SO_PEERPIDFD")
end

local function look_up() return (L.inet.getaddrinfo("localhost", "80", L.SOCK_STREAM)) end
T.is(walk(look_up, function(x) return x and x[1]:port() ~= 80 and "its port is " .. x[1]:port() end), nil,
  "two look-ups free two lists")

-- By libc's list, as on systems without netlink.
local ifaddrs = require "llsocket.address.ifaddrs"
T.is(walk(ifaddrs.list, function(x) return #x == 0 and "no interface" or nil end), nil, "two lists of interfaces are freed")

a:close(); c:close()
collectgarbage(); collectgarbage()
T.is(leak.count(), before, "no descriptor is left")
T.done()
