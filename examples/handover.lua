-- handover.lua PATH [PORT [WORD]] -- a server that passes its listening socket to its successor while clients connect.
--
-- It answers each message with WORD and the message.  Start it, and start it again with the same PATH and another WORD:
-- the new process gets the listening socket through the unix socket at PATH.  The queue of clients belongs to the socket
-- and not to the process, so no client is refused.  The old process serves its clients to the end and then ends.
-- Protect PATH: everybody who may write to it can take the sockets over.
local L = require "llsocket"

local PATH, PORT, WORD = arg[1], arg[2] or "7070", arg[3] or "echo:"
local PAUSE, PATIENCE, IDLE = 0.01, 5, 600 -- seconds: between rounds, for a successor's answer, of a silent client

local function must(value, what, err)
  return value or os.exit(io.stderr:write("handover: ", what, ": ", tostring(err), "\n") and 1)
end

local function listening(ai)
  local sock, err = L.socket.new(ai, true)
  if sock then sock:reuseaddr(true) end
  err = err or sock:bind() or sock:listen()
  return must(not err and sock, tostring(ai), err)
end

-- Asks the process at PATH for its two sockets: the listener, and the one at PATH, for the successor after this one.
local function take_over(ai)
  local conn = assert(L.socket.new(ai))
  local err, _, errno = conn:connect()
  if errno == L.ECONNREFUSED then os.remove(PATH) end -- a process that died left it behind
  if err then return nil end
  local listener, control = conn:recvfd(), conn:recvfd()
  conn:send "mine" -- from here on the old process accepts no client
  return listener, must(control, PATH, "the process there gave nothing away")
end

-- Passes both sockets on; true when the successor says that it has them.  If it dies before that, nothing changes.
local function give(conn, listener, control)
  conn:rcvtimeo(PATIENCE)
  conn:sendfd(listener)
  conn:sendfd(control)
  return conn:recv() == "mine"
end

local clients, heard = {}, setmetatable({}, { __mode = "k" })

-- Answers one message, if there is one; false if the client has gone, does not read, or was silent for too long.
local function serve(client)
  local msg, _, again = client:recv(4096, L.MSG_DONTWAIT)
  local text = msg and WORD .. " " .. msg
  if text and client:send(text, L.MSG_DONTWAIT) ~= #text then return false end
  if msg then heard[client] = os.time() end
  return msg or again and os.time() - heard[client] < IDLE
end

-- Accepts the clients that wait; returns false if accept fails, for example because no descriptor is free.
local function admit(listener)
  local client, _, again = listener:accept(false)
  if not client then return again end
  clients[#clients + 1], heard[client] = client, os.time()
  return admit(listener)
end

local function round()
  for i = #clients, 1, -1 do
    if not serve(clients[i]) then table.remove(clients, i):close() end
  end
end

local place = assert(L.unix.getaddrinfo(must(PATH, "usage", "handover.lua PATH [PORT [WORD]]")))[1]
local listener, control = take_over(place)
local how = listener and "took over " or "listening on "
listener, control = listener or listening(assert(L.inet.getaddrinfo("127.0.0.1", PORT))[1]), control or listening(place)
io.stdout:setvbuf "line"
print(how .. tostring(listener:getsockname()))
repeat
  local calm = admit(listener)
  round()
  L.wait.poll((calm and listener or control):fd(), "r", PAUSE) -- after a failed accept the listener stays ready
  local successor = control:accept(false)
until successor and give(successor, listener, control)
listener:close()
control:close()
print(("gave it away, %d clients left"):format(#clients))
while #clients > 0 do
  clients[1]:recvable(PAUSE)
  round()
end
