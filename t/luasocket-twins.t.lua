-- luasocket-twins: small scripts show the same under LuaSocket, under its face, and under the face in a coroutine of the loop.
local has_luasocket, real = pcall(require, "socket.core")
local T = require "tap"
if not has_luasocket then
  T.plan(1).skip(1, "lua-socket is not installed")
  return T.done()
end
local face = require "llsocket.luasocket"
local leak = require "leak"
local loop = require "llsocket.wait.coroutine"
local net = require "net"
local signals = require "proc"
local twins = require "twins"
local real_unix = require "socket.unix"
local folder = os.getenv "LLSOCKET_SOURCE" .. "/t/luasocket/"

local dir, n = net.tmpdir(), 0

local function path()
  n = n + 1
  return ("%s/%d"):format(dir, n)
end

-- What scripts have: the library, a pair of connected streams, another object, a path that is free.
local function tcp_env(socket, unix)
  local env = { socket = socket, unix = unix, path = path, other = socket.tcp }
  function env.pair()
    local server = assert(socket.tcp4())
    assert(server:bind("127.0.0.1", 0))
    assert(server:listen())
    local a = socket.tcp()
    assert(a:connect(server:getsockname()))
    local b = assert(server:accept())
    server:close()
    return a, b
  end
  return env
end

local function unix_env(socket, unix)
  local env = tcp_env(socket, unix)
  env.other = unix.stream
  function env.pair()
    local server, name = assert(unix.stream()), path()
    assert(server:bind(name))
    assert(server:listen())
    local a = unix.stream()
    assert(a:connect(name))
    local b = assert(server:accept())
    server:close()
    os.remove(name)
    return a, b
  end
  return env
end

-- Runs a script in a coroutine of the loop, whose error is the script's own affair.
local function in_loop(run)
  loop.spawn(run)
  loop.run()
end

-- Why some scripts differ.
local OPTION = {
  ["hops of multicasts are their own"] = "LuaSocket sets and reads the hops of unicasts for them",
}
local SELECT = { ["a descriptor above 1023"] = "the face has no largest descriptor" }
local TCP = { ["a nil is told as no value"] = "a function in Lua cannot tell a nil from none" }

-- { file, environment, reasons by script, what names get }
local SETS = {
  { "core", tcp_env, {}, "" }, { "option", tcp_env, OPTION, "" }, { "select", tcp_env, SELECT, "" },
  { "stream", tcp_env, {}, " (tcp)" }, { "stream", unix_env, {}, " (unix)" },
  { "tcp", tcp_env, TCP, "" }, { "udp", tcp_env, {}, "" }, { "unix", tcp_env, {}, "" },
}


-- LuaSocket ignores SIGPIPE; the face never raises it.
signals.signal(signals.SIGPIPE, signals.SIG_IGN)

local plan = 1
for _, set in ipairs(SETS) do
  set.scripts = twins.read(folder .. set[1] .. ".scripts")
  plan = plan + 2 * #set.scripts
end
T.plan(plan)
for _, set in ipairs(SETS) do set.wanted = twins.run(set.scripts, set[2](real, real_unix)) end
local before = leak.count() -- LuaSocket's connect leaks one where its local address is refused
for _, set in ipairs(SETS) do
  local make, reasons, where = set[2], set[3], set[4]
  local got = twins.run(set.scripts, make(face, face.unix))
  local looped = twins.run(set.scripts, make(face, face.unix), in_loop)
  twins.compare(T, set.scripts, set.wanted, got, reasons, where)
  twins.compare(T, set.scripts, set.wanted, looped, reasons, where .. ", in a coroutine")
end
T.is(leak.count(), before, "no descriptor is left")
T.done()
