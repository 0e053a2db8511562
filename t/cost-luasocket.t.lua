-- cost-luasocket: the face of LuaSocket makes no more system calls than LuaSocket, and spends no more instructions on lines,
-- records and sends; in coroutines no more than Copas over LuaSocket.
local T = require "tap"
if not pcall(require, "socket.core") then
  T.plan(1).skip(1, "lua-socket is not installed")
  return T.done()
end
local counting = require "counting"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local before = leak.count()

-- What a process does so many times; the other end is the same for both.
local WORK = [[
local library, kind, times = arg[1], arg[2], tonumber(arg[3])
local socket = require(library)
local ffi = require "ffi"
ffi.cdef "int llsocket_t_send(int fd, const void *bytes, size_t size, int flags) __asm__(\"send\");"
ffi.cdef "int llsocket_t_recv(int fd, void *bytes, size_t size, int flags) __asm__(\"recv\");"
local C, memory = ffi.C, ffi.new "uint8_t[65536]"
local server = assert(socket.tcp4())
assert(server:bind("127.0.0.1", 0) and server:listen())
local host, port = server:getsockname()
local function pair()
  local client = assert(socket.connect(host, port))
  return client, assert(server:accept())
end
local client, peer = pair()
local fd, lines = peer:getfd(), (("x"):rep(39) .. "\n"):rep(100)
local KIND = {}
function KIND.lines()
  C.llsocket_t_send(fd, lines, #lines, 0)
  for _ = 1, 100 do client:receive "*l" end
end
function KIND.records()
  C.llsocket_t_send(fd, lines, #lines, 0)
  for _ = 1, 100 do client:receive(40) end
end
function KIND.sends()
  for _ = 1, 100 do client:send "0123456789" end
  C.llsocket_t_recv(fd, memory, 65536, 0)
end
function KIND.all()
  local a, b = pair()
  C.llsocket_t_send(b:getfd(), memory, 65536, 0)
  b:close()
  a:receive "*a"
  a:close()
end
-- Two coroutines that send each other a line, each in turn.
local function exchange(spawn, send, receive)
  spawn(function() for _ = 1, 10 * times do receive(peer) send(peer, "answer\n") end end)
  spawn(function()
    for _ = 1, 10 * times do send(client, "question\n") receive(client) end
    kind = "done"
  end)
end
if kind == "turns" and library == "socket.core" then
  local copas = require "copas"
  client:settimeout(0) peer:settimeout(0)
  exchange(copas.addthread, copas.send, copas.receive)
  while kind ~= "done" do copas.step() end
elseif kind == "turns" then
  local loop = require "llsocket.wait.coroutine"
  exchange(loop.spawn, client.send, client.receive)
  loop.run()
else
  for _ = 1, times do KIND[kind]() end
end
]]

local dir = net.tmpdir()
local path = dir .. "/work.lua"
local file = assert(io.open(path, "w"))
file:write(WORK)
file:close()

local LIBRARIES = { real = "socket.core", face = "llsocket.luasocket" }
local SHORT, LONG = 400, 800 -- the difference leaves out loading and compiling

local function command(library, kind, times)
  return shell.format("%q %q %q %s %d", proc.luajit, path, LIBRARIES[library], kind, times)
end

local function instructions(library, kind, times)
  local under = shell.format("valgrind --tool=callgrind --callgrind-out-file=%q/out ", dir)
  local out = proc.run(under .. command(library, kind, times))
  return tonumber((out:match "Collected : (%d+)")) or error(out)
end

local function calls(library, kind, times)
  proc.run(shell.format("strace -f -c -o %q/calls ", dir) .. command(library, kind, times))
  local n = 0
  for line in io.lines(dir .. "/calls") do n = tonumber(line:match "%s(%d+)%s+%d*%s*total$") or n end
  return n
end

local function each(count, library, kind)
  return (count(library, kind, LONG) - count(library, kind, SHORT)) / (LONG - SHORT)
end

-- What is counted, how, for which kinds, the slack, and why not.  The collector takes and gives back memory now and then.
local COUNTS = {
  { "instructions", instructions, { "lines", "records", "sends", "turns" }, 0,
    counting.lacks("valgrind", counting.VALGRIND) },
  { "system calls", calls, { "lines", "records", "sends", "all" }, 0.1, counting.lacks("strace", "strace -o /dev/null true") },
}

local has_copas = pcall(require, "copas")

T.plan(#COUNTS[1][3] + #COUNTS[2][3] + 1)
for _, row in ipairs(COUNTS) do
  local what, count, kinds, slack, why = unpack(row, 1, 5)
  why = counting.refusal() or why
  for _, kind in ipairs(kinds) do
    local missing = why or kind == "turns" and not has_copas and "Copas is missing"
    if missing then
      T.skip(1, missing)
    else
      local real, face = each(count, "real", kind), each(count, "face", kind)
      T.ok(face <= real + slack, ("%s: %.4g %s, of LuaSocket %.4g"):format(kind, face, what, real))
    end
  end
end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
