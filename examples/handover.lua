-- handover.lua PATH [PORT [WORD]] -- a server whose successor takes its listening socket over, while clients keep coming.
--
-- It answers each message with WORD and the message.  Start it, and start it again with the same PATH and another WORD:
-- through the unix socket at PATH the new process gets the listening socket.  Its queue is the socket's, not the
-- process's, so nobody is refused; the old process finishes its clients and ends.  Who may write to PATH may take over.
local L = require "llsocket"

local PATH, PORT, WORD = arg[1], arg[2] or "7070", arg[3] or "echo:"
local PAUSE, PATIENCE, IDLE = 0.01, 5, 600 -- seconds between two rounds; for a successor to answer; of a client's silence

local function must(value, what, err)
  return value or os.exit(io.stderr:write("handover: ", what, ": ", tostring(err), "\n") and 1)
end

local function listening(ai)
  local sock, err = L.socket.new(ai, true)
  if sock then sock:reuseaddr(true) end
  err = err or sock:bind() or sock:listen()
  return must(not err and sock, tostring(ai), err)
end

-- Asks the process at PATH for its sockets: that for the clients, and that at PATH, for the successor after this one.
local function take_over(ai)
  local conn = assert(L.socket.new(ai))
  local err, _, errno = conn:connect()
  if errno == L.ECONNREFUSED then os.remove(PATH) end -- left behind by one that died
  if err then return nil end
  local listener, control = conn:recvfd(), conn:recvfd()
  conn:send "mine" -- from here on the old process accepts nobody
  return listener, must(control, PATH, "the process there gave nothing away")
end

-- Gives both sockets away; true once the successor says that it has them.  One that dies before changes nothing.
local function give(conn, listener, control)
  conn:rcvtimeo(PATIENCE)
  conn:sendfd(listener)
  conn:sendfd(control)
  return conn:recv() == "mine"
end

local clients, heard = {}, setmetatable({}, { __mode = "k" })

-- Answers once, where there is something to answer; false when the client has gone, does not read, or was silent for long.
local function serve(client)
  local msg, _, again = client:recv(4096, L.MSG_DONTWAIT)
  local text = msg and WORD .. " " .. msg
  if text and client:send(text, L.MSG_DONTWAIT) ~= #text then return false end
  if msg then heard[client] = os.time() end
  return msg or again and os.time() - heard[client] < IDLE
end

-- Takes those who wait; answers false when accept fails, as for want of descriptors.
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
  L.wait.poll((calm and listener or control):fd(), "r", PAUSE) -- where accept fails the listener would be ready at once
  local successor = control:accept(false)
until successor and give(successor, listener, control)
listener:close()
control:close()
print(("gave it away, %d clients left"):format(#clients))
while #clients > 0 do
  clients[1]:recvable(PAUSE)
  round()
end
