-- villain.lua -- a server that treats its clients badly, each second one excepted; t/torture/peers.lua has a proxy before it.
local L = require "llsocket"
local loop = require "llsocket.wait.coroutine"

L.wait.set(loop.wait)

local WAYS = {}

WAYS[1] = function(sock) sock:linger(0) end -- a reset at once

WAYS[2] = function(sock) -- one in the midst of an answer
  sock:recvable(1)
  sock:send "he"
  sock:linger(0)
end

WAYS[3] = function(sock) -- half a close, and silence
  sock:shutdown(L.SHUT_WR)
  sock:recvable(1)
end

WAYS[4] = function(sock) -- urgent bytes
  for _ = 1, 20 do
    sock:send("!", L.MSG_OOB)
    sock:send "x"
  end
  sock:recvable(0.2)
end

WAYS[5] = function(sock) -- a flood
  for _ = 1, 200 do
    if not sock:sendable(0.2) or not sock:send(("x"):rep(65536)) then break end
  end
end

WAYS[6] = function(sock) -- a byte each 10 ms
  for _ = 1, 50 do
    if not sock:send "x" then break end
    sock:recvable(0.01)
  end
end

WAYS[7] = function(sock) sock:recvable(1) end -- it reads nothing

local function echo(sock)
  while sock:recvable(60) do
    local text, _, again = sock:recv(65536)
    if not (text or again) then break end
    if text and not (sock:sendable(5) and sock:send(text)) then break end
  end
end

local listener = assert(L.socket.new(L.inet.getaddrinfo("127.0.0.1", "0")[1], true))
local err = listener:bind() or listener:listen()
if err then error(err) end
print("listening on " .. tostring(listener:getsockname()))
io.stdout:flush()
loop.spawn(function()
  local n = 0
  while true do
    local ready = listener:recvable()
    local sock, _, again = listener:accept(true)
    if sock then
      n = n + 1
      local way = n % 2 == 0 and echo or WAYS[(n + 1) / 2 % #WAYS + 1]
      loop.spawn(function()
        way(sock)
        sock:close()
      end)
    elseif not (ready and again) then L.wait.poll(listener:fd(), "w", 0.05) end
  end
end)
loop.run()
