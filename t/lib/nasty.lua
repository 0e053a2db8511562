-- nasty.lua -- values that a function may not expect: each has a name and a function that makes it.
local ffi = require "ffi"
local L = require "llsocket"
local net = require "net"
local sockets = require "llsocket.socket.object"

local M = { list = {}, by_name = {}, HOSTILE = "raised by a hostile value" }

local struct = ffi.new "struct { uint8_t bytes[64]; }"
local rows = ffi.new "uint8_t[4][16]"
local huge = ("x"):rep(70000)

local function hostile() error(M.HOSTILE, 0) end

-- A table that raises whatever is done with it.
local function raising()
  return setmetatable({}, {
    __index = hostile, __newindex = hostile, __len = hostile, __tostring = hostile, __call = hostile, __eq = hostile,
    __concat = hostile, __lt = hostile, __unm = hostile,
  })
end

-- A table that answers another thing each time it is asked.
local function fickle()
  local turn = 0
  local answers = { "x", 1, ffi.new "int[1]", {}, -1 }
  return setmetatable({}, { __index = function()
    turn = turn % #answers + 1
    return answers[turn]
  end })
end

local function endless()
  local t = {}
  t[1], t.data, t.control, t.name = t, t, t, t
  return t
end

local function dead()
  local co = coroutine.create(function() end)
  coroutine.resume(co)
  return co
end

local function closed(object)
  object:close()
  return object
end

local function file_closed()
  local file = assert(io.open "/dev/null")
  file:close()
  return file
end

-- A socket with data to receive, so that nothing waits for it.
local function readable(own, socktype)
  local a, b = own(net.pair(socktype, true))
  assert(b:send "abc" == 3)
  return a
end

local NUMBERS = {
  nan = 0 / 0, inf = math.huge, ["-inf"] = -math.huge, ["2^31"] = 2^31, ["2^31-1"] = 2^31 - 1, ["-2^31"] = -2^31,
  ["-2^31-1"] = -2^31 - 1, ["2^32-1"] = 2^32 - 1, ["2^32"] = 2^32, ["2^32+1"] = 2^32 + 1, ["2^53"] = 2^53, ["2^53+2"] = 2^53 + 2,
  ["2^63"] = 2^63, ["-2^63"] = -2^63, ["2^64"] = 2^64, ["-1"] = -1, ["0"] = 0, ["-0"] = -0.0, ["1"] = 1, ["2"] = 2,
  ["1.5"] = 1.5, ["0.5"] = 0.5, ["-0.5"] = -0.5, ["1e-9"] = 1e-9, ["1e308"] = 1e308, ["64"] = 64, ["4096"] = 4096,
  ["65535"] = 65535, ["65536"] = 65536, ["1025"] = 1025,
}

local STRINGS = {
  ["empty"] = "", ["x"] = "x", ["digit"] = "1", ["NUL"] = "\0", ["NUL inside"] = "a\0b", ["108 bytes"] = ("p"):rep(108),
  ["16 bytes"] = ("i"):rep(16), ["huge string"] = huge, ["format"] = "%s%n%d", ["word nan"] = "nan", ["hex"] = "0x10",
  ["minus"] = "-1", ["blank"] = " 1", ["lo"] = "lo", ["IPv6"] = "::1", ["zone"] = "fe80::1%lo", ["mapped"] = "::ffff:127.0.0.1",
  ["bytes"] = "\255\254\0\1", ["rw"] = "rw", ["group"] = "239.1.2.3", ["int"] = "int", ["poll"] = "poll", ["big port"] = "65536",
}

