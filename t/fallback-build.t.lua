-- fallback-build: a build with the option fallbacks has nothing that the option removes; what arrives or is
-- accepted is the same as in other builds.
local L = require "llsocket"
local net = require "net"
local missing = require "missing"
local proc = require "proc"
local shell = require "shell"
local sys = require "sys"
local leak = require "leak"
local values = require "values"
local show, failed = values.show, values.failed
local before = leak.count()

local NAMES = {
  "SOCK_CLOEXEC", "SOCK_NONBLOCK", "F_DUPFD_CLOEXEC", "MSG_NOSIGNAL", "MSG_CMSG_CLOEXEC", "MSG_WAITFORONE",
  "SPLICE_F_MOVE", "EPOLLIN", "EFD_CLOEXEC", "SIOCGIFNAME",
}
local NEVER = { "accept4", "SOCK_CLOEXEC", "SOCK_NONBLOCK", "F_DUPFD_CLOEXEC", "MSG_NOSIGNAL", "MSG_CMSG_CLOEXEC", "recvmmsg",
  "sendmmsg", "sendfile", "splice(", "epoll", "eventfd", "SIOCGIFNAME" }
local T = require("tap").plan(#NAMES + #NEVER + 1 + 12 + 6 + 1)
local forced = os.getenv "LLSOCKET_FALLBACKS"

for _, name in ipairs(NAMES) do
  if forced then T.is(L[name], nil, name .. " is nil") else T.skip(1, "the build is an ordinary one") end
end

-- What a process of its own does that uses all of it; strace(1) tells which names reach the kernel.
local SCRIPT = [[
local L = require "llsocket"
local tcp = L.inet.getaddrinfo("127.0.0.1", "0")[1]
local listener = assert(L.socket.new(tcp, true))
listener:bind(); listener:listen()
local client = L.socket.new(listener:getsockname())
client:connect()
listener:recvable(5)
local server = assert(listener:accept(true))
server:send "x"; server:writev { "x" }; server:dup():close()
local a, b = unpack(L.socket.pair(L.SOCK_DGRAM, true))
a:sendto("x", L.unix.getaddrinfo("/nonexistent")[1])
a:sendfd(client); b:recvfd():close()
local batch = L.batch.new { count = 2 }
batch:data(1, "x"); batch:data(2, "y")
assert(a:sendbatch(batch) == 2 and b:recvbatch(batch) == 2)
local poller = L.poll.new()
assert(poller:add(server, "w") and poller:wait(5) == 1 and poller:wake() and poller:fd() == -1)
poller:close()
assert(select(4, client:splice(server, L.pipe.new())) == L.ENOSYS)
print(select(4, a:sendfile(0, 1)))
]]

local function traced()
  if not forced then return nil, "the build is an ordinary one" end
  if not select(2, proc.run "strace -o /dev/null true") then return nil, "no strace, or it may not trace here" end
  local dir = net.tmpdir()
  local script = assert(io.open(dir .. "/script.lua", "w"))
  script:write(SCRIPT)
  script:close()
  local out, ok = proc.run(shell.format("strace -o %q/log %q %q/script.lua", dir, proc.luajit, dir))
  local log = assert(io.open(dir .. "/log"))
  local text = log:read "*a"
  log:close()
  return ok and text:gsub("read%([^\n]*", "") or "", out -- without the sources that it read
end

local text, why = traced()
if text then
  T.ok(text:find "sendmsg%(" and text:find "accept%(" and why == L.ENOSYS .. "\n", "strace sees the calls, sendfile is ENOSYS")
  for _, name in ipairs(NEVER) do T.ok(not text:find(name, 1, true), name .. " never shows") end
else T.skip(1 + #NEVER, why) end

-- sendfile without sendfile(2): its arguments are judged as ever, and nothing is sent.
local function sendfile_tests()
  local file = assert(io.tmpfile())
  file:write "0123456789abcdef"
  file:flush()
  local a, b = net.pair(L.SOCK_STREAM, true)
  T.is(show(a:sendfile(file, 16)), failed(L.ENOSYS), "sendfile of a file object: ENOSYS")
  T.is(show(a:sendfile(0, 16, 2^40)), failed(L.ENOSYS), "of a number, at an offset: ENOSYS")
  for _, row in ipairs { { 0, 0 }, { -1, 0 }, { 1.5, 0 }, { 0/0, 0 }, { 1, -1 }, { 1, 2^53 + 2 } } do
    T.is(show(a:sendfile(file, row[1], row[2])), failed(L.EINVAL), ("%s bytes at %s: EINVAL"):format(row[1], row[2]))
  end
  T.is(show(b:recv()), values.again(L.EAGAIN), "nothing is sent")
  file:close()
  T.is(show(a:sendfile(file, 1)), failed(L.EBADF), "a closed file object: EBADF")
  T.is(show(pcall(a.sendfile, a, "name", 1)):match "bad argument #1 to 'sendfile'", "bad argument #1 to 'sendfile'",
    "a name for a file raises")
  a:close(); b:close()
  T.is(show(a:sendfile(0, 1)), failed(L.EBADF), "a closed socket: EBADF")
end
if missing.sendfile then sendfile_tests() else T.skip(12, "there is a sendfile(2)") end

-- Descriptors that arrive, each close-on-exec before anybody asks for it.
local TOP = 255
local function open()
  local set = {}
  for fd = 0, TOP do set[fd] = sys.is_open(fd) end
  return set
end

local function arrived(was)
  local all, cloexec = 0, 0
  for fd = 0, TOP do
    if sys.is_open(fd) and not was[fd] then
      all = all + 1
      if sys.is_cloexec(fd) then cloexec = cloexec + 1 end
    end
  end
  return all, cloexec
end

local a, b = net.pair(L.SOCK_STREAM)
local file = assert(io.open "/dev/null")
assert(a:sendmsg(L.msghdr.new { data = "x", control = { L.cmsghdr.rights(file, a, 0) } }) == 1)
local was, mh = open(), L.msghdr.new()
T.is(show(b:recvmsg(mh)), "1, nil, false", "a message with three descriptors arrives")
T.is(show(arrived(was)), "3, 3", "they are close-on-exec, before anybody asks for them")
local rights = mh:control()[1]:rights()
T.is(#rights, 3, "three objects are made of them")
T.is(rights[2]:family(), L.AF_UNIX, "one is a socket")
for _, object in ipairs(rights) do object:close() end
T.is(show(arrived(was)), "0, 0", "and closed")
b:nonblock(true)
T.is(show(b:recvmsg(mh)), values.again(L.EAGAIN), "the errno of a receive that brings nothing stays")
file:close(); a:close(); b:close()
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
