-- interface: names and indexes when sockets are refused or descriptors run out, and the cost of a datagram's pktinfo.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local libc = require "llsocket.core.libc"
local proc = require "proc"
local show = require("show").show
local standin = require "standin"
local text = require("llsocket.errno").text
local PLAN = 12
local T = require("tap").plan(PLAN)
local before = leak.count()

if not (L.SIOCGIFNAME and L.device.name(1) == "lo") then
  T.skip(PLAN, "names are asked for by if_nametoindex(3) here, or the loopback has another one")
  T.done()
end

-- A sandbox: `refused` has an errno for families, or one for all.
local refused, asked = {}, 0
local other = standin.load({}, {
  llsocket2_socket = function(family, ...)
    asked = asked + 1
    local e = type(refused) == "number" and refused or refused[family]
    if not e then return libc.llsocket2_socket(family, ...) end
    ffi.errno(e)
    return -1
  end,
})
local function failure(e) return show(nil, text(e), e) end
local function pktinfo(...)
  local cmsg, err, e = other.cmsghdr.pktinfo(...)
  return cmsg and cmsg:pktinfo() or show(cmsg, err, e)
end

for _, e in ipairs { L.EACCES, L.EPERM, L.EAFNOSUPPORT, L.ENOMEM } do
  refused = e
  T.is(pktinfo("127.0.0.1", "lo") .. pktinfo "fe80::1%lo" .. show(other.device.index "lo") .. show(other.device.name(1)),
    failure(e):rep(4), "the errno of a refused socket is returned: " .. text(e))
end
refused = { [L.AF_UNIX] = L.EAFNOSUPPORT, [L.AF_INET] = L.EACCES }
T.is(show(other.device.index "lo", other.device.name(1), pktinfo("::", "lo").index), "1, lo, 1",
  "another family's socket will do")
refused = { [L.AF_UNIX] = L.EAFNOSUPPORT, [L.AF_INET] = L.ENOBUFS }
T.is(show(other.device.index "lo"), failure(L.ENOBUFS), "but what is no refusal is told")
refused, asked = L.EACCES, 0
T.is(pktinfo("nonsense", "lo") .. pktinfo "nonsense%lo" .. pktinfo "", failure(L.EINVAL):rep(3), "what is no address is EINVAL")
T.is(asked, 0, "without a system call")

-- What came with a datagram is told without asking anybody.
refused = {}
local four, six = other.cmsghdr.pktinfo("127.0.0.1", "lo"), other.cmsghdr.pktinfo("::1", "lo")
asked = 0
local info4, info6 = four:pktinfo(), six:pktinfo()
T.is(show(info4.index, info6.index, info4.ifname, info6.ifname, asked), "1, 1, nil, nil, 0",
  "pktinfo tells addresses and index, and makes no socket")

-- When descriptors run out, garbage may hold them.
local said = proc.lua [[
local L, sys, show = require "llsocket", require "sys", require("show").show
local function ask()
  return show(#L.device.getifaddrs() > 0, L.device.index "lo", L.device.name(1), L.cmsghdr.pktinfo("::", "lo") ~= nil)
end
ask()
for _, call in ipairs { function() return #L.device.getifaddrs() > 0 end, function() return L.device.index "lo" end,
  function() return L.device.name(1) end, function() return L.device.macaddrs().lo ~= nil end } do
  collectgarbage()
  sys.limit_descriptors(64)
  local hoard, ai = {}, L.unix.getaddrinfo("")[1]
  repeat hoard[#hoard + 1] = assert(L.socket.new(ai)) until hoard[#hoard]:fd() == 63
  hoard = nil
  io.write(tostring(call()), " ")
end
sys.limit_descriptors(0)
]]
T.is(said, "true 1 lo true ", "garbage is collected, and the call tried once more")

for _ = 1, 300 do
  other.device.index "lo"
  other.device.index "nosuch"
  other.device.name(2 ^ 31 - 1)
end
T.is(leak.count(), before, "no call leaves its descriptor open")
collectgarbage()
T.is(leak.count(), before, "no descriptor is left")
T.done()
