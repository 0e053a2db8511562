-- proxy.lua HOST PORT [PORT] -- forwards TCP connections to another server, in both directions, with ends and resets.
--
-- It listens on 127.0.0.1 at the last PORT: 8000 by default; 0 lets the kernel choose.  Each connection has two
-- coroutines, one for each direction; a coroutine that would block yields to all others.  A connection that passes nothing
-- for ten minutes is reset.
local L = require "llsocket"
local W = require "llsocket.wait.coroutine"
local errno = require "llsocket.errno"

local HOST, PORT, OURS = arg[1], arg[2], arg[3] or "8000"
local PATIENCE, IDLE, PIECE = 10, 600, 65536 -- seconds to connect, seconds without any byte, bytes of one read

local function fail(status, ...)
  io.stderr:write("proxy: ", string.format(...), "\n")
  os.exit(status)
end

-- The result of a connect: nil, or the reason why it failed.
local function result(e) return e ~= 0 and errno.text(e) or nil end

-- Tries one address after the other; nil and the last error if none answers.
local function dial(list)
  local why
  for _, ai in ipairs(list) do
    local sock, err, again = L.socket.new(ai, true)
    if sock then err, again = sock:connect() end
    if sock and again then err = not sock:sendable(PATIENCE) and "no answer" or result(sock:error()) end
    if not err then return sock end
    if sock then sock:close() end
    why = ("%s: %s"):format(tostring(ai), err)
  end
  return nil, why
end

-- Sends everything; false if the other side takes no more.
local function send_all(sock, msg)
  while msg ~= "" do
    local n, _, again = sock:send(msg)
    if not n or again and not sock:sendable(IDLE) then return false end
    msg = msg:sub(n + 1)
  end
  return true
end

-- Waits for bytes; false if none came in either direction for IDLE seconds, for example because a peer lost its network.
local function listen(from, joint)
  local ready = from:recvable(IDLE)
  if ready ~= false or os.time() - joint.last >= IDLE then return ready end
  return listen(from, joint)
end

-- Copies one direction.  Returns whether it reached its orderly end.
local function copy(from, to, joint)
  while listen(from, joint) do
    local msg, err, again = from:recv(PIECE)
    joint.last = os.time()
    if msg and not send_all(to, msg) then return false end
    if not (msg or again) then return not err and not to:shutdown(L.SHUT_WR) end
  end
  return false
end

-- Forwards a reset as a reset.
local function abort(...)
  for _, sock in ipairs { ... } do
    sock:linger(0)
    sock:close() -- this also wakes the coroutine that waits for it
  end
end

-- Runs fn in a coroutine and catches its errors: W.run would raise them and end the proxy for all clients.
local function spawn(fn, client, ...)
  W.spawn(function(...)
    local ok, err = xpcall(fn, debug.traceback, client, ...)
    if ok then return end
    io.stderr:write("proxy: ", err, "\n")
    abort(client)
  end, ...)
end

local function join(a, b)
  local joint = { open = 2, last = os.time() }
  local function run(from, to)
    if not copy(from, to, joint) then return abort(a, b) end
    joint.open = joint.open - 1
    if joint.open == 0 then a:close(); b:close() end
  end
  spawn(run, a, b)
  spawn(run, b, a)
end

local function pass(client, list)
  local server, why = dial(list)
  if not server then
    io.stderr:write("proxy: ", why, "\n")
    return abort(client)
  end
  for _, sock in ipairs { client, server } do
    sock:tcpnodelay(true)
  end
  join(client, server)
end

-- If accept fails, for example because no descriptor is free, it tries again after a pause.
local function serve(listener, list)
  while true do
    local ready = listener:recvable()
    local client, _, again = listener:accept(true)
    if client then spawn(pass, client, list) elseif not (ready and again) then W.sleep(0.2) end
  end
end

if not PORT then fail(2, "usage: proxy.lua HOST PORT [PORT]") end
local list, err = L.inet.getaddrinfo(HOST, PORT)
if not list then fail(2, "%s port %s: %s", HOST, PORT, err) end
local ours
ours, err = L.inet.getaddrinfo("127.0.0.1", OURS)
if not ours then fail(2, "port %s: %s", OURS, err) end
local listener = assert(L.socket.new(ours[1], true))
listener:reuseaddr(true)
err = listener:bind() or listener:listen()
if err then fail(1, "%s: %s", tostring(ours[1]), err) end
print("listening on " .. tostring(listener:getsockname()))
io.stdout:flush()
W.spawn(serve, listener, list)
W.run()
