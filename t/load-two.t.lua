-- load: two copies of the library in one process, of one release and of two, each with its own shim.
local ABI = require "abi"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local before = leak.count()
local T = require("tap").plan(9)

local source, dir = os.getenv "LLSOCKET_SOURCE", net.tmpdir()
local real = assert(package.searchpath("llsocket.shim", package.cpath))

local function sh(command)
  local text, ok = proc.run(shell.format("cd %q && %s", dir, command))
  if not ok then print("# " .. text:gsub("\n", "\n# ")) end
  return ok
end

-- Makes DIR/name of the Lua files, with the shim of this build beside them.
local function copy(name)
  assert(sh(shell.format("mkdir %s && cp -r %q/lua/. %s && cp %q %s/llsocket/shim.so", name, source, name, real, name)))
end

-- Makes DIR/name of a release whose ABI number is one higher; answers whether the compiler could.
local function next_release(name)
  assert(sh(shell.format("mkdir %s && cp -r %q/lua/. %q/csrc %s && cd %s && find . -type f -exec sed -i '",
    name, source, source, name, name)
    .. ("s/llsocket%d/llsocket%d/g; s/local ABI = %d/local ABI = %d/; s/LLSOCKET_ABI %d/LLSOCKET_ABI %d/' {} +"):format(
      ABI, ABI + 1, ABI, ABI + 1, ABI, ABI + 1)))
  return sh(("cd %s && cc -shared -fPIC -Icsrc csrc/*.c -o llsocket/shim.so"):format(name))
end

local HINT = "set LUA_CPATH (nginx: lua_package_cpath), or build it in the source folder: "
  .. "cc -O2 -shared -fPIC -Icsrc csrc/*.c -o lua/llsocket/shim.so"

-- load(NAME [, CPATH]) loads a copy beside those that are there; shims() tells which shims are mapped.
local PRELUDE = ([[
local DIR = "%s"
local function load(name, cpath)
  for key in pairs(package.loaded) do if key:find "^llsocket" then package.loaded[key] = nil end end
  package.path, package.cpath = DIR .. "/" .. name .. "/?.lua", (cpath or ""):gsub("DIR", DIR)
  local L = require "llsocket"
  L.from = debug.getinfo(L.socket.new, "S").source:match "/(%%w+)/llsocket/"
  return L
end
local function shims()
  local seen, out = {}, {}
  for line in io.lines "/proc/self/maps" do
    local name = line:match "/(%%w+)/llsocket/shim%%.so"
    if name and not seen[name] then seen[name], out[#out + 1] = true, name end
  end
  table.sort(out)
  return table.concat(out, " ")
end
local function collect() for _ = 1, 4 do collectgarbage() end end
local function trip(a, b) return a:send "x", (b:recv()) end
local function tcp(A, B)
  local listener = A.socket.new(A.inet.getaddrinfo("127.0.0.1", "0")[1])
  listener:bind(); listener:listen()
  local client = B.socket.new(B.inet.getaddrinfo("127.0.0.1", tostring(listener:getsockname():port()))[1])
  client:connect()
  return client, listener:accept()
end
]]):format(dir)

local function prints(code, want, name) T.is(proc.lua(PRELUDE .. code), want, name) end

-- The sockets of each, one of either at both ends of a connection, and the number handed from one to the other.
local BOTH = [[
print(A.from, B.from, shims())
local a, b = A.socket.pair(A.SOCK_STREAM), B.socket.pair(B.SOCK_STREAM)
print(trip(a[1], a[2])); print(trip(b[1], b[2]))
local client, server = tcp(A, B)
print(trip(client, server)); print(trip(server, client))
local taken = B.socket.wrap(a[1]:unwrap())
print(trip(taken, a[2]))
local poller = A.poll.new()
poller:add(a[2], "r", 1)
taken:send "y"
print(poller:wait(1))
local fd = b[1]:fd()
b, B = nil, nil
collect()
print(A.socket.wrap(fd) == nil, trip(client, server))
]]
local WORKS = "1\tx\n1\tx\n1\tx\n1\tx\n1\tx\n1\ntrue\t1\tx\n"

local function maps() return sh "test -r /proc/self/maps" end

local function one_release()
  copy "one"; copy "two"
  prints("local A, B = load 'one', load 'two'\n" .. BOTH, "one\ttwo\tone two\n" .. WORKS,
    "two copies of one release work beside each other")
  prints([[
local A, B = load "one", load "two"
local ai = A.inet.getaddrinfo("127.0.0.1", "0")[1]
local ok, why = pcall(B.socket.new, ai)
print(ok and B.socket.new(ai):bind() or tostring(why):match "bad argument #1 to 'new'.*")]],
    "bad argument #1 to 'new' (llsocket.addrinfo expected, got cdata)\n",
    "a load refuses an object of the other load, and says so")
  assert(sh "mkdir old && echo nonsense > old/llsocket.so")
  prints([[
local L = load("one", "DIR/old/?.so;DIR/two/?.so")
print(L.from, shims(), trip(unpack(L.socket.pair(L.SOCK_STREAM))))]], "one\ttwo\t1\tx\n",
    "a compiled module of the library's own name is not asked, for Lua files come first")
end

local function two_releases()
  prints("local A, B = load 'one', load 'later'\n" .. BOTH, "one\tlater\tlater one\n" .. WORKS,
    "a release with another ABI works beside this one")
  prints("local A, B = load 'later', load 'one'\n" .. BOTH, "later\tone\tlater one\n" .. WORKS, "in either order")
  prints([[
local L = load("one", "DIR/later/?.so;DIR/two/?.so")
print(L.from, trip(unpack(L.socket.pair(L.SOCK_STREAM))))]], "one\t1\tx\n",
    "another release's shim earlier on the path is passed over")
  sh "mkdir alone && cp -r one/. alone && rm alone/llsocket/shim.so"
  prints([[
print(select(2, pcall(load, "alone", "DIR/later/?.so")))
local L = load("alone", "DIR/later/?.so;DIR/two/?.so")
print(L.from, trip(unpack(L.socket.pair(L.SOCK_STREAM))))]], ([[
llsocket: no usable shim; HINT
	DIR/later/llsocket/shim.so: no shim of ABI NUMBER
	no file 'DIR/alone/llsocket/shim.so'
	no file 'DIR/alone/llsocket/shim.so'
alone	1	x
]]):gsub("DIR", dir):gsub("NUMBER", ABI):gsub("HINT", HINT),
    "if it is the only one, the error has its path and the reason, and the next require finds another")
  prints([[
local L = load("later", "DIR/one/?.so")
print(L.from, trip(unpack(L.socket.pair(L.SOCK_STREAM))))]], "later\t1\tx\n", "and this release's shim by the other")
end

if not maps() then T.skip(8, "no /proc/self/maps here")
else
  one_release()
  if next_release "later" then two_releases() else T.skip(5, "no C compiler to build another release with") end
end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
