-- echo-buffer.lua -- the echo server over llsocket.poll without strings: the program's own recv(2) and send(2), and
-- one buffer.
local ffi = require "ffi"
local L = require "llsocket"

ffi.cdef [[
int bench_recv(int fd, void *buf, size_t len, int flags) __asm__("recv");
int bench_send(int fd, const void *buf, size_t len, int flags) __asm__("send");
]]
local C, SIZE = ffi.C, 4096
local buf = ffi.new("uint8_t[4096]")

local listener = assert(L.socket.new(L.inet.getaddrinfo("127.0.0.1", "0")[1], true))
assert(not listener:bind())
assert(not listener:listen())
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
  local fd = sock:fd()
  local n = C.bench_recv(fd, buf, SIZE, 0)
  if n > 0 and C.bench_send(fd, buf, n, L.MSG_NOSIGNAL) == n then return end
  sock:close()
  open = open - 1
end

repeat
  for i = 1, assert(p:wait()) do
    local sock = p:event(i)
    if sock == "listener" then take() else echo(sock) end
  end
until open == 0
