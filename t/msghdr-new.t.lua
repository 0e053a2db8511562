-- msghdr: the fields that new takes, the methods that read and set them, and the values that are refused.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local values = require "values"
local show, text = values.show, require("llsocket.errno").text
local before = leak.count()
local T = require("tap").plan(96)
local new = L.msghdr.new

local function failed(e) return show(nil, text(e), e) end

-- A list's members in brackets.
local function told(value)
  if type(value) ~= "table" then return show(value) end
  local out = {}
  for i, one in ipairs(value) do out[i] = show(one) end
  return "{" .. table.concat(out, " ") .. "}"
end

local function all(mh) return ("%s %s %s %s"):format(told(mh:name()), told(mh:data()), told(mh:control()), told(mh:flags())) end

-- Loaded by the first use.
local LOADED = [[
local function loaded()
  local out = {}
  for i, name in ipairs { "msghdr", "cmsghdr", "socket.message" } do
    out[i] = tostring(package.loaded["llsocket." .. name] ~= nil)
  end
  io.write(table.concat(out, " "), "; ")
end
local L = require "llsocket"
local socks = L.socket.pair(L.SOCK_DGRAM)
local sock = socks[1]
sock:send "x"; loaded()
sock = sock.nosuchmethod or sock; loaded()
assert(L.msghdr == require "llsocket.msghdr" and L.cmsghdr == require "llsocket.cmsghdr"); loaded()
assert(type(sock.sendmsg) == "function"); loaded()
for name in pairs(package.loaded) do if name:find "^llsocket" then package.loaded[name] = nil end end
local again = require "llsocket"
local mh, other = again.msghdr.new { data = "x" }, again.socket.pair(again.SOCK_DGRAM)
assert(mh and other[1]:sendmsg(mh) == 1 and sock:sendmsg(L.msghdr.new { data = "x" }) == 1); loaded()
]]
T.is(proc.lua(LOADED), "false false false; false false false; true true false; true true true; true true true; ",
  "messages are loaded by the first use, and a second time too")

-- Nothing given.
for _, mh in ipairs { assert(new()), assert(new(nil)), assert(new {}) } do
  T.is(all(mh), 'nil "" {} 0', "a message of which nothing was said has no name, no data, no control, no flags")
end
T.is(new().nosuchmethod, nil, "an unknown name of a message is nil")
T.is(select("#", new():name()), 1, "name answers one value, nil")
T.is(show(new():data()), '""', "data answers one value")

