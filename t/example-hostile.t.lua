-- hostile: what the examples' servers do after a flood, failing accepts, slow readers, resets, crooked requests and forged
-- senders: they serve the next client.
local L = require "llsocket"
local example = require "example"
local leak = require "leak"
local missing = require "missing"
local net = require "net"
local netns = require "netns"
local proc = require "proc"
local shell = require "shell"
local sys = require "sys"

local LOOPS = { "coroutine" }
for _, name in ipairs { "luv", "cqueues", "copas" } do
  if pcall(require, name) then LOOPS[#LOOPS + 1] = name end
end
require("loops").settle() -- what a loop opens for good is counted

local FLOOD, RESETS, SLOW, FEW = 100, 1000, 20, 64 -- clients; clients; clients; descriptors of a server
local before = leak.count()
local dir = net.tmpdir()

local function write(name, text)
  local file = assert(io.open(dir .. "/" .. name, "wb"))
  file:write(text)
  file:close()
end
write("index.html", "hello")
write("big.bin", ("x"):rep(2^23))

-- By name: the program and its arguments; what a client says, and what comes back; what makes it send much.
local ECHO = { say = "hello", back = "hello", much = ("x"):rep(2^18) }
local SERVERS, backend = {}, nil

local function server(name, program, args, talk)
  SERVERS[#SERVERS + 1] = { name = name, program = program, args = args, talk = talk or ECHO }
end
server("echoserver", "echoserver", "0 5")
if not missing.sendfile then
  server("fileserver", "fileserver", shell.format("%q 0 3", dir), {
    say = "GET / HTTP/1.0\r\n\r\n", back = "HTTP/1%.1 200 OK.*\r\n\r\nhello", much = "GET /big.bin HTTP/1.0\r\n\r\n",
  })
end
server("handover", "handover", shell.format("%q 0 hello", dir .. "/path"), { say = "you", back = "hello you", much = ECHO.much })
server("proxy", "proxy", function() return ("127.0.0.1 %d 0"):format(backend) end)
for _, loop in ipairs(LOOPS) do server("loops " .. loop, "loops", loop .. " 0") end

local ERRORS = { "EPROTO", "ENOBUFS", "EPERM", "EMFILE" }
local CROOKED = {
  LF = "a\nb: c", CR = "a\rb", NUL = "a\0b", ["a request behind LF"] = "a\n\nGET /big.bin HTTP/1.1\r\nHost: x",
}
local T = require("tap").plan(#SERVERS * 4 + #ERRORS - 1 + 4 + 3 + 1)

local function start(one, under)
  local args = type(one.args) == "function" and one.args() or one.args
  local child, line = example.start(one.program, args .. " 2>&1", under)
  local port = line:match "on [%d.]+:(%d+)$"
  if not port then error(one.name .. ": " .. line .. example.stop(child)) end
  return child, net.addr(L.AF_INET, L.SOCK_STREAM, port)
end

local function dial(ai)
  local sock = assert(L.socket.new(ai, true))
  sock:connect()
  return sock
end

-- Whether a client is served, within some seconds: the first may come while the server still recovers.
local function is_served(ai, talk)
  local stop = sys.clock() + 8
  repeat
    local sock, text = dial(ai), ""
    if sock:sendable(2) and sock:send(talk.say) then
      while not text:find(talk.back) and sock:recvable(2) do
        local msg = sock:recv(65536)
        if not msg then break end
        text = text .. msg
      end
    end
    sock:linger(0)
    sock:close()
    if text:find(talk.back) then return true end
  until sys.clock() > stop
end

local ATTACKS = {}

function ATTACKS.flood(ai, talk)
  local socks = {}
  for i = 1, FLOOD do
    socks[i] = dial(ai)
    if i % 2 == 0 and socks[i]:sendable(0.05) then socks[i]:send(talk.say) end
  end
  socks[1]:recvable(0.2)
  for _, sock in ipairs(socks) do sock:close() end
end

function ATTACKS.readers(ai, talk)
  local socks = {}
  for i = 1, SLOW do
    local sock = dial(ai)
    if sock:sendable(1) then sock:send(talk.much) end
    socks[i] = sock
  end
  socks[1]:recvable(0.1)
  return socks
end

function ATTACKS.resets(ai, talk)
  for i = 1, RESETS do
    local sock = dial(ai)
    if i % 2 == 0 then sock:send(talk.say) end
    sock:linger(0)
    sock:close()
  end
end

local function is_whole(said) return not said:find "traceback" and not said:find "attempt to" end

local function attack(one, how, few, name)
  local usual = few and sys.limit_descriptors(FEW)
  local child, ai = start(one)
  if usual then sys.limit_descriptors(usual) end
  local socks = ATTACKS[how](ai, one.talk)
  local served = is_served(ai, one.talk)
  for _, sock in ipairs(socks or {}) do sock:close() end
  local said = example.stop(child)
  if not T.ok(served and is_whole(said), ("%s serves after %s"):format(one.name, name)) then print("# " .. said:sub(1, 600)) end
end

-- strace(1) may be missing, or not allowed to trace.
local function no_strace()
  if not example.has "strace" then return "there is no strace" end
  if not select(2, proc.run "strace -qq -D -o /dev/null true") then return "strace may not trace here" end
end

-- Its first accepts fail.  -D: the server is the process that is ended, not strace.
local function failing(one, name, why)
  if why then return T.skip(1, why) end
  local under = ("strace -D -f -qq -o /dev/null -e trace=accept4 -e inject=accept4:error=%s:when=1..3"):format(name)
  local child, ai = start(one, under)
  local served = is_served(ai, one.talk)
  local said = example.stop(child)
  if not T.ok(served and is_whole(said), ("%s serves after accept has failed with %s"):format(one.name, name)) then
    print("# " .. said:sub(1, 600))
  end
end

local behind, target = start(SERVERS[1])
backend = target:port()
local why = no_strace()
for _, one in ipairs(SERVERS) do
  attack(one, "flood", true, ("%d clients at once, with %d descriptors"):format(FLOOD, FEW))
  attack(one, "readers", false, ("%d clients that never read, beside them"):format(SLOW))
  attack(one, "resets", false, ("%d resets"):format(RESETS))
  failing(one, "EPROTO", why)
end
example.stop(behind)

-- Crooked requests.
local function drain(sock)
  local text = ""
  while sock:recvable(5) do
    local msg, _, again = sock:recv(65536)
    if not (msg or again) then break end
    text = text .. (msg or "")
  end
  return text
end

local files = SERVERS[2].name == "fileserver" and SERVERS[2]
if files then
  for i = 2, #ERRORS do failing(files, ERRORS[i], why) end
  local child, ai = start(files)
  for name, value in pairs(CROOKED) do
    local sock = dial(ai)
    assert(sock:sendable(5))
    sock:send("GET / HTTP/1.1\r\nHost: x\r\nX-Field: " .. value .. "\r\n\r\n")
    local text = drain(sock)
    local _, answers = text:gsub("HTTP/1%.1 ", "")
    T.is(("%s %d"):format(text:match "^HTTP/1.1 (%d+)", answers), "400 1", "fileserver: one 400 answers a field with " .. name)
    sock:close()
  end
  example.stop(child)
else T.skip(#ERRORS - 1 + 4, missing.sendfile) end

-- Forged senders: a packet is made by hand, in a network of this process's own.
local function packet(from, to, data)
  local function word(n) return string.char(math.floor(n / 256), n % 256) end
  local udp = word(from) .. word(to) .. word(8 + #data) .. word(0) .. data
  return "\x45\0" .. word(20 + #udp) .. "\0\0\0\0\x40\x11\0\0" .. "\127\0\0\1\127\0\0\1" .. udp
end

local function raw_socket()
  local bytes = net.addr(L.AF_INET, L.SOCK_DGRAM):bytes()
  return assert(L.socket.new(assert(L.addrinfo.new(bytes, L.SOCK_RAW, L.IPPROTO_RAW))))
end

local function forge(raw, from, to)
  local ai = net.addr(L.AF_INET, L.SOCK_DGRAM, 0)
  assert(raw:sendto(packet(from, to, "storm"), ai))
end

local function lines(said) return select(2, said:gsub("\n", "")) end

local function forged(name, other)
  local child, line = example.start(name, "0 127.0.0.1 2>&1")
  local port = tonumber(line:match ":(%d+)$")
  local raw = raw_socket()
  local sock, ours = net.bound(L.AF_INET, L.SOCK_DGRAM)
  sock:nonblock(true)
  for _, from in ipairs { port, 7, 53, other } do forge(raw, from, port) end
  sock:sendto("hello", net.addr(L.AF_INET, L.SOCK_DGRAM, port))
  local answered = sock:recvable(5) and sock:recv()
  raw:close(); sock:close()
  local said = example.stop(child)
  if not T.ok(answered == "hello" and lines(said) < 10, name .. " answers no forged sender, itself or a server") then
    print(("# %s, %d lines, %s: %s"):format(answered, lines(said), tostring(ours), said:sub(1, 600)))
  end
end

-- Two servers that one datagram sets upon each other.
local function set_upon()
  local one = example.start("udpecho", "7777 127.0.0.1 2>&1")
  local two = example.start("pktinfo", "7778 127.0.0.1 2>&1")
  local raw = raw_socket()
  forge(raw, 7778, 7777)
  raw:recvable(0.3)
  raw:close()
  local said = example.stop(one) .. example.stop(two)
  T.ok(lines(said) < 5, "udpecho and pktinfo are not set upon each other")
end

local entered, reason = netns.enter()
if entered then
  netns.ip "link set lo up"
  forged("udpecho", 7778)
  forged("pktinfo", 7777)
  set_upon()
else T.skip(3, reason) end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
