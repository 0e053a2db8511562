-- peers: hostile peers, set upon the examples' servers, every loop, and every way to receive.
--
-- One process of each server suffers all attacks, in an order of chance.  After each it must serve a good client, have its
-- descriptors back, not spin, and not have grown much; during each it must serve one, too, if it has descriptors for it.
local L = require "llsocket"
local askers = require "askers"
local attacks = require "attacks"
local example = require "example"
local inside = require "inside"
local hostile = require "hostile"
local leak = require "leak"
local loops = require "loops"
local missing = require "missing"
local net = require "net"
local netns = require "netns"
local proc = require "proc"
local shell = require "shell"
local sys = require "sys"
local torture = require "torture"

local GROWTH = 64 * 2 ^ 20 -- bytes
local PATIENCE = 8 -- seconds: until a good client is served, and until descriptors are back

loops.settle() -- what libuv opens for good is counted
local before = leak.count() - 2 -- attacks.pause has two
local dir = net.tmpdir()
local entered, why_not = netns.enter()
if entered then netns.ip "link set lo up" end
local usual = sys.limit_descriptors(4096)

local function write(name, text)
  local file = assert(io.open(dir .. "/" .. name, "wb"))
  file:write(text)
  file:close()
end
write("index.html", "hello")
write("big.bin", ("x"):rep(2 ^ 23))

-- What is seen of a process ------------------------------------------------------------------------------------

local function descriptors(pid)
  return tonumber((proc.run(("ls /proc/%d/fd | wc -l"):format(pid))))
end

local function is_alive(pid) return proc.kill(pid, 0) == 0 end

local function read(path)
  local file = io.open(path)
  local text = file and file:read "*a" or ""
  if file then file:close() end
  return text
end

local function resident(pid) return 4096 * (tonumber(read(("/proc/%d/statm"):format(pid)):match "^%d+ (%d+)") or 0) end

-- Hundredths of a second of the processor, so far.
local function ticks(pid)
  local user, system = read(("/proc/%d/stat"):format(pid)):match("^.*%)" .. (" %S+"):rep(11) .. " (%d+) (%d+)")
  return (tonumber(user) or 0) + (tonumber(system) or 0)
end

-- Servers --------------------------------------------------------------------------------------------------------
-- say: what a client sends; back: what comes back, a pattern; much: what makes the server send much.

local ECHO = { say = "hello", back = "hello", much = ("x"):rep(2 ^ 16) }
local HTTP = {
  say = "GET / HTTP/1.0\r\n\r\n", back = "HTTP/1%.1 200 OK.*\r\n\r\nhello", much = "GET /big.bin HTTP/1.0\r\n\r\n",
}
local SERVERS = {}

local ONLY = os.getenv "LLSOCKET_TORTURE_ONLY" or ""

