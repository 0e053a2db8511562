-- handover.lua PATH [PORT [WORD]] -- a server whose successor takes its listening socket over, while clients keep coming.
--
-- It answers each message with WORD and the message.  Start it, and start it again with the same PATH and another WORD:
-- through the unix socket at PATH the new process gets the listening socket.  Its queue is the socket's, not the
-- process's, so nobody is refused; the old process finishes its clients and ends.  Who may write to PATH may take over.
local L = require "llsocket"

local PATH, PORT, WORD = arg[1], arg[2] or "7070", arg[3] or "echo:"
local PAUSE, PATIENCE = 0.01, 5 -- seconds between two rounds; and for which one peer may keep all others waiting

local function must(value, what, err)
  return value or os.exit(io.stderr:write("handover: ", what, ": ", tostring(err), "\n") and 1)
end

local function listening(ai)
  local sock = assert(L.socket.new(ai, true))
  sock:reuseaddr(true)
  local err = sock:bind() or sock:listen()
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

-- Answers once, where there is something to answer; false when the client has gone.
local function serve(client)
  local msg, _, again = client:recv(4096, L.MSG_DONTWAIT)
  local rest = msg and WORD .. " " .. msg or ""
  while #rest > 0 do
    local n = client:send(rest)
    if not n or n == 0 then return false end
    rest = rest:sub(n + 1)
  end
  return msg or again
end

local clients = {}

local function admit(client)
  client:sndtimeo(PATIENCE)
  clients[#clients + 1] = client
end

local function round()
  for i = #clients, 1, -1 do
    if not serve(clients[i]) then table.remove(clients, i):close() end
  end
end

local place = assert(L.unix.getaddrinfo(must(PATH, "usage", "handover.lua PATH [PORT [WORD]]")))[1]
local listener, control = take_over(place)
local how = listener and "took over " or "listening on "
listener = listener or listening(assert(L.inet.getaddrinfo("127.0.0.1", PORT))[1])
control = control or listening(place)
io.stdout:setvbuf "line"
print(how .. tostring(listener:getsockname()))
repeat
  for client in function() return (listener:accept(false)) end do admit(client) end
  round()
  listener:recvable(PAUSE)
  local successor = control:accept(false)
until successor and give(successor, listener, control)
listener:close()
control:close()
print(("gave it away, %d clients left"):format(#clients))
while #clients > 0 do
  clients[1]:recvable(PAUSE)
  round()
end