local OTHERS = {
  ["nil"] = function() end, ["true"] = function() return true end, ["false"] = function() return false end,
  ["NULL"] = function() return ffi.cast("void *", 0) end,
  ["NULL bytes"] = function() return ffi.cast("uint8_t *", 0) end,
  ["NULL socket"] = function() return ffi.cast(ffi.typeof("$ *", sockets.type), 0) end,
  ["pointer to a socket"] = function(own)
    local sock = readable(own)
    own.later(function() return sock end)
    return ffi.cast(ffi.typeof("$ *", sockets.type), sock)
  end,
  ["int64"] = function() return 1LL end, ["uint64"] = function() return 2ULL ^ 63 end,
  ["int[1]"] = function() return ffi.new "int[1]" end, ["uint8_t[64]"] = function() return ffi.new "uint8_t[64]" end,
  ["const char[4]"] = function() return ffi.new("const char[4]", "abc") end,
  ["uint8_t[?]"] = function() return ffi.new("uint8_t[?]", 64) end,
  ["bytes of a struct"] = function() return struct.bytes end, ["row of an array"] = function() return rows[2] end,
  ["struct"] = function() return struct end, ["ctype"] = function() return ffi.typeof "int" end,
  ["complex"] = function() return ffi.new("complex", 1, 2) end,
  ["C function"] = function() return require("llsocket.shim").llsocket2_fcntl end,
  ["{}"] = function() return {} end, ["{ 1 }"] = function() return { 1 } end, ["{ x }"] = function() return { "x" } end,
  ["hole"] = function() return { nil, "x", nil, 1 } end, ["2,000 strings"] = function()
    local out = {}
    for i = 1, 2000 do out[i] = "x" end
    return out
  end,
  ["raising table"] = raising, ["fickle table"] = fickle, ["endless table"] = endless,
  ["locked table"] = function() return setmetatable({}, { __metatable = "locked" }) end,
  ["function"] = function() return function() end end, ["raising function"] = function() return hostile end,
  ["yielding function"] = function() return coroutine.yield end, ["builtin"] = function() return print end,
  ["coroutine"] = function() return coroutine.create(function() end) end, ["dead coroutine"] = dead,
  ["userdata"] = function() return newproxy(true) end, ["file"] = function(own) return own(assert(io.open "/dev/null")) end,
  ["closed file"] = file_closed,
  ["socket"] = readable, ["datagram socket"] = function(own) return readable(own, L.SOCK_DGRAM) end,
  ["TCP socket"] = function(own) return own(assert(L.socket.new(net.addr(), true))) end,
  ["closed socket"] = function() return closed(net.bound()) end,
  ["addrinfo"] = function() return net.addr(L.AF_INET, L.SOCK_STREAM, 9) end,
  ["IPv6 addrinfo"] = function() return net.addr(L.AF_INET6, L.SOCK_DGRAM, 9) end,
  ["unix addrinfo"] = function() return L.unix.getaddrinfo("\0nobody", L.SOCK_STREAM)[1] end,
  ["strange addrinfo"] = function() return assert(L.addrinfo.new("\255\127xxxxxx")) end,
  ["msghdr"] = function() return assert(L.msghdr.new { data = "abc", size = 16 }) end,
  ["batch"] = function() return assert(L.batch.new { count = 2, size = 16 }) end,
  ["cmsghdr"] = function() return (L.cmsghdr.ttl(1)) end,
  ["pipe"] = function(own) return own(assert(L.pipe.new())) end,
  ["closed pipe"] = function() return closed(assert(L.pipe.new())) end,
  ["poller"] = function(own) return own(assert(L.poll.new())) end,
  ["closed poller"] = function() return closed(assert(L.poll.new "poll")) end,
  ["timer"] = function(own) return own(assert(L.poll.timer(0))) end,
  ["closed timer"] = function() return closed(assert(L.poll.timer(1))) end,
  ["hook"] = function(own) return (assert(readable(own):onclose(function() end))) end,
}

local function constant(value) return function() return value end end
for name, value in pairs(NUMBERS) do OTHERS["number " .. name] = constant(value) end
for name, value in pairs(STRINGS) do OTHERS["string " .. name] = constant(value) end
for name, make in pairs(OTHERS) do
  M.list[#M.list + 1] = { name = name, make = make }
  M.by_name[name] = M.list[#M.list]
end
--- Notes what the makers make: `own(object, ...)` is closed by `dispose`, `own.later(fn)` is called by it.
---@return table own
---@return fun() dispose
function M.owner()
  local undo = {}
  local own = setmetatable({ later = function(fn) undo[#undo + 1] = fn end }, { __call = function(_, ...)
    for i = 1, select("#", ...) do
      local object = select(i, ...)
      undo[#undo + 1] = function() object:close() end
    end
    return ...
  end })
  return own, function() for i = #undo, 1, -1 do pcall(undo[i]) end end
end

--- Whether a value is a table whose fields may be replaced.
function M.is_plain(value) return type(value) == "table" and not getmetatable(value) end

--- Answers a copy of a table with one field replaced.
function M.with(table, field, value)
  local copy = {}
  for name, other in pairs(table) do copy[name] = other end
  copy[field] = value
  return copy
end

table.sort(M.list, function(a, b) return a.name < b.name end) -- the same order in every process

return M