local function server(name, kind, path, args, talk)
  if not name:find(ONLY) then return {} end
  SERVERS[#SERVERS + 1] = { name = name, kind = kind, path = path, args = args, talk = talk or ECHO }
  return SERVERS[#SERVERS]
end

local VILLAIN = os.getenv "LLSOCKET_SOURCE" .. "/t/torture/villain.lua"

local function example_of(name) return example.dir .. name .. ".lua" end

server("echoserver", "tcp", example_of "echoserver", "0 60")
if not missing.sendfile then
  server("fileserver", "tcp", example_of "fileserver", shell.format("%q 0 60", dir), HTTP)
end
server("handover", "tcp", example_of "handover", shell.format("%q 0 hello", dir .. "/handover"), {
  say = "you", back = "hello you", much = ECHO.much })
server("proxy", "tcp", example_of "proxy").behind = example_of "echoserver"
server("proxy before a villain", "tcp", example_of "proxy").behind = VILLAIN
for _, loop in ipairs { "coroutine", "luv", "cqueues", "copas" } do
  if loop == "coroutine" or pcall(require, loop) then server("loops " .. loop, "tcp", example_of "loops", loop .. " 0") end
end
local VICTIM = os.getenv "LLSOCKET_SOURCE" .. "/t/torture/victim.lua"
local function victim(kind, way)
  local name = kind .. " " .. way
  local path = (kind == "unix" or kind == "dgram") and dir .. "/" .. name:gsub(" ", "-") or nil
  server(name, kind, VICTIM, name .. (path and " " .. shell.quote(path) or "")).socket = path
end
for _, way in ipairs { "recv", "recvfrom", "recvinto", "recvmsg", "plain", "readv", "recvbatch" } do
  victim("tcp", way)
  if way ~= "recvbatch" then victim("unix", way) end
end
if not missing.splice then victim("tcp", "splice") end
victim("tcp", "stream"); victim("unix", "stream"); victim("tcp", "luasocket")
if L.MSG_ERRQUEUE then victim("udp", "errors") end
for _, way in ipairs { "recvfrom", "recvmsg", "plain", "recvbatch" } do
  victim("udp", way)
  if way ~= "recvbatch" then victim("dgram", way) end
end
for _, name in ipairs { "udpecho", "pktinfo" } do
  server(name, "udp", example_of(name), "0 127.0.0.1").knows_itself = true
end
server("unixlog", "log", example_of "unixlog", shell.format("%q %q", dir .. "/unixlog", dir .. "/log")).socket = dir .. "/unixlog"

-- nginx with a client of the library inside, which asks a server behind it.
local no_nginx = inside.missing()
for _, face in ipairs(no_nginx and {} or inside.FACES) do
  for _, behind in ipairs { example_of "echoserver", VILLAIN } do
    local name = ("nginx, %s%s"):format(face, behind == VILLAIN and ", before a villain" or "")
    local one = server(name, "tcp", nil, face, HTTP)
    one.behind, one.is_nginx = behind, true
  end
end

if not (no_nginx or missing.sendfile) then
  local one = server("nginx, examples/openresty", "tcp", nil, shell.format("%q 0 60", dir), HTTP)
  one.behind, one.is_nginx, one.keeps = example_of "fileserver", "example", 20 -- connections to its upstream
end

local SOCKTYPE = { tcp = L.SOCK_STREAM, unix = L.SOCK_STREAM, udp = L.SOCK_DGRAM, dgram = L.SOCK_DGRAM, log = L.SOCK_DGRAM }

-- What it prints goes to a file: nobody reads a pipe meanwhile.
local function start(one, args)
  os.remove(one.socket or "")
  local out = dir .. "/out"
  local under = ("sh -c %s sh"):format(shell.quote(("ulimit -n %d; \"$@\" >%s 2>&1 & echo $!; wait"):format(attacks.LIMIT, out)))
  os.remove(out)
  local pipe = io.popen(under .. " " .. example.command(one.path, args or one.args))
  one.pipe, one.pid = pipe, tonumber(pipe:read "*l")
  local line = net.await(function()
    local text = read(out)
    return text:find "\n" and text:match "^[^\n]*" or not is_alive(one.pid) and "it ends: " .. text
  end)
  local port = line:match ":(%d+)$"
  if one.socket then one.ai = assert(L.unix.getaddrinfo(one.socket, SOCKTYPE[one.kind]))[1]
  elseif port then one.ai = net.addr(L.AF_INET, SOCKTYPE[one.kind], port)
  else error(one.name .. ": " .. line) end
  one.out = out
end

local function stop(one)
  proc.kill(one.pid, proc.SIGKILL)
  one.pipe:close()
end

local function start_nginx(one, port)
  local is_example = one.is_nginx == "example"
  local running = is_example and inside.start_example(port, attacks.LIMIT) or inside.start(one.args, port, attacks.LIMIT)
  one.pipe, one.pid, one.ai, one.out = running.pipe, running.pid, net.addr(L.AF_INET, L.SOCK_STREAM, running.port), running.out
end

-- Good clients --------------------------------------------------------------------------------------------------

-- A client that is served as it should be; UDP loses messages under a flood.
local function ask(one)
  local sock, text = attacks.dial(one), ""
  if sock:sendable(1) and sock:send(one.talk.say) then
    while not text:find(one.talk.back) and sock:recvable(1) do
      local msg = sock:recv(65536)
      if not msg then break end
      text = text .. msg
    end
  end
  sock:close()
  return text:find(one.talk.back) ~= nil
end

local count = 0

local function is_logged(one)
  count = count + 1
  local word = "word" .. count
  local sock = attacks.dial(one)
  local sent = sock:sendable(1) and sock:send(word)
  sock:close()
  local stop_at = sys.clock() + 1
  repeat
    if read(dir .. "/log"):find(word, 1, true) then return true end
    attacks.pause(0.02)
  until not sent or sys.clock() > stop_at
end

local function is_served(one)
  local stop_at = sys.clock() + PATIENCE
  repeat
    if one.kind == "log" and is_logged(one) or one.kind ~= "log" and ask(one) then return true end
  until sys.clock() > stop_at
end

-- Judgement --------------------------------------------------------------------------------------------------------

local function has_back(one)
  local stop_at, n = sys.clock() + PATIENCE
  repeat
    n = descriptors(one.pid)
    if n <= one.descriptors + (one.keeps or 0) then return true end
    is_served(one) -- what was received for the last one goes with the next
    attacks.pause(0.05)
  until sys.clock() > stop_at
  return false, n
end

local function share_of_processor(pid)
  local was, start_at = ticks(pid), sys.clock()
  attacks.pause(0.3)
  return (ticks(pid) - was) / 100 / (sys.clock() - start_at)
end

local function after(one)
  if not is_alive(one.pid) then return "it has ended: " .. read(one.out):sub(-1000) end
  if not is_served(one) then return "it serves nobody afterwards" end
  local back, n = has_back(one)
  if not back then return ("%d descriptors are left, it had %d"):format(n, one.descriptors) end
  local busy, grown = share_of_processor(one.pid), resident(one.pid) - one.resident
  if busy > 0.5 then return ("it spins: %.2f of a processor"):format(busy) end
  if grown > GROWTH then return ("it has grown by %d MiB"):format(grown / 2 ^ 20) end
  if read(one.out):find "traceback" then return "it says: " .. read(one.out):sub(-2000) end
end

-- Answers that a peer leaves unread in its unix datagram socket count against the capacity of the socket that sent them, so
-- that nobody else is answered meanwhile: that is the kernel's way.
local function attack(one, what)
  local socks = what.fn(one)
  local served = not socks or one.kind == "dgram" or is_served(one)
  for _, sock in ipairs(socks or {}) do sock:close() end
  local fault = after(one)
  if not served then fault = "it serves nobody meanwhile" .. (fault and "; " .. fault or "") end
  return fault
end

-- Starts it, and what it wants behind it.
local function start_all(one)
  if not one.behind then return start(one) end
  local behind = { name = "behind " .. one.name, kind = "tcp", path = one.behind, talk = ECHO }
  start(behind, one.is_nginx == "example" and one.args or "0 60")
  if one.is_nginx then
    start_nginx(one, behind.ai:port())
  else
    start(one, ("127.0.0.1 %d 0"):format(behind.ai:port()))
  end
  return behind
end

local function torment(one)
  local behind = start_all(one)
  local faults = {}
  if not is_served(one) then faults[1] = "it serves nobody at first" end
  attacks.pause(0.1)
  one.descriptors, one.resident = descriptors(one.pid), resident(one.pid)
  for _, what in ipairs(torture.shuffle(attacks.on(one, entered))) do
    if torture.is_time_up() and one.attacks then break end
    one.attacks = (one.attacks or 0) + 1
    local fault = #faults == 0 and attack(one, what)
    if fault then faults[1] = ("%s: %s"):format(what.title, fault) end
  end
  stop(one)
  if behind then stop(behind) end
  return faults[1]
end

-- Clients ----------------------------------------------------------------------------------------------------------

local CLIENTS, asked, total = {}, 0, 0
for _, name in ipairs(ONLY == "" and { "coroutine", "luv", "cqueues", "copas" } or {}) do
  if name == "coroutine" or pcall(require, name) then CLIENTS[#CLIENTS + 1] = name end
end

local ROUNDS = 3

-- Lets the clients of each face ask all hostile servers, each several times at once.
local function ask_all(name)
  local loop, ports, stop_servers = loops.open(name), hostile.start()
  local fault
  L.wait.set(name ~= "coroutine" and loop.wait or nil)
  for _, face in ipairs(askers.FACES) do
    for _, case in ipairs(hostile.cases(ports, face)) do
      for _ = 1, ROUNDS do
        loop.spawn(function()
          local said = hostile.judge(case.client, case.port, case.is_good)
          fault = fault or said and case.title .. ": " .. said
        end)
        asked = asked + 1
      end
    end
  end
  loop.run()
  L.wait.set()
  stop_servers()
  return fault
end

local T = require("tap").plan(#SERVERS + #CLIENTS + 1)
torture.announce()
if not entered then print("# without forged and vanishing peers: " .. why_not) end
if no_nginx then print("# without nginx: " .. no_nginx) end
for _, name in ipairs(torture.shuffle(CLIENTS)) do
  local title = ("clients in the loop of %s survive %d kinds of hostile servers"):format(name, #hostile.WAYS + 1)
  if torture.seconds and torture.elapsed() > torture.seconds / 9 then
    T.skip(1, title .. ": not in this share")
  else
    T.is(ask_all(name), nil, title)
  end
end
for _, one in ipairs(torture.shuffle(SERVERS)) do
  if torture.is_time_up() then
    T.skip(1, one.name .. ": not in this share")
  else
    local fault = torment(one)
    total = total + (one.attacks or 0)
    local title = ("%s survives %d kinds of hostile peers"):format(one.name, one.attacks or 0)
    if not T.ok(not fault, title) then print("# " .. fault:gsub("\n", "\n# ")) end
  end
end
attacks.close()
net.cleanup()
print(("# %d attacks, %d requests to hostile servers, %d s"):format(total, asked, torture.elapsed()))
if usual then sys.limit_descriptors(usual) end
T.is(leak.count(), before, "no descriptor is left")
T.done()
