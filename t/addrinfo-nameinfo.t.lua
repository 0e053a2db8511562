-- addrinfo:nameinfo: numeric names, flags, unix addresses, and its failures.  Names by file are in inet-names.
local L = require "llsocket"
local gai = require "llsocket.gai"
local leak = require "leak"
local proc = require "proc"
local show = require("show").show
local sys = require "sys"
local HOST, SERV = L.NI_NUMERICHOST, L.NI_NUMERICSERV
local lo = require("llsocket.device").of(L.AF_INET, "127.0.0.1")

local ADDRESSES = {
  { "127.0.0.1", "80" }, { "255.255.255.255", "65535" }, { "0.0.0.0", "0" }, { "192.0.2.1", "1" },
  { "::1", "80" }, { "::", "0" }, { "2001:db8::1", "65535" }, { "::ffff:1.2.3.4", "1" }, { "fe80::1%2147483647", "80" },
}
if lo then ADDRESSES[#ADDRESSES + 1] = { "fe80::1%" .. lo, "80" } end
local MOST = require("ffi").os == "Linux" and 108 or 104

local T = require("tap").plan(#ADDRESSES + 21)
local before = leak.count()

local function inet(host, port) return L.inet.getaddrinfo(host, port)[1] end
local function names(ni, ...)
  if not ni then return show(ni, ...) end
  return ni.host .. " " .. ni.serv
end

for _, row in ipairs(ADDRESSES) do
  T.is(names(inet(row[1], row[2]):nameinfo(HOST, SERV)), row[1] .. " " .. row[2], row[1] .. " is its own numeric name")
end

local ai = inet("127.0.0.1", "80")
local ni = ai:nameinfo(HOST, SERV)
T.is(select("#", ai:nameinfo(HOST, SERV)), 1, "a name comes alone")
T.is(type(ni), "table", "it is a table")
local keys = {}
for key in pairs(ni) do keys[#keys + 1] = key end
table.sort(keys)
T.is(table.concat(keys, " "), "host serv", "of host and serv")
T.is(names(ai:nameinfo(HOST + SERV)), "127.0.0.1 80", "flags may come combined")
T.is(names(ai:nameinfo(nil, HOST, SERV)), "127.0.0.1 80", "a nil among the flags counts as none, where others follow")
T.is(names(inet("127.0.0.1", "1"):nameinfo(HOST, L.NI_DGRAM, SERV, L.NI_NOFQDN)), "127.0.0.1 1", "four flags are combined")
ni.host = "changed"
T.is(names(ai:nameinfo(HOST, SERV)), "127.0.0.1 80", "each call makes a table of its own")

-- Failures.
local function fails(want, name, ...) T.is(show(ai:nameinfo(...)), want, name) end
local INVALID = ("nil, Invalid argument, %d, %d"):format(L.EAI_SYSTEM, L.EINVAL)
fails(("nil, %s, %d"):format(gai.text(L.EAI_NONAME), L.EAI_NONAME), "NI_NAMEREQD and NI_NUMERICHOST exclude each other",
  L.NI_NAMEREQD, HOST)
if sys.musl then T.skip(1, "musl ignores flags that it does not know")
else fails(("nil, %s, %d"):format(gai.text(L.EAI_BADFLAGS), L.EAI_BADFLAGS), "an unknown flag is EAI_BADFLAGS", 2^30) end
fails(INVALID, "a flag of 1.5 is EINVAL after EAI_SYSTEM", 1.5)
fails(INVALID, "a flag of 2^32 is EINVAL after EAI_SYSTEM", 2^32)
fails(INVALID, "a second flag that is infinite is EINVAL after EAI_SYSTEM", HOST, math.huge)
local _, message = pcall(function() ai:nameinfo(HOST, "1") end)
T.is(message:gsub("^.-(addrinfo%-nameinfo%.t%.lua):%d+: ", "%1: "),
  "addrinfo-nameinfo.t.lua: bad argument #2 to 'nameinfo' (number expected, got string)", "a string for a flag raises")

-- Unix addresses: the host is this one, the service is the path.
if sys.musl then
  local want = ("nil, %s, %d"):format(gai.text(L.EAI_FAMILY), L.EAI_FAMILY)
  T.is(show(L.unix.getaddrinfo("/run/x")[1]:nameinfo(HOST, SERV)), want, "musl's names are of internet addresses only")
  T.skip(5, "musl's getnameinfo answers EAI_FAMILY for unix addresses")
else
  local function unix(path) return L.unix.getaddrinfo(path)[1]:nameinfo(HOST, SERV) end
  local longest = "/" .. ("a"):rep(MOST - 1)
  T.is(unix("/run/x").serv, "/run/x", "a unix path is its service")
  T.is(unix(longest).serv, longest, "the longest path is whole")
  T.is(unix("/b").serv, "/b", "a shorter one after it has nothing of it")
  T.is(unix("").serv, "", "an unnamed address has an empty service")
  T.is(unix("").host, unix("/run/x").host, "all of them have the same host")
  local nodename = proc.run "uname -n"
  T.ok(unix("/run/x").host == nodename:match "%S+" or unix("/run/x").host == "localhost", "which is this one")
end

-- Kept names are the caller's.
local kept = {}
for i = 1, 200 do kept[i] = inet("10.1.2." .. i, tostring(i)):nameinfo(HOST, SERV) end
collectgarbage(); collectgarbage()
local wrong = 0
for i = 1, 200 do if names(kept[i]) ~= ("10.1.2.%d %d"):format(i, i) then wrong = wrong + 1 end end
T.is(wrong, 0, "two hundred names hold after full collections")

T.is(leak.count(), before, "no descriptor is left")
T.done()
