-- buffer.lua -- the echo server over llsocket.poll, with one buffer for all messages, as in C.
local ffi = require "ffi"
local L = require "llsocket"

local buf = ffi.new "uint8_t[4096]"
local listener = assert(L.socket.new(L.inet.getaddrinfo("127.0.0.1", "0")[1], true))
local err = listener:bind() or listener:listen()
assert(not err, err)
print(listener:getsockname():port())
io.stdout:flush()

local p = assert(L.poll.new())
assert(p:add(listener, "r", "listener"))
local open = 0

local function take()
  local sock = listener:accept()
  while sock do
    assert(p:add(sock, "r"))
    open = open + 1
    sock = listener:accept()
  end
end

local function echo(sock)
  local n = sock:recvinto(buf)
  if n and sock:sendfrom(buf, n) == n then return end
  sock:close()
  open = open - 1
end

repeat
  for i = 1, assert(p:wait()) do
    local sock = p:event(i)
    if sock == "listener" then take() else echo(sock) end
  end
until open == 0
