-- luaposix.lua -- the echo server over lua-posix and its poll(2).
local S = require "posix.sys.socket"
local poll, unistd, fcntl = require("posix.poll").poll, require "posix.unistd", require "posix.fcntl"

local listener = S.socket(S.AF_INET, S.SOCK_STREAM, 0)
assert(S.bind(listener, { family = S.AF_INET, addr = "127.0.0.1", port = 0 }))
assert(S.listen(listener, 4096))
fcntl.fcntl(listener, fcntl.F_SETFL, fcntl.O_NONBLOCK)
print(S.getsockname(listener).port)
io.stdout:flush()

local fds, open = { [listener] = { events = { IN = true } } }, 0

local function take()
  local fd = S.accept(listener)
  while fd do
    fds[fd], open = { events = { IN = true } }, open + 1
    fd = S.accept(listener)
  end
end

local function echo(fd)
  local message = S.recv(fd, 4096)
  if message and message ~= "" and S.send(fd, message) == #message then return end
  unistd.close(fd)
  fds[fd], open = nil, open - 1
end

repeat
  poll(fds, -1)
  local ready = {}
  for fd, watched in pairs(fds) do
    if watched.revents and (watched.revents.IN or watched.revents.HUP) then ready[#ready + 1] = fd end
  end
  for _, fd in ipairs(ready) do
    if fd == listener then take() else echo(fd) end
  end
until open == 0
