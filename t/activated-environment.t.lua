-- activated-environment: the descriptors that LISTEN_FDS announces are taken over; wrong variables do no harm.
local L = require "llsocket"
local net = require "net"
local passing = require "passing"
local rights = require "rights"
local sys = require "sys"
local leak = require "leak"
local T = require("tap").plan(50)
local before = leak.count()

-- What every program here begins with: `line` tells all about what was passed.
local HEAD = [[
local L = require "llsocket"
local sys, leak = require "sys", require "leak"
local function what(object)
  local kind = tostring(object):match "^llsocket%.(%l+)"
  return ("%s %d%s"):format(kind, object:fd(), sys.is_cloexec(object:fd()) and " cloexec" or "")
end
local function line(socks, names)
  local out = {}
  for i, object in ipairs(socks) do out[i] = names[i] .. ": " .. what(object) end
  return #names == #out and table.concat(out, ", ") or "names of a different number"
end
]]

local function run(source, fds, env)
  local text, status, signal = passing.run(HEAD .. source, fds, env)
  if status ~= 0 then text = ("%s (exit %s, signal %s)"):format(text, tostring(status), tostring(signal)) end
  return text
end

local LINE = "io.write(line(L.socket.activated()))"

-- right announcements
local listener, ai = net.listener()
local udp, udp_ai = net.bound(L.AF_INET, L.SOCK_DGRAM)
local near, far = net.pair(L.SOCK_SEQPACKET)
local three = { listener:fd(), udp:fd(), far:fd() }

T.is(run(LINE, three, { LISTEN_FDNAMES = "web:dns:web" }), "web: socket 3 cloexec, dns: socket 4 cloexec, web: socket 5 cloexec",
  "three sockets come in their order, close-on-exec, with their names")
T.is(run("local socks = L.socket.activated() "
  .. "io.write(tostring(socks.web == socks[1] and socks.dns == socks[2] and socks.unknown == nil))",
  three, { LISTEN_FDNAMES = "web:dns:web" }), "true", "a name finds its socket, and the first where two share it")
T.is(run([[
  for _, s in ipairs((L.socket.activated())) do io.write(s:family(), " ", s:socktype(), " ", s:protocol(), "; ") end]], three),
  ("%d %d %d; %d %d %d; %d %d 0; "):format(L.AF_INET, L.SOCK_STREAM, L.IPPROTO_TCP, L.AF_INET, L.SOCK_DGRAM, L.IPPROTO_UDP,
    L.AF_UNIX, L.SOCK_SEQPACKET), "their families, types and protocols are the kernel's")

local client = assert(L.socket.new(ai))
assert(not client:connect() and udp:sendto("a datagram", udp_ai) == 10 and near:send "a packet" == 8)
client:send "a stream"
T.is(run([[
  local socks = L.socket.activated()
  local server = assert(socks[1]:accept())
  io.write(server:recv(), ", ", (socks[2]:recvfrom()), ", ", (socks[3]:recv()))
  server:send "answer"]], three), "a stream, a datagram, a packet", "they accept and receive")
T.is(client:recv(), "answer", "and what is accepted answers")
client:close()

T.is(run(LINE, three), "unknown: socket 3 cloexec, unknown: socket 4 cloexec, unknown: socket 5 cloexec",
  "without LISTEN_FDNAMES they are unknown")
for _, names in ipairs { "web", "web:dns", "web:dns:web:web", ":::::", "" } do
  T.is(run(LINE, three, { LISTEN_FDNAMES = names }),
    "unknown: socket 3 cloexec, unknown: socket 4 cloexec, unknown: socket 5 cloexec",
    ("and so they are with names of another number, %q"):format(names))
end
T.is(run(LINE, { udp:fd() }, { LISTEN_FDNAMES = "1" }), "1: socket 3 cloexec", "a name may look like a number")
T.is(run("local socks = L.socket.activated() io.write(what(socks[1]), '; ', what(socks['1']))", { near:fd(), far:fd() },
  { LISTEN_FDNAMES = "x:1" }), "socket 3 cloexec; socket 4 cloexec", "and is told apart from one")

-- the environment
T.is(run([[
  L.socket.activated()
  for _, name in ipairs { "PID", "FDS", "FDNAMES", "PIDFDID" } do io.write(tostring(os.getenv("LISTEN_" .. name)), " ") end
  io.flush()
  os.execute "env | grep LISTEN_"]], three, { LISTEN_FDNAMES = "a:b:c", LISTEN_PIDFDID = "7" }), "nil nil nil nil ",
  "the environment is cleared, for children too")
