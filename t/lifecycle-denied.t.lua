-- lifecycle-denied: the kernel returns a socket's family but not its type or protocol, as with a filter of system calls.
-- strace(1) makes one call in a row fail.
local L = require "llsocket"
local net = require "net"
local proc = require "proc"
local leak = require "leak"
local before = leak.count()
local WRAPS, ACTIVATIONS = 3, 3
local T = require("tap").plan(WRAPS + ACTIVATIONS + 1)

local WRAP = [[
local L, sys = require "llsocket", require "sys"
local fd = assert(L.socket.new(assert(L.inet.getaddrinfo("127.0.0.1", "0", L.SOCK_STREAM))[1])):unwrap()
local sock, err, e = L.socket.wrap(fd)
io.write(tostring(sock), " ", tostring(err), " ", e == L.EPERM and "EPERM" or tostring(e), " ", tostring(sys.is_open(fd)), " ")
io.write(tostring(L.socket.wrap(fd)) == "llsocket.socket: fd " .. fd and "then a socket" or "then none")
]]

local ACTIVATE = [[
local ffi = require "ffi"
local L, sys, proc = require "llsocket", require "sys", require "proc"
ffi.cdef 'int llsocket_t_setenv(const char *name, const char *value, int overwrite) __asm__("setenv");'
local kept = {}
for i = 1, 3 do
  local sock = assert(L.socket.new(assert(L.inet.getaddrinfo("127.0.0.1", "0", L.SOCK_STREAM))[1]))
  kept[i] = sys.copy(sock:unwrap(), 100)
end
for fd = 3, 20 do sys.close(fd) end
for i = 1, 3 do sys.copy(kept[i], 3) end
ffi.C.llsocket_t_setenv("LISTEN_PID", tostring(proc.getpid()), 1)
ffi.C.llsocket_t_setenv("LISTEN_FDS", "3", 1)
ffi.C.llsocket_t_setenv("LISTEN_FDNAMES", "a:b:c", 1)
local socks, names = L.socket.activated()
for i, sock in ipairs(socks) do
  io.write(names[i], " ", tostring(sock):match "%.(%l+)", " ", sock:fd(), " ", tostring(sys.is_cloexec(sock:fd())), "; ")
end
]]

local dir = net.tmpdir()
local function denied(source, nth)
  local path = dir .. "/script.lua"
  local file = assert(io.open(path, "w"))
  file:write(source)
  file:close()
  local command = "strace -qq -o '%s/log' -e trace=getsockopt -e inject=getsockopt:error=EPERM:when=%d '%s' '%s'"
  return (proc.run(command:format(dir, nth, proc.luajit, path)))
end

local _, traces = proc.run "strace -qq -o /dev/null -e trace=getsockopt -e inject=getsockopt:error=EPERM:when=1 true"
if not traces or not (L.SO_DOMAIN and L.SO_PROTOCOL) then
  T.skip(WRAPS + ACTIVATIONS, "no strace(1) that makes calls fail, or it may not trace here")
else
  for nth, what in ipairs { "family", "type", "protocol" } do
    T.is(denied(WRAP, nth), "nil Operation not permitted EPERM true then a socket",
      "wrap: where the " .. what .. " is not told it answers EPERM and leaves the descriptor open")
  end
  for nth, what in ipairs { "family", "type", "protocol" } do
    T.is(denied(ACTIVATE, nth), "a descriptor 3 true; b socket 4 true; c socket 5 true; ",
      "activated: where the first one's " .. what .. " is not told it is a descriptor, and the others are there")
  end
end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
