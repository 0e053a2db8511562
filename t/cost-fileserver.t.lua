-- cost-fileserver: how many system calls the file server makes for a small file on a connection that is kept.
local L = require "llsocket"
local emulator = require "emulator"
local example = require "example"
local leak = require "leak"
local missing = require "missing"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local before = leak.count()
local T = require("tap").plan(3)

local dir, ROUNDS, MOST = net.tmpdir(), 100, 8 -- seven with glibc: nginx needs as many
local log = dir .. "/log"
local BODY = ("x"):rep(4096)

local function reason_not_to()
  if missing.sendfile then return missing.sendfile end
  if emulator.calls then return emulator.calls end
  if not L.EPOLLIN then return "no epoll on this system" end
  if not example.has "strace" then return "no strace on this machine" end
  local said, traces = proc.run "strace -D -o /dev/null true"
  if not traces then return "strace may not trace here: " .. said:gsub("\n", " ") end
end

-- Asks for a name; answers the whole answer, of which `length` bytes are the body.
local function ask(sock, name)
  sock:send(("GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"):format(name))
  local text = ""
  repeat
    text = text .. assert(sock:recv(65536))
    local length = text:match "Content%-Length: (%d+)"
    local _, last = text:find("\r\n\r\n", 1, true)
  until last and length and #text == last + tonumber(length)
  return text
end

-- The lines of the log, once the server has ended.
local function traced()
  for _ = 1, 200 do
    local file = assert(io.open(log))
    local text = file:read "*a"
    file:close()
    if text:find "%+%+%+ [^\n]*\n$" then return text end
    proc.run "sleep 0.05"
  end
  return ""
end

local MEMORY = { mmap = true, munmap = true, mremap = true, mprotect = true, brk = true, madvise = true }

-- Calls between the opening of two names that do not exist: how many a round, and as text.
local function calls()
  local counts, list, total, inside = {}, {}, 0, false
  for line in traced():gmatch "[^\n]+" do
    local name = line:match "^([%w_]+)%("
    if line:find "/begin%.txt" then inside = true elseif line:find "/end%.txt" then inside = false
    elseif inside and name and not MEMORY[name] then counts[name] = (counts[name] or 0) + 1 end
  end
  for name, n in pairs(counts) do
    list[#list + 1], total = ("%s %.2f"):format(name, n / ROUNDS), total + n / ROUNDS
  end
  table.sort(list)
  return total, table.concat(list, ", ")
end

local why = reason_not_to()
if why then T.skip(2, why) else
  local file = assert(io.open(dir .. "/small.txt", "wb"))
  file:write(BODY)
  file:close()
  local child, line = example.start("fileserver", shell.format("%q 0", dir), shell.format("strace -D -o %q", log))
  local sock = assert(L.socket.new(net.addr(L.AF_INET, L.SOCK_STREAM, line:match ":(%d+)$")))
  assert(not sock:connect())
  sock:rcvtimeo(30)
  local right = 0
  ask(sock, "small.txt")
  ask(sock, "begin.txt")
  for _ = 1, ROUNDS do
    if ask(sock, "small.txt"):sub(-4096) == BODY then right = right + 1 end
  end
  ask(sock, "end.txt")
  sock:close()
  example.stop(child)
  T.is(right, ROUNDS, "a file of 4 KiB arrives whole, a hundred times on one connection")
  local total, list = calls()
  T.ok(total > 1 and total <= MOST, ("each takes at most %d system calls: %s"):format(MOST, list))
end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
