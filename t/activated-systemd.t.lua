-- activated-systemd: sockets from the real systemd-socket-activate, which starts a program at its first client.
local L = require "llsocket"
local example = require "example"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local PLAN = 22
local T = require("tap").plan(PLAN)
local before = leak.count()

-- Tells what was passed, a line each; then serves one client of the socket where there is one.
local PROGRAM = [[
local L = require "llsocket"
local socks, names = L.socket.activated()
local function tell(...)
  io.write("> ", table.concat({ ... }, " "), "\n")
  io.flush()
end
for i, s in ipairs(socks) do
  tell(names[i], tostring(s:getsockname()), s:socktype(), tostring(s:acceptconn()), tostring(s:cloexec()), tostring(s:nonblock()))
end
tell(#socks, tostring(os.getenv "LISTEN_FDS"), #L.socket.activated())
if #socks == 0 then socks[1] = assert(L.socket.wrap(0)) end
local poller = assert(L.poll.new())
for _, s in ipairs(socks) do poller:add(s, "r", s) end
poller:wait(10)
local sock = poller:event(1)
if sock:acceptconn() then sock = assert(sock:accept()) end
local msg, from = sock:recvfrom()
if from then sock:sendto("got " .. msg, from) else sock:send("got " .. msg) end
]]

local dir = net.tmpdir()
local program = dir .. "/program.lua"
local file = assert(io.open(program, "w"))
file:write(PROGRAM)
file:close()

local host = net.own_host

-- Reads until a line that begins with `word`, and answers the rest of it; nil at the end.
local function await(pipe, word)
  for line in pipe:lines() do
    if line:sub(1, #word) == word then return line:sub(#word + 1) end
  end
end

-- Starts the program's starter, and waits until it listens at each address.
local function start(flags, addresses)
  local words = { "echo $$; exec systemd-socket-activate -E LUA_PATH -E LUA_CPATH", flags }
  for _, address in ipairs(addresses) do words[#words + 1] = "-l '" .. address .. "'" end
  local pipe = assert(io.popen(table.concat(words, " ") .. " " .. example.command(program) .. " 2>&1"))
  local child = { pid = tonumber(pipe:read "*l"), pipe = pipe }
  for _ = 1, #addresses do assert(await(pipe, "Listening on "), "it does not listen") end
  return child
end

local function told(child) return await(child.pipe, "> ") end

local function dial(ai)
  local sock = assert(L.socket.new(ai))
  if ai:family() == L.AF_UNIX and ai:socktype() == L.SOCK_DGRAM then sock:bind(L.unix.getaddrinfo("", L.SOCK_DGRAM)[1]) end
  assert(not sock:connect())
  sock:rcvtimeo(20)
  return sock
end

local function ask(ai, text)
  local sock = dial(ai)
  sock:send(text)
  local answer = sock:recv()
  sock:close()
  return answer
end

local function inet(address, socktype) return L.inet.getaddrinfo(address, "7070", socktype)[1] end
local function unix(path, socktype) return L.unix.getaddrinfo(path, socktype)[1] end
local function line(name, ai, listens) return ("%s %s %d %s true false"):format(name, tostring(ai), ai:socktype(), listens) end

if not example.has "systemd-socket-activate" then
  net.cleanup()
  T.skip(PLAN, "there is no systemd-socket-activate")
  T.done()
end

-- streams
local tcp, path = inet(host(1), L.SOCK_STREAM), unix(dir .. "/stream", L.SOCK_STREAM)
local child = start("--fdname=web:control", { host(1) .. ":7070", dir .. "/stream" })
local client = dial(tcp)
T.is(told(child), line("web", tcp, "true"), "a TCP listener comes, close-on-exec, with its name")
T.is(told(child), line("control", path, "true"), "and a unix listener with its own")
T.is(told(child), "2 nil 0", "these are all, the environment is cleared, a second call answers none")
client:send "a stream"
T.is(client:recv(), "got a stream", "the client that started the program is served")
client:close()
example.stop(child)

child = start("", { host(2) .. ":7070", dir .. "/second" })
T.is(ask(unix(dir .. "/second", L.SOCK_STREAM), "by path"), "got by path", "the second socket serves as well")
T.is(told(child), line("unknown", inet(host(2), L.SOCK_STREAM), "true"), "without --fdname a socket is unknown")
example.stop(child)

-- datagrams
local udp, name = inet(host(3), L.SOCK_DGRAM), unix("\0llsocket-t-activation-" .. proc.getpid(), L.SOCK_DGRAM)
child = start("--datagram --fdname=dns:log", { host(3) .. ":7070", "@" .. name:addr():sub(2) })
T.is(ask(udp, "a datagram"), "got a datagram", "the datagram that started the program is received")
T.is(told(child), line("dns", udp, "false"), "by a UDP socket")
T.is(told(child), line("log", name, "false"), "which comes with an abstract unix one")
T.is(told(child), "2 nil 0", "these are all")
example.stop(child)
child = start("--datagram --fdname=dns:log", { host(3) .. ":7070", "@" .. name:addr():sub(2) })
T.is(ask(name, "by name"), "got by name", "that one receives, too")
example.stop(child)

-- packets, and twelve sockets
local packet = unix(dir .. "/packet", L.SOCK_SEQPACKET)
child = start("--seqpacket", { dir .. "/packet" })
T.is(ask(packet, "a packet"), "got a packet", "packets in a row are received")
T.is(told(child), line("unknown", packet, "true"), "by a listener of their type")
example.stop(child)
local addresses, names = {}, {}
for i = 1, 12 do addresses[i], names[i] = dir .. "/many" .. i, i % 2 == 0 and "even" or "odd" end
child = start("--fdname=" .. table.concat(names, ":"), addresses)
T.is(ask(unix(addresses[12], L.SOCK_STREAM), "the twelfth"), "got the twelfth", "twelve sockets come")
local got, want = {}, {}
for i = 1, 12 do got[i], want[i] = told(child), line(names[i], unix(addresses[i], L.SOCK_STREAM), "true") end
T.is(table.concat(got, "\n"), table.concat(want, "\n"), "each in its place and with its name, though others share that")
example.stop(child)

-- one process a connection
local each = unix(dir .. "/each", L.SOCK_STREAM)
child = start("--accept", { dir .. "/each" })
local one = dial(each)
T.is(told(child), line("unknown", each, "false"), "with --accept a connection comes instead of a listener")
T.is(told(child), "1 nil 0", "alone")
local two = dial(each)
two:send "two"
T.is(two:recv(), "got two", "the second client has a process of its own")
one:send "one"
T.is(one:recv(), "got one", "and so has the first")
one:close(); two:close()
example.stop(child)

-- inetd's way has no LISTEN_FDS
child = start("--inetd --accept", { dir .. "/inetd" })
client = dial(unix(dir .. "/inetd", L.SOCK_STREAM))
T.is(client:recv(), "> 0 nil 0\n", "with --inetd none is passed")
client:send "by inetd"
T.is(client:recv(), "got by inetd", "and the connection is 0, which can be wrapped")
client:close()
example.stop(child)

net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
