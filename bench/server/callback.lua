-- callback.lua -- the echo server with a callback for each connection, over llsocket.poll.
local L = require "llsocket"

local listener = assert(L.socket.new(L.inet.getaddrinfo("127.0.0.1", "0")[1], true))
local err = listener:bind() or listener:listen()
assert(not err, err)
print(listener:getsockname():port())
io.stdout:flush()

local p = assert(L.poll.new())
local open = 0

local function on_message(sock)
  return function()
    local message = sock:recv()
    if message and sock:send(message) == #message then return end
    sock:close()
    open = open - 1
  end
end

local function on_connection()
  local sock = listener:accept()
  while sock do
    assert(p:add(sock, "r", on_message(sock)))
    open = open + 1
    sock = listener:accept()
  end
end

assert(p:add(listener, "r", on_connection))
repeat
  for i = 1, assert(p:wait()) do
    local callback = p:event(i)
    callback()
  end
until open == 0
