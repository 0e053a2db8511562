-- load: require returns one table, modules can be required by themselves, and nothing else in the process changes.
local const = require "llsocket.core.const"
local leak = require "leak"
local proc = require "proc"
local shell = require "shell"
local before = leak.count()
local source = os.getenv "LLSOCKET_SOURCE"

local names = {}
local pipe = assert(io.popen(shell.format("cd %q/lua/llsocket && find . -name '*.lua' | LC_ALL=C sort", source)))
for file in pipe:lines() do names[#names + 1] = file:match "^%./(.*)%.lua$":gsub("/", ".") end
pipe:close()

local T = require("tap").plan(#names + 20)

-- Runs Lua in a process of its own, and compares all that it prints, errors included.
local function prints(code, want, name) T.is(proc.lua(code), want, name) end

prints([[local L = require "llsocket"]], "", "require prints nothing")
prints([[io.write(type(require "llsocket"), " ", select("#", require "llsocket"))]], "table 1", "require answers one table")
prints([[io.write(tostring(require "llsocket" == require "llsocket"))]], "true", "and the same one again")
prints([[
local L = require "llsocket"
for _, name in ipairs { "inet", "unix", "addrinfo", "socket", "device" } do
  if type(L[name]) ~= "table" or L[name] ~= require("llsocket." .. name) then print(name) end
end]], "", "its modules are those that require answers by name")

-- A way of waiting needs the library whose loop it is, and a way to look up names the library that asks.
for _, name in ipairs(names) do
  local code = [[local m = require "llsocket.%s"; io.write(type(m) == "userdata" and "table" or type(m))]]
  local said = proc.lua(code:format(name))
  local is_way = name:find "^wait%." or name:find "^resolve%." or name == "stream.luasec"
  local lacks = is_way and said:match "module '([^']+)' not found"
  if (name == "address.links" or name == "address.netlink") and not const.RTM_GETLINK then
    T.skip(1, ("llsocket.%s needs netlink, which this system does not have"):format(name))
  elseif lacks and not lacks:find "^llsocket" then T.skip(1, ("llsocket.%s needs %s, which is not here"):format(name, lacks))
  else T.is(said, "table", ("llsocket.%s loads by itself"):format(name)) end
end

prints([[
local inet, socket = require "llsocket.inet", require "llsocket.socket"
local ai = inet.getaddrinfo("127.0.0.1", "0")[1]
local sock = socket.new(ai)
sock:bind()
io.write(sock:getsockname():addr())]], "127.0.0.1", "two modules work without the public table")

-- The constants of csrc/protocols.def are found by the public table alone.
if const.SKF_AD_OFF then
  prints([[io.write(require("llsocket.bpf").assemble("ret #ETH_P_IP")[1][4])]], "2048",
    "a filter may name them without the public table")
else T.skip(1, "this system has no filters") end
local packet, auxdata = require("llsocket").SOL_PACKET, require("llsocket").PACKET_AUXDATA
if packet and auxdata then
  prints([[
local cmsg = require("llsocket.cmsghdr").new(]] .. packet .. ", " .. auxdata .. [[, ("\0"):rep(20))
io.write(type(cmsg:auxdata()))]], "table", "ancillary data is read that they name")
else T.skip(1, "this system has no packet sockets") end
prints([[
require "llsocket.socket"
io.write(tostring(package.loaded["llsocket"]), " ", tostring(package.loaded["llsocket.inet"]))]], "nil nil",
  "a module loads neither the public table nor modules that it does not need")

local file = assert(io.open(source .. "/meson.build"))
local version = file:read("*a"):match "version: '([%d.]+)'"
file:close()
file = assert(io.open(source .. "/CHANGELOG.md"))
local unreleased = file:read("*a"):match "\n## (%S+)" == "Unreleased"
file:close()
prints([[io.write(require("llsocket")._VERSION)]], version .. (unreleased and "-dev" or ""),
  "_VERSION is the release that meson.build names, and tells a build that comes before it")

-- What a program can see of the process, before and after.
local COMPARE = [[
local function snapshot() %s end
local before = snapshot()
local L = require "llsocket"
local function use()
  local pair = L.socket.pair(L.SOCK_STREAM, true)
  pair[1]:send "x"; pair[2]:recv(); pair[2]:recv()
  pair[2]:close()
  pair[1]:send "x"
  local file = io.open(arg[0])
  pair[1]:sendfile(file, 1)
  file:close()
  L.inet.getaddrinfo("127.0.0.1", "0")
  L.device.getifaddrs()
  pcall(pair[1].send, pair[1], 5)
  pair[1]:close()
end
for _ = 1, 100 do use() end
local after = snapshot()
if before ~= after then print("before: " .. before .. "\nafter: " .. after) end
]]
local function unchanged(code, name) prints(COMPARE:format(code), "", name) end

unchanged([[
  local out = {}
  for key, value in pairs(_G) do out[#out + 1] = tostring(key) .. "=" .. tostring(value) end
  table.sort(out)
  return table.concat(out, " ")]], "no global is created or changed")
unchanged([[
  local out = {}
  for _, room in ipairs { "string", "table", "math", "io", "os", "debug", "coroutine", "package", "bit", "jit" } do
    for key, value in pairs(_G[room]) do
      out[#out + 1] = room .. "." .. tostring(key) .. "=" .. (type(value) == "string" and value or tostring(value))
    end
  end
  table.sort(out)
  return table.concat(out, " ")]], "no standard library is changed")
unchanged([[
  local out = {}
  for _, value in ipairs { "", 0, true, print } do out[#out + 1] = tostring(debug.getmetatable(value)) end
  return table.concat(out, " ") .. tostring(jit.status()) .. tostring(collectgarbage "isrunning")]],
  "no metatable of a type, nor the compiler's or the collector's state, is changed")
unchanged([[return os.setlocale()]], "the locale is not changed")

local status = io.open "/proc/self/status"
if status then status:close() end
-- ShdPnd and SigPnd: what waits for the process; SigBlk: its mask; SigIgn and SigCgt: its dispositions.
local SIGNALS = [[
  local file = assert(io.open "/proc/self/status")
  local text, out = file:read "*a", {}
  file:close()
  for line in text:gmatch "[^\n]+" do if line:find "^S%a%a%u%l%l:" then out[#out + 1] = line end end
  return table.concat(out, " ")]]
if status then
  unchanged(SIGNALS, "no signal disposition or mask is changed, and no signal waits")
  T.ok(#proc.lua("io.write((function() " .. SIGNALS .. " end)())") > 80, "which is told from all five lines of the kernel")
else
  T.skip(2, "no /proc/self/status here")
end

prints([[
local seen = {}
for name in pairs(package.loaded) do seen[name] = true end
require "llsocket"
for name in pairs(package.loaded) do
  if not seen[name] and not name:find "^llsocket" and name ~= "ffi" then print(name) end
end]], "", "nothing but llsocket's modules and ffi is loaded")
prints([[
local L = require "llsocket"
io.write(type(L.socket.new), " ", type(L.socket.pair), " ", type(L.socket.wrap), " ", type(L.inet.getaddrinfo), " ",
  type(L.unix.getaddrinfo), " ", type(L.device.macaddrs))]], "function function function function function function",
  "modules of the first documentation are loaded at once")
prints([[io.write(tostring(package.loaded["llsocket.shim"]), " ", type(require "llsocket.shim"))]], "nil userdata",
  "nothing is loaded before it is asked for")
prints([[
local function stop(_, name) error("global " .. tostring(name)) end
setmetatable(_G, { __newindex = stop, __index = stop })
local L = require "llsocket"
L.socket.pair(L.SOCK_STREAM)[1]:close()]], "", "it loads under a strict _G")

T.is(leak.count(), before, "no descriptor is left")
T.done()