T.is(run("L.socket.activated() local socks, names = L.socket.activated() io.write(#socks, #names, tostring(next(socks)))", three),
  "00nil", "a second call answers an empty list")
T.is(run([[
  local none = leak.count()
  local socks = L.socket.activated()
  socks[1]:close()
  io.write(leak.count() - none)
  socks = nil
  io.write(" ", leak.count() - none)]], three), "-1 -3", "the objects own them: closed and collected, they are gone")
T.is(run([[
  L.socket.activated()
  io.flush()
  os.execute "for fd in 3 4 5; do (: <&$fd) 2>/dev/null && echo $fd; done; echo none"]], three), "none\n",
  "no child inherits them")
T.is(run([[io.write(tostring(package.loaded["llsocket.socket.activated"]), " ")
  local old = L
  for name in pairs(package.loaded) do if name:find "^llsocket" then package.loaded[name] = nil end end
  local new = require "llsocket"
  io.write(#old.socket.activated(), #new.socket.activated())]], three), "nil 30",
  "the module is loaded by its first use, also after the library was loaded again")

-- what is no socket
local r, w = rights.pipe()
local file = assert(io.open "/dev/null")
local null = require("llsocket.core.libc").llsocket2_fileno(file)
T.is(run(LINE, { r, udp:fd(), null, w }, { LISTEN_FDNAMES = "fifo:log:null:" }),
  "fifo: descriptor 3 cloexec, log: socket 4 cloexec, null: descriptor 5 cloexec, : descriptor 6 cloexec",
  "a descriptor that is not a socket comes as llsocket.descriptor, close-on-exec, in its place")
T.is(run([[
  local none = leak.count()
  local socks = L.socket.activated()
  io.write(tostring(socks[1].accept), " ", socks[1]:fd(), " ", tostring(socks[1]:close() or nil))
  socks = nil
  io.write(" ", leak.count() - none)]], { r, w }), "nil 3 nil -2", "it can be closed, and is when it is collected")
file:close()

-- wrong announcements
local function tells(env, want, name) T.is(run(LINE, { udp:fd(), far:fd() }, env), want, name) end
local BOTH = "unknown: socket 3 cloexec, unknown: socket 4 cloexec"
tells({ LISTEN_PID = "1" }, "", "descriptors for another process are not taken")
T.is(run([[
  L.socket.activated()
  io.write(tostring(sys.is_open(3) and not sys.is_cloexec(3)), " ", tostring(os.getenv "LISTEN_FDS"))]],
  { udp:fd() }, { LISTEN_PID = "1" }), "true nil", "its descriptors do not change, but the environment is cleared")
for _, pid in ipairs { false, "", "0", "-1", "x", ("9"):rep(400), "1 1" } do
  tells({ LISTEN_PID = pid }, "", ("a LISTEN_PID of %s names nobody"):format(tostring(pid):sub(1, 10)))
end
for _, count in ipairs { false, "", "0", "-1", "-2147483648", "x", "2x", " 2", "0x2", "1e1", "1.5", "two" } do
  tells({ LISTEN_FDS = count }, "", ("a LISTEN_FDS of %q is nothing"):format(tostring(count)))
end
for _, count in ipairs { "3", "2147483647", "4294967298", ("9"):rep(400) } do
  tells({ LISTEN_FDS = count }, BOTH, ("a LISTEN_FDS of %s ends with the last open descriptor"):format(count:sub(1, 10)))
end
tells({ LISTEN_FDS = "1" }, "unknown: socket 3 cloexec", "more than LISTEN_FDS are not taken")
T.is(run("io.write(line(L.socket.activated()), ' ', tostring(sys.is_cloexec(5)))", { udp:fd(), false, far:fd() }),
  "unknown: socket 3 cloexec false", "after a closed number nothing is taken")
T.is(run([[
  local own = L.socket.pair(L.SOCK_STREAM)
  local got = line(L.socket.activated())
  collectgarbage() collectgarbage()
  own[1]:send "mine"
  io.write(got, "; ", own[1]:fd(), " ", (own[2]:recv()))]], { udp:fd() }, { LISTEN_FDS = "3" }),
  "unknown: socket 3 cloexec; 4 mine", "a descriptor that the program has opened itself is not taken")
T.is(run(LINE, { udp:fd() }, { LISTEN_FDNAMES = (":"):rep(100000) }), "unknown: socket 3 cloexec",
  "a hundred thousand names are too many")

sys.close(r); sys.close(w)
for _, sock in ipairs { listener, udp, near, far } do sock:close() end
T.is(leak.count(), before, "no descriptor is left")
T.done()
