-- ljsyscall.lua -- the echo server over lua-ljsyscall's epoll, with one buffer for all messages.
local S = require "syscall"
local t, c = S.t, S.c

local listener = assert(S.socket("inet", "stream, nonblock"))
assert(listener:bind(t.sockaddr_in(0, "127.0.0.1")))
assert(listener:listen(4096))
print(listener:getsockname().port)
io.stdout:flush()

local epoll, events, buf = assert(S.epoll_create()), t.epoll_events(1024), t.buffer(4096)
local number, open, held = listener:getfd(), 0, {}
assert(S.epoll_ctl(epoll, "add", listener, c.EPOLL.IN))

local function take()
  local sock = S.accept4(listener, nil, nil, c.SOCK.NONBLOCK)
  while sock do
    assert(S.epoll_ctl(epoll, "add", sock, c.EPOLL.IN))
    held[sock:getfd()], open = sock, open + 1
    sock = S.accept4(listener, nil, nil, c.SOCK.NONBLOCK)
  end
end

local function echo(sock)
  local n = S.recv(sock, buf, 4096)
  if n and n > 0 and S.send(sock, buf, n) == n then return end
  held[sock:getfd()], open = nil, open - 1
  sock:close()
end

repeat
  for _, event in assert(S.epoll_wait(epoll, events)) do
    if event.fd == number then take() else echo(held[event.fd]) end
  end
until open == 0
