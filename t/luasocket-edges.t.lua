-- luasocket-edges: what is no object in the lists of select, NULL pointers, NUL bytes in words, numbers that no integer holds,
-- finalisers that close what is read.
local ffi = require "ffi"
local face = require "llsocket.luasocket"
local finalising = require "finalising"
local leak = require "leak"
local show = require("show").show
local T = require("tap").plan(21)
local before = leak.count()

local NULL = ffi.cast("void *", 0)

-- What a call answers or raises; an error must have the line of this function.  The path may have blanks.
local function answer(fn, ...)
  local text = show(pcall(function(...)
    local a, b, c = fn(...)
    return a, b, c
  end, ...))
  return (text:gsub("%f[^%s\"][^,\"]*luasocket%-edges%.t%.lua:16: ", "HERE: "))
end

local function pair()
  local server = assert(face.tcp4())
  assert(server:bind("127.0.0.1", 0))
  assert(server:listen())
  local host, port = server:getsockname()
  local a = assert(face.connect(host, port))
  local b = assert(server:accept())
  server:close()
  return a, b
end

-- select ----------------------------------------------------------------------------------------------------------

local function select_one(object) return answer(face.select, { object }, nil, 0) end

for _, row in ipairs {
  { 1, "attempt to index a number value" }, { true, "attempt to index a boolean value" },
  { print, "attempt to index a function value" }, { coroutine.create(print), "attempt to index a thread value" },
  { newproxy(true), "attempt to index a userdata value" }, { ffi.new "int[1]", "'int [1]' has no member named 'getfd'" },
  { NULL, "'void *' has no member named 'getfd'" }, { { getfd = 1 }, "attempt to call a number value" },
  { { getfd = function() return 0 end, dirty = 1 }, "attempt to call a number value" },
} do
  T.is(select_one(row[1]), show(false, "HERE: " .. row[2]), ("select raises for %s"):format(type(row[1])))
end
T.is(select_one "x", "true, {}, {}, timeout", "a string has no descriptor, as any object without getfd")
local callable = setmetatable({}, { __call = function() return -1 end })
T.is(select_one { getfd = callable }, "true, {}, {}, timeout", "what can be called is called")
T.ok(select_one(setmetatable({}, { __index = function() error("its own", 0) end })):find "its own", "an object's own error stays")

-- Other values ----------------------------------------------------------------------------------------------------

local a, b = pair()
T.is(answer(a.shutdown, a, "bo\0th"), show(false, "HERE: bad argument #2 to 'fn' (invalid option 'bo')"),
  "a word ends at a NUL byte")
T.is(answer(a.shutdown, a, "send\0x"), "true, 1, nil, nil", "as C reads it")
T.ok(answer(a.settimeout, a, 1, NULL):find "string expected, got cdata", "a NULL pointer is no mode")
local six = face.udp6()
local join = { multiaddr = "ff02::9", interface = NULL }
T.ok(not six or answer(six.setoption, six, "ipv6-add-membership", join):find "number 'interface' field expected",
  "nor the lack of an interface")
if six then six:close() end
local four = assert(face.udp4())
T.ok(answer(four.setoption, four, "ip-add-membership", { multiaddr = "::ffff:239.1.2.3", interface = "*" })
  :find("invalid 'multiaddr' ip address", 1, true), "a mapped address is none of IPv4")
four:close()
T.ok(answer(a.setoption, a, "linger", { on = true, timeout = ffi.typeof "int" }):find("number 'timeout' field expected", 1, true),
  "cdata are no numbers")
T.is(answer(b.send, b, "abc", 1 / 0, 1 / 0), "true, 0, nil, nil", "bytes from beyond every integer on are none")

a:close(); b:close()

-- A finaliser that closes what is read ------------------------------------------------------------------------------

jit.off() -- LuaJIT of 2022 does not survive finalisers at every allocation of compiled code
local wrong = {}
for k = 1, 12 do
  a, b = pair()
  a:settimeout(0.05); b:send "abc\n"
  local _, ok, said = finalising.run(k, function() a:close() end, function() return a:receive() or "" end)
  if not ok then wrong[#wrong + 1] = ("%s at %d"):format(said, k) end
  a:close(); b:close()
end
T.is(table.concat(wrong, "; "), "", "an object that a finaliser closes in the midst of receive answers")

a, b = nil, nil -- luacheck: ignore
collectgarbage(); collectgarbage()
T.is(leak.count(), before, "no descriptor is left")
T.done()
