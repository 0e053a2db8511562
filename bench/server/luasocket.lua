-- luasocket.lua -- the echo server over lua-socket and its select(2).
local socket = require "socket"

local listener = assert(socket.bind("127.0.0.1", 0, 4096))
listener:settimeout(0)
local _, port = listener:getsockname()
print(port)
io.stdout:flush()

-- Those to wait for, and where each stands in the list.
local list, place = { listener }, {}

local function take()
  local sock = listener:accept()
  while sock do
    sock:settimeout(0)
    list[#list + 1] = sock
    place[sock] = #list
    sock = listener:accept()
  end
end

local function drop(sock)
  local last = table.remove(list)
  if last ~= sock then list[place[sock]], place[last] = last, place[sock] end
  place[sock] = nil
  sock:close()
end

-- It reads as many bytes as are asked for or tells what there is.
local function echo(sock)
  local all, err, part = sock:receive(4096)
  local message = all or part
  if message ~= "" then sock:send(message) end
  if err == "closed" then drop(sock) end
end

repeat
  for _, sock in ipairs((socket.select(list))) do
    if sock == listener then take() else echo(sock) end
  end
until #list == 1
