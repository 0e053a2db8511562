-- poll-connections: 10,000 connections at once between two processes, three rounds of echo, and then nothing is left.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local sys = require "sys"
local T = require("tap").plan(12)
local poll = L.poll

local WANTED, ROUNDS, SPARE = 10000, 3, 100
local NUMBERS = WANTED + SPARE

local function memory()
  collectgarbage(); collectgarbage()
  return collectgarbage "count"
end

-- As many as the machine allows; a smaller number is told as a skip.
local limit = sys.limit_descriptors(NUMBERS)
local connections = limit and WANTED or 500
local before = leak.count(NUMBERS)

local function accept_all(p, listener)
  local n = 0
  while true do
    local sock, err, again = listener:accept()
    if not sock then return assert(again, err) and n end
    assert(p:add(sock, "r"))
    n = n + 1
  end
end

-- Answers -1 when the connection has ended.  Most are reset, so that not all ports of this machine wait for a minute.
local function echo(sock)
  local msg, err, again, errno = sock:recv(64)
  if msg then
    assert(sock:send(msg) == #msg)
  elseif not again then
    assert(not err or errno == L.ECONNRESET, err)
    assert(not sock:close())
    return -1
  end
  return 0
end

-- Serves until all have come and gone; answers how many there were at once.
local function serve(listener)
  local p, open, most = assert(poll.new()), 0, 0
  assert(p:add(listener, "r"))
  repeat
    assert(assert(p:wait(60)) > 0, "the client is silent")
    for _, sock in p:events() do
      open = open + (sock == listener and accept_all(p, listener) or echo(sock))
      most = math.max(most, open)
    end
  until open == 0 and most == connections
  p:close()
  return most
end

-- In the child: the exit status tells what went wrong.
local function server(listener)
  local used, kilobytes = leak.count(NUMBERS), memory()
  if serve(listener) ~= connections then return 2 end
  if leak.count(NUMBERS) ~= used then return 3 end
  local more = memory() - kilobytes
  if more > 1024 then return 4 end
  return 0
end

-- Connects without blocking, a thousand at a time, for the backlog.
local function connect(p, ai)
  local socks, ready = {}, 0
  while #socks < connections do
    for _ = 1, math.min(1000, connections - #socks) do
      local sock = assert(L.socket.new(ai, true))
      local err, again = sock:connect()
      assert(again or not err, err)
      socks[#socks + 1] = sock
      assert(p:add(sock, "wo", #socks))
    end
    while ready < #socks do ready = ready + assert(p:wait(60)) end
  end
  local refused = 0
  for _, sock in ipairs(socks) do
    refused = refused + (sock:error() == 0 and 0 or 1)
    assert(p:modify(sock, "r"))
  end
  return socks, refused
end

local function word(i, round) return ("%05d/%d "):format(i, round):rep(4) end

-- One round: all send, and each gets its own bytes back.
local function exchange(p, socks, round)
  local right, left, got = 0, #socks, {}
  for i, sock in ipairs(socks) do assert(sock:send(word(i, round)) == 32) end
  while left > 0 do
    assert(assert(p:wait(60)) > 0, "the server is silent")
    for _, i in p:events() do
      got[i] = (got[i] or "") .. assert(socks[i]:recv(64))
      if #got[i] >= 32 then left = left - 1 end
    end
  end
  for i = 1, #socks do right = right + (got[i] == word(i, round) and 1 or 0) end
  return right
end

local function client(ai)
  local p = assert(poll.new())
  local socks, refused = connect(p, ai)
  T.is(refused, 0, connections .. " connections are made without blocking")
  T.is(leak.count(NUMBERS), before + connections + 2 + 1, "all are open at once") -- the poller's two, the listener
  for round = 1, ROUNDS do
    T.is(exchange(p, socks, round), connections, ("round %d: each gets its own bytes back"):format(round))
  end
  for i, sock in ipairs(socks) do
    if i > 100 then sock:linger(0) end
    assert(not sock:close())
  end
  T.is(p:wait(0), 0, "closed sockets are not reported")
  p:close()
end

if connections == WANTED then
  T.ok(true, "the process may have enough descriptors")
else
  T.skip(1, ("10,000 connections want %d descriptors, of which the hard limit is short"):format(NUMBERS))
end

local kilobytes = memory()
local listener, ai = net.listener(L.AF_INET, true)
assert(not listener:listen(4096)) -- the kernel's limit: SOMAXCONN is 128 with musl, and who comes to a full queue waits
local start = sys.clock()
local child = proc.fork(server, listener)
client(ai)
local status = proc.wait(child)
print(("# %.2f s"):format(sys.clock() - start))
T.is(status, 0, "the server served all at once; its descriptors and its memory are as before")
T.ok(listener:fd() >= 0 and not listener:close(), "the listener closes last")
local more = memory() - kilobytes
T.ok(more < 1024, ("the client's memory is as before: %.0f KiB more"):format(more))
T.is(leak.count(NUMBERS), before, "no descriptor is left")
if limit then sys.limit_descriptors(limit) end
T.is(leak.count(), before, "none at all")
T.done()
