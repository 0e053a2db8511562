-- proxy.lua HOST PORT [PORT] -- passes TCP connections on to another server, both ways, ends and resets included.
--
-- It listens on 127.0.0.1 at the last PORT: 8000 where none is given, and 0 lets the kernel choose.  Each connection is
-- two coroutines, one a direction; whoever of the two can do nothing gives way to all others.
local L = require "llsocket"
local W = require "llsocket.wait.coroutine"
local errno = require "llsocket.errno"

local HOST, PORT, OURS = arg[1], arg[2], arg[3] or "8000"
local PATIENCE, PIECE = 10, 65536

local function fail(status, ...)
  io.stderr:write("proxy: ", string.format(...), "\n")
  os.exit(status)
end

-- How a connect has ended: nil, or why it failed.
local function result(e) return e ~= 0 and errno.text(e) or nil end

-- Tries one address after the other; nil and the last error where none answers.
local function dial(list)
  local why
  for _, ai in ipairs(list) do
    local sock = assert(L.socket.new(ai, true))
    local err, again = sock:connect()
    if again then err = not sock:sendable(PATIENCE) and "no answer" or result(sock:error()) end
    if not err then return sock end
    sock:close()
    why = ("%s: %s"):format(tostring(ai), err)
  end
  return nil, why
end

-- Sends all; false when the other side takes no more.
local function send_all(sock, msg)
  while msg ~= "" do
    local n, _, again = sock:send(msg)
    if not n or again and not sock:sendable() then return false end
    msg = msg:sub(n + 1)
  end
  return true
end

-- Copies one direction.  Answers whether it came to its orderly end.
local function copy(from, to)
  while from:recvable() do
    local msg, err, again = from:recv(PIECE)
    if msg and not send_all(to, msg) then return false end
    if not (msg or again) then return not err and not to:shutdown(L.SHUT_WR) end
  end
  return false
end

-- A reset goes on as a reset.
local function abort(...)
  for _, sock in ipairs { ... } do
    sock:linger(0)
    sock:close() -- and who waits for it is told
  end
end

local function join(a, b)
  local open = 2
  local function run(from, to)
    if not copy(from, to) then return abort(a, b) end
    open = open - 1
    if open == 0 then a:close(); b:close() end
  end
  W.spawn(run, a, b)
  W.spawn(run, b, a)
end

-- A peer that is gone without a word is found by keepalive.
local function pass(client, list)
  local server, why = dial(list)
  if not server then
    io.stderr:write("proxy: ", why, "\n")
    return abort(client)
  end
  for _, sock in ipairs { client, server } do
    sock:tcpnodelay(true)
    sock:keepalive(true)
  end
  join(client, server)
end

local function serve(listener, list)
  local nobody = L.socket.pair(L.SOCK_STREAM) -- to wait for something that never comes
  while listener:recvable() do
    local client, _, again = listener:accept(true)
    if client then W.spawn(pass, client, list) elseif not again then nobody[1]:recvable(0.2) end
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
L.wait.set(W.wait)
print("listening on " .. tostring(listener:getsockname()))
io.stdout:flush()
W.spawn(serve, listener, list)
W.run()
