-- proxy: both directions, their ends apart, resets, a server that is not there, long streams and slow readers.
local L = require "llsocket"
local example = require "example"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local T = require("tap").plan(20)
local before = leak.count()

local listener, target = net.listener(L.AF_INET)
local child, line = example.start("proxy", ("127.0.0.1 %d 0 2>&1"):format(target:port()))
local port = line:match "^listening on 127%.0%.0%.1:(%d+)$"
T.ok(port, "it says where it listens: " .. line)
local ai = net.addr(L.AF_INET, L.SOCK_STREAM, port)

-- A connection through the proxy: client, server.
local function through()
  local client = assert(L.socket.new(ai))
  assert(not client:connect())
  assert(listener:recvable(10))
  local server = assert(listener:accept())
  for _, sock in ipairs { client, server } do sock:rcvtimeo(10); sock:sndtimeo(10) end
  return client, server
end

local function receive(sock, size)
  local parts, n = {}, 0
  while n < size do
    local msg = sock:recv(65536)
    if not msg then break end
    parts[#parts + 1], n = msg, n + #msg
  end
  return table.concat(parts)
end

local client, server = through()
client:send "there"
T.is(server:recv(), "there", "the client's bytes arrive")
server:send "and back"
T.is(client:recv(), "and back", "and the other way")
client:shutdown(L.SHUT_WR)
T.is(select("#", server:recv()), 0, "the client's end arrives alone")
server:send "still talking"
T.is(client:recv(), "still talking", "the other direction stays open")
server:close()
T.is(select("#", client:recv()), 0, "until the server ends, too")
client:close()

client, server = through()
server:shutdown(L.SHUT_WR)
T.is(select("#", client:recv()), 0, "the server may end first")
client:send "still"
T.is(server:recv(), "still", "and the client goes on")
client:close()
T.is(select("#", server:recv()), 0, "until it ends")
server:close()

-- Resets; the proxy must have its connection before.
client, server = through()
server:send "x"
client:recv()
server:linger(0)
server:close()
T.is(select(4, client:recv()), L.ECONNRESET, "a reset by the server reaches the client")
client:close()
client, server = through()
client:send "x"
server:recv()
client:linger(0)
client:close()
T.is(select(4, server:recv()), L.ECONNRESET, "and one by the client the server")
server:close()

-- Streams longer than all buffers, both ways at once, to readers that begin late.
local LONG = ("0123456789abcdef"):rep(262144) -- 4 MiB
local function feed(sock, text)
  return proc.fork(function()
    while text ~= "" do text = text:sub(assert(sock:send(text)) + 1) end
  end)
end

client, server = through()
local there, back = feed(client, LONG), feed(server, LONG:reverse())
local other, its_server = through()
other:send "meanwhile"
T.is(its_server:recv(), "meanwhile", "a slow reader does not stop the others")
T.ok(receive(server, #LONG) == LONG, "4 MiB arrive whole")
T.ok(receive(client, #LONG) == LONG:reverse(), "and 4 MiB in the other direction")
T.ok(proc.wait(there) == 0 and proc.wait(back) == 0, "both were sent to the end")
client:close(); server:close(); other:close(); its_server:close()

-- Many.
local pairs_, right = {}, 0
for i = 1, 100 do
  local c, s = through()
  pairs_[i] = { c, s }
  c:send("client " .. i)
end
for i, one in ipairs(pairs_) do
  if one[2]:recv() ~= "client " .. i then break end
  right = right + 1
end
for _, one in ipairs(pairs_) do one[1]:close(); one[2]:close() end
T.is(right, 100, "a hundred connections are kept apart")

listener:close()
client = assert(L.socket.new(ai))
client:connect()
client:rcvtimeo(10)
T.is(select(4, client:recv()), L.ECONNRESET, "without a server the client is reset")
client:close()
T.is(example.stop(child), ("proxy: %s: Connection refused\n"):format(tostring(target)), "and the proxy says why")
local text, ok = example.run("proxy", "2>&1")
T.ok(not ok and text:find "^proxy: usage: ", "it tells how it is called")
T.is(leak.count(), before, "no descriptor is left")
T.done()
