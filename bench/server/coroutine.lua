-- coroutine.lua -- the echo server with a coroutine for each connection.
local L = require "llsocket"
local co = require "llsocket.wait.coroutine"

L.wait.set(co.wait)

local listener = assert(L.socket.new(L.inet.getaddrinfo("127.0.0.1", "0")[1], true))
local err = listener:bind() or listener:listen()
assert(not err, err)
print(listener:getsockname():port())
io.stdout:flush()

local open = 0

local function echo(sock)
  repeat
    sock:recvable()
    local message = sock:recv()
  until not message or sock:send(message) ~= #message
  sock:close()
  open = open - 1
  if open == 0 then listener:close() end
end

co.spawn(function()
  while listener:recvable() do
    local sock = listener:accept()
    while sock do
      open = open + 1
      co.spawn(echo, sock)
      sock = listener:accept()
    end
  end
end)
co.run()
