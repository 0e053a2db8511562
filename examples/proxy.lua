-- proxy.lua HOST PORT [PORT] -- forwards TCP connections to another server, in both directions, with ends and resets.
--
-- It listens on 127.0.0.1 at the last PORT: 8000 by default; 0 lets the kernel choose.  Each connection has two
-- coroutines, one for each direction.  A connection that passes nothing for ten minutes is reset.
local L = require "llsocket"
local stream = require "llsocket.stream"
local loop = require "llsocket.wait.coroutine"

local HOST, PORT, OURS = arg[1], arg[2], arg[3] or "8000"
local PATIENCE, IDLE = 10, 600 -- seconds to connect, seconds without any byte

local function fail(status, ...)
  io.stderr:write("proxy: ", string.format(...), "\n")
  os.exit(status)
end

-- Reads what is there; waits on where bytes went the other way meanwhile.
local function read(from, joint)
  from:deadline(IDLE)
  local msg, err, errno = from:some()
  if errno == L.ETIMEDOUT and os.time() - joint.last < IDLE then return read(from, joint) end
  joint.last = os.time()
  return msg, err
end

-- Copies one direction; answers whether it reached its orderly end.
local function copy(from, to, joint)
  while true do
    local msg, err = read(from, joint)
    if not msg then return not err and not to:shutdown() end
    to:deadline(IDLE)
    if not to:write(msg) then return false end
  end
end

-- Forwards a reset as a reset.  This also wakes the coroutine that waits for the other direction.
local function abort(...)
  for _, s in ipairs { ... } do
    s.sock:linger(0)
    s:close()
  end
end

local function run(from, to, joint)
  if not copy(from, to, joint) then abort(from, to) end
end

local function pass(client, list)
  local server, err = stream.connect(list, PATIENCE)
  if not server then
    io.stderr:write(("proxy: %s: %s\n"):format(tostring(list[#list]), err))
    return abort(client)
  end
  client.sock:tcpnodelay(true)
  server.sock:tcpnodelay(true)
  local joint = { last = os.time() }
  local back = loop.spawn(run, server, client, joint)
  run(client, server, joint)
  loop.join(back)
  server:close()
end

if not PORT then fail(2, "usage: proxy.lua HOST PORT [PORT]") end
local list, err = L.inet.getaddrinfo(HOST, PORT)
if not list then fail(2, "%s port %s: %s", HOST, PORT, err) end
local listener
listener, err = stream.listen("127.0.0.1", OURS)
if not listener then fail(1, "127.0.0.1:%s: %s", OURS, err) end
print("listening on " .. tostring(listener:getsockname()))
io.stdout:flush()
stream.serve(listener, function(client) pass(client, list) end)