-- Each field, read back.
local ai = net.addr(L.AF_INET, L.SOCK_DGRAM, 9)
local ttl, tos = assert(L.cmsghdr.ttl(3)), assert(L.cmsghdr.tos(8))
local mh = assert(new { name = ai, data = "abc", control = { ttl, tos } })
T.ok(mh:name() == ai, "name reads the address given")
T.is(mh:data(), "abc", "data reads the string given")
T.is(show(#mh:control(), mh:control()[1] == ttl, mh:control()[2] == tos), "2, true, true", "control reads the list given")
T.is(told(new({ data = { "a", "", "b" } }):data()), '{"a" "" "b"}', "data given as parts reads as parts, empty ones too")
T.is(told(new({ data = {} }):data()), "{}", "no parts at all read as no parts")
T.is(told(new({ data = { "" } }):data()), '{""}', "one empty part reads as one")

-- Set, and read back.
local other = net.addr(L.AF_INET, L.SOCK_DGRAM, 10)
T.is(show(mh:name(other) == other, mh:name() == other), "true, true", "name sets an address, returns it, and reads it")
T.is(show(mh:data "xyz", mh:data()), '"xyz", "xyz"', "data sets a string, returns it, and reads it")
local parts = { "1", "22" }
T.is(show(mh:data(parts) == parts, mh:data() == parts), "true, false", "data sets parts, and keeps a copy")
parts[1], parts[3] = "9", "9"
T.is(told(mh:data()), '{"1" "22"}', "which a change of the caller's list does not reach")
mh:data()[1] = "7"
T.is(told(mh:data()), '{"1" "22"}', "nor does a change of the list answered")
mh:data "one"
T.is(mh:data(), "one", "a string after parts is a string")
local list = { tos }
T.is(show(mh:control(list) == list, #mh:control(), mh:control()[1] == tos), "true, 1, true",
  "control sets objects, and reads them")
list[1] = nil
T.is(#mh:control(), 1, "control keeps a copy")
T.is(#mh:control {} + #mh:control(), 0, "control sets to nothing")
T.is(mh:flags(), 0, "flags are 0 before any receive")
local many = {}
for i = 1, 10000 do many[i] = ttl end
T.is(#assert(new { control = many }):control(), 10000, "a long list of control is read whole")

-- How much.
local function parts_of(n, value)
  local out = {}
  for i = 1, n do out[i] = value end
  return out
end
T.is(#assert(new { data = parts_of(1024, "x") }):data(), 1024, "1,024 parts are taken")
T.is(show(new { data = parts_of(1025, "x") }), failed(L.EMSGSIZE), "1,025 parts are EMSGSIZE")
T.is(show(mh:data(parts_of(1025, "x"))), failed(L.EMSGSIZE), "so for data")
T.is(mh:data(), "one", "which leaves the message as it was")
T.ok(new { size = parts_of(1024, 1) }, "1,024 buffers are taken")
T.is(show(new { size = parts_of(1025, 1) }), failed(L.EMSGSIZE), "1,025 buffers are EMSGSIZE")

-- Sizes that are none.
local NOT_SIZES = { 0, -1, 1.5, 0/0, 1/0, -1/0, 2^31, 2^32 + 1, 2^53, 2^63 }
for _, size in ipairs(NOT_SIZES) do
  T.is(show(new { size = size }), failed(L.EINVAL), ("a size of %s is EINVAL"):format(size))
  T.is(show(new { size = { 10, size } }), failed(L.EINVAL), ("a buffer of %s is EINVAL"):format(size))
end
T.is(show(new { size = {} }), failed(L.EINVAL), "no buffer at all is EINVAL")
T.is(show(new { size = { 2^30, 2^30 } }), failed(L.EINVAL), "buffers of 2^31 bytes together are EINVAL")
for _, size in ipairs { -1, 1.5, 0/0, 1/0, -1/0, 2^20 + 1, 2^31, 2^32 + 1, 2^63 } do
  T.is(show(new { controlsize = size }), failed(L.EINVAL), ("a controlsize of %s is EINVAL"):format(size))
end
T.ok(new { controlsize = 0 } and new { controlsize = 2^20 }, "a controlsize of 0 and of 2^20 is taken")
T.ok(new { size = 1 } and new { size = 2^31 - 1 }, "a size of 1 and of 2^31-1 is taken: nothing is allocated yet")

-- Wrong types, by field and by method.
local function raises(fn, message, name)
  local ok, err = pcall(fn)
  T.is(not ok and err:match "bad.*", message, name)
end
local function bad(method, expected, got)
  return ("bad argument #1 to '%s' (%s expected, got %s)"):format(method, expected, got)
end

local AI, CMSGS = "llsocket.addrinfo", "array of llsocket.cmsghdr"
local DATA, PARTS = "string or array of strings", "array of strings"
local WRONG = {
  { "name", AI, { "x", 1, true, {}, print } }, { "data", DATA, { 1, true, print } },
  { "control", CMSGS, { "x", 1, true, print } },
  { "size", "number", { "x", true, print } }, { "controlsize", "number", { "x", true, {}, print } },
}
for _, row in ipairs(WRONG) do
  for _, value in ipairs(row[3]) do
    raises(function() new { [row[1]] = value } end, bad("new", row[2], type(value)),
      ("new raises on a %s that is a %s"):format(row[1], type(value)))
  end
end
for _, value in ipairs { "x", {}, false } do
  raises(function() new { size = { 1, value } } end, bad("new", "number", type(value)),
    "new raises on a size in a list that is a " .. type(value))
end
raises(function() new { data = { "x", 1 } } end, bad("new", PARTS, "number"), "new raises on a part that is no string")
raises(function() new { control = { ttl, "x" } } end, bad("new", "llsocket.cmsghdr", "string"),
  "new raises on control that is no cmsghdr")
raises(function() mh:data { "x", {} } end, bad("data", PARTS, "table"), "data raises on a part that is no string")
raises(function() mh:control { {} } end, bad("control", "llsocket.cmsghdr", "table"),
  "control raises for an object that is not a cmsghdr")
raises(function() mh:control { mh } end, bad("control", "llsocket.cmsghdr", "table"), "control raises on a msghdr")
T.is(show(mh:data(), #mh:control()), '"one", 0', "what raised left the message as it was")
local tube = assert(L.pipe.new())
for class, made in pairs { msghdr = L.msghdr.new(), batch = L.batch.new(), cmsghdr = L.cmsghdr.new(1, 2, "x"),
  pipe = tube } do
  T.ok(tostring(made):find("^llsocket%." .. class .. ": 0x%x+$"), "tostring names the class of a " .. class)
end
tube:close()
T.is(leak.count(), before, "no descriptor is left")
T.done()
