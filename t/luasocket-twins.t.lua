-- luasocket-twins: small scripts show the same under LuaSocket, under its face, and under the face in a coroutine of each loop.
local has_luasocket, real = pcall(require, "socket.core")
local T = require "tap"
if not has_luasocket then
  T.plan(1).skip(1, "lua-socket is not installed")
  return T.done()
end
local face = require "llsocket.luasocket"
local leak = require "leak"
local loops = require "loops"
local net = require "net"
local signals = require "proc"
local twins = require "twins"
local waiting = require "llsocket.wait"
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

-- Runs scripts in one coroutine of a loop, or blocking; answers the outputs, or nil and the reason.
local function run(scripts, env, name)
  if not name then return twins.run(scripts, env) end
  local loop, why = loops.open(name)
  if not loop then return nil, why end
  local outputs
  waiting.set(loop.wait)
  loop.spawn(function() outputs = twins.run(scripts, env) end)
  loop.run()
  waiting.set()
  return outputs
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
  plan = plan + (1 + #loops.names) * #set.scripts
end
T.plan(plan)
loops.settle()
for _, set in ipairs(SETS) do set.wanted = run(set.scripts, set[2](real, real_unix)) end
local before = leak.count() -- LuaSocket's connect leaks one where its local address is refused

-- Compares the face with LuaSocket, blocking or in a loop.
local function compare(set, name)
  local where = set[4] .. (name and ", in " .. name or "")
  local got, why = run(set.scripts, set[2](face, face.unix), name)
  if not got then return T.skip(#set.scripts, why) end
  local function again(script)
    set.wanted[script.name] = run({ script }, set[2](real, real_unix))[script.name]
    return set.wanted[script.name], run({ script }, set[2](face, face.unix), name)[script.name]
  end
  twins.compare(T, set.scripts, set.wanted, got, set[3], where, again)
end

for _, set in ipairs(SETS) do
  compare(set)
  for _, name in ipairs(loops.names) do compare(set, name) end
end
-- Loops close some handles a turn later, and on a loaded machine a last peer may still be about to.
local left = leak.count()
for _ = 1, 100 do
  if left == before then break end
  signals.run "sleep 0.05"
  left = leak.count()
end
T.is(left, before, "no descriptor is left")
T.done()
