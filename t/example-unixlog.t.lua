-- unixlog: each datagram is a line with time and sender; a stale path is taken over, a live one is not.
local L = require "llsocket"
local example = require "example"
local leak = require "leak"
local net = require "net"
local T = require("tap").plan(13)
local before = leak.count()

local dir = net.tmpdir()
local path = dir .. "/log"
local ai = assert(L.unix.getaddrinfo(path, L.SOCK_DGRAM))[1]

local function client(name)
  local own = L.unix.getaddrinfo(name, L.SOCK_DGRAM)[1]
  local sock = assert(L.socket.new(own))
  if name ~= "" then assert(not sock:bind()) end
  return sock
end

local function read(child)
  local line = child.pipe:read "*l" or "nothing"
  return (line:gsub("^%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d ", "TIME "))
end

local child, line = example.start("unixlog", path)
T.is(line, "listening on unix:" .. path, "it says where it listens")
local named, unnamed = client(dir .. "/me"), client ""
T.is(named:sendto("hello", ai), 5, "a datagram is taken")
T.is(read(child), "TIME " .. dir .. "/me hello", "it is a line with its time and its sender")
unnamed:sendto("who am I?\n", ai)
T.is(read(child), "TIME - who am I?", "a sender without a name is a dash")
unnamed:sendto("one\n1999-01-01 00:00:00 root forged\27[31m", ai)
T.is(read(child), "TIME - one?1999-01-01 00:00:00 root forged?[31m", "no message makes a second line")
unnamed:sendto("", ai)
T.is(read(child), "TIME - ", "an empty message is a line, too")
local long = ("x"):rep(60000)
unnamed:sendto(long, ai)
T.ok(read(child) == "TIME - " .. long, "a long message is kept whole")

local text, ok = example.run("unixlog", path)
T.ok(not ok and text:find "^unixlog: .*in use", "a second logger at the same path is refused: " .. text:sub(1, -2))
unnamed:sendto("still here", ai)
T.is(read(child), "TIME - still here", "and the first goes on")
example.stop(child)

child, line = example.start("unixlog", path .. " " .. dir .. "/file")
T.is(line, "listening on unix:" .. path, "the path of a logger that died is taken over")
unnamed:sendto("to a file", ai)
local file, written = io.open(dir .. "/file"), nil
for _ = 1, 500 do
  file:seek "set"
  written = file:read "*a"
  if written ~= "" then break end
  named:recvable(0.01) -- nothing comes there: a pause
end
file:close()
T.ok(written:find "^%S+ %S+ %- to a file\n$", "it can write to a file")
example.stop(child)

named:close()
unnamed:close()
T.ok(not select(2, example.run "unixlog"), "without a path it does not start")
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
