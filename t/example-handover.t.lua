-- handover: the server is replaced twice while clients connect; no client is refused, reset or answered wrongly.
local L = require "llsocket"
local example = require "example"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local T = require("tap").plan(20)
local before = leak.count()

local CLIENTS = 4
local path = net.tmpdir() .. "/control"

local function start(word, port) return example.start("handover", ("'%s' %s %s"):format(path, port or 0, word)) end

local function dial(ai)
  local sock = assert(L.socket.new(ai))
  local err = sock:connect()
  sock:rcvtimeo(10)
  return sock, err
end

-- Sends a line; answers who answered it, or what went wrong.
local function ask(sock, line)
  sock:send(line)
  local msg, err = sock:recv()
  if not msg then return nil, err or "closed" end
  local word, rest = msg:match "^(%l+) (.*)$"
  if rest ~= line then return nil, "answered " .. msg end
  return word
end

local function once(ai, line)
  local sock, err = dial(ai)
  local word
  if not err then word, err = ask(sock, line) end
  sock:close()
  return word, err
end

-- One client after the other, until the test shuts its end down.  Tells each server's first answer; in the end how many each
-- server answered, and the failures.
local function keep_coming(ai, report)
  local counts, failures, n = {}, {}, 0
  repeat
    n = n + 1
    local word, err = once(ai, "line " .. n)
    if word then counts[word] = (counts[word] or 0) + 1 else failures[#failures + 1] = err end
    if word and counts[word] == 1 then report:send(word) end
  until report:recvable(0.001)
  report:send(("%d %d %d %d %s"):format(n, counts.one or 0, counts.two or 0, counts.three or 0, table.concat(failures, ";")))
end

local function fork_client(ai)
  local ours, theirs = net.pair(L.SOCK_SEQPACKET)
  local pid = proc.fork(function()
    ours:close()
    keep_coming(ai, theirs)
  end)
  theirs:close()
  ours:rcvtimeo(20)
  return { pid = pid, sock = ours }
end

-- Waits until each client had an answer of that server.
local function await_answers(clients, word)
  for _, client in ipairs(clients) do assert(client.sock:recv() == word) end
end

local function finish(client)
  client.sock:shutdown(L.SHUT_WR)
  local text = client.sock:recv() or "0 0 0 0 no report"
  client.sock:close()
  proc.wait(client.pid)
  local n, one, two, three, failures = text:match "^(%d+) (%d+) (%d+) (%d+) (.*)$"
  return { n = tonumber(n), one = tonumber(one), two = tonumber(two), three = tonumber(three), failures = failures }
end

-- Who answers a hundred clients, one after the other: "two", or also others or failures.
local function answers(ai)
  local seen, out = {}, {}
  for i = 1, 100 do
    local word, err = once(ai, "client " .. i)
    seen[word or err] = true
  end
  for what in pairs(seen) do out[#out + 1] = what end
  return table.concat(out, ", ")
end

local one, line = start "one"
local port = line:match "^listening on 127%.0%.0%.1:(%d+)$"
T.ok(port, "it says where it listens: " .. line)
local ai = net.addr(L.AF_INET, L.SOCK_STREAM, port)
local long = dial(ai)
T.is(ask(long, "hello"), "one", "the first server answers")

local clients = {}
for i = 1, CLIENTS do clients[i] = fork_client(ai) end
await_answers(clients, "one")
local two
two, line = start("two", 0)
T.is(line, "took over 127.0.0.1:" .. port, "a second one takes the socket over")
T.is(answers(ai), "two", "and from then on it alone answers new clients")
await_answers(clients, "two")
T.is(ask(long, "still there?"), "one", "a client of the first is still served by the first")
local three
three, line = start("three", 0)
T.is(line, "took over 127.0.0.1:" .. port, "a third one takes it over from the second")
T.is(answers(ai), "three", "and from then on it alone answers new clients")
await_answers(clients, "three")

local sum = { n = 0, one = 0, two = 0, three = 0 }
for _, client in ipairs(clients) do
  local told = finish(client)
  T.is(told.failures, "", "none of these clients was refused, reset or answered wrongly")
  for k, v in pairs(sum) do sum[k] = v + told[k] end
end
T.is(sum.one + sum.two + sum.three, sum.n, "each was answered once")
T.ok(sum.one > 0 and sum.two > 0 and sum.three > 0, ("by all three: %d, %d, %d"):format(sum.one, sum.two, sum.three))

T.is(ask(long, "and now?"), "one", "the long client is still served by the first, after both")
local rest = two.pipe:read "*a"
T.ok(rest:find "^gave it away, %d+ clients left\n$", "the second has no client left and has ended: " .. rest:sub(1, -2))
two.pipe:close()
long:close()
rest = one.pipe:read "*a"
T.ok(rest:find "^gave it away, [1-9]%d* clients left\n$", "the first ends when its last client has gone: " .. rest:sub(1, -2))
one.pipe:close()

-- A successor that dies half-way leaves the old one in its place.
local half = assert(L.socket.new(L.unix.getaddrinfo(path)[1]))
half:connect()
half:recvfd():close()
half:close()
T.is(answers(ai), "three", "a successor that dies half-way changes nothing")
T.is(example.stop(three), "", "nor is anything given away")

-- What died without ado leaves its path behind.
local four
four, line = start "four"
T.ok(line:find "^listening on ", "the path of one that was killed is used again")
example.stop(four)
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
