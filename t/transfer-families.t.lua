-- transfer-families: every kind of socket with every kind of address, blocking and non-blocking.
local L = require "llsocket"
local net = require "net"
local leak = require "leak"
local values = require "values"
local show = values.show
local before = leak.count()

local KINDS = {
  { name = "stream", type = L.SOCK_STREAM },
  { name = "datagram", type = L.SOCK_DGRAM },
  { name = "seqpacket", type = L.SOCK_SEQPACKET, unix_only = true },
}

-- One row per combination that exists.
local rows = {}
for _, place in ipairs(net.places) do
  for _, kind in ipairs(KINDS) do
    if place.family == L.AF_UNIX or not kind.unix_only then
      rows[#rows + 1] = { place = place, kind = kind, nonblock = false }
      rows[#rows + 1] = { place = place, kind = kind, nonblock = true }
    end
  end
end
local EACH = 10
local UNNAMED = 3
local T = require("tap").plan(#rows * EACH + UNNAMED * 4 + 6)

local all = ("abcdefgh"):rep(1000)

-- A stream may hand out pieces; a message comes whole.
local function receive(sock, length)
  local out = ""
  while #out < length do
    assert(sock:recvable(5))
    out = out .. assert(sock:recv(length - #out))
  end
  return out
end

-- Two sends: two messages, or one run of bytes.
local function boundaries(from, to, stream)
  from:send "one"; from:send "two!"
  if stream then return receive(to, 7) end
  assert(to:recvable(5))
  local first = to:recv()
  assert(to:recvable(5))
  return first .. "|" .. to:recv()
end

-- An empty queue, seen without waiting for ever.
local function nothing(sock, nonblock)
  if not nonblock then sock:rcvtimeo(0.01) end
  local line = show(sock:recv())
  if not nonblock then sock:rcvtimeo(0) end
  return line
end

-- The address that recvfrom should tell: TCP tells none.
local function sender(sock, row)
  if row.kind.type == L.SOCK_STREAM and row.place.family ~= L.AF_UNIX then return "nil" end
  return tostring((sock:getsockname()))
end

local function check(row)
  local stream = row.kind.type == L.SOCK_STREAM
  local name = ("%s %s at %s: "):format(row.nonblock and "non-blocking" or "blocking", row.kind.name, row.place.name)
  local a, b = net.connected(row.place, row.kind.type, row.nonblock)
  T.is(b:nonblock(), row.nonblock, name .. "has the mode asked for")
  T.is(show(a:send "ping"), "4, nil, false", name .. "send answers the bytes")
  T.is(receive(b, 4), "ping", name .. "recv answers the message")
  T.is(show(b:send(all)), "8000, nil, false", name .. "the other direction sends")
  T.ok(receive(a, 8000) == all, name .. "the other direction arrives unchanged")
  T.is(boundaries(a, b, stream), stream and "onetwo!" or "one|two!",
    name .. (stream and "bytes run together" or "messages stay apart"))
  T.is(nothing(b, row.nonblock), values.again(L.EAGAIN), name .. "an empty queue says try again, EAGAIN")
  b:send "from b"
  a:recvable(5)
  T.is(show(a:recvfrom()), ('"from b", %s, nil, false'):format(sender(b, row)), name .. "recvfrom tells the sender")
  T.is(show(b:recvfrom(64, L.MSG_DONTWAIT)), values.again_from(L.EAGAIN), name .. "recvfrom on an empty queue says EAGAIN")
  a:close()
  local wanted = row.kind.type == L.SOCK_DGRAM and values.again(L.EAGAIN) or "no values"
  b:recvable(wanted == "no values" and 5 or 0)
  T.is(show(b:recv(64, L.MSG_DONTWAIT)), wanted,
    name .. (wanted == "no values" and "a closed peer is the end" or "a closed peer is nothing to a datagram socket"))
  b:close()
end

for _, row in ipairs(rows) do
  if net.has(row.place) then check(row) else T.skip(EACH, row.place.name .. ": no such address on this machine") end
end

-- Unnamed: a pair's ends have no address.
for _, kind in ipairs(KINDS) do
  local a, b = net.pair(kind.type)
  T.is(a:getsockname():addr(), "", kind.name .. " pair: the address is empty")
  T.is(show(a:send "x"), "1, nil, false", kind.name .. " pair: send answers the bytes")
  T.is(show(b:recvfrom()), '"x", nil, nil, false', kind.name .. " pair: recvfrom tells no sender")
  T.is(show(b:recv(1, L.MSG_DONTWAIT)), values.again(L.EAGAIN), kind.name .. " pair: nothing more waits")
  a:close(); b:close()
end

-- sendto: from an unnamed and from an autobound datagram socket, and back to what recvfrom told.
local path = net.places[3]
local server, server_name = net.bound_at(path, L.SOCK_DGRAM)
local nameless = assert(L.socket.new(server_name))
T.is(show(nameless:sendto("hello", server_name)), "5, nil, false", "sendto from a nameless socket answers the bytes")
T.is(show(server:recvfrom()), '"hello", nil, nil, false', "its receiver learns no address")
local auto = net.bound_at(net.places[5], L.SOCK_DGRAM)
auto:sendto("hi", server_name)
local msg, from = server:recvfrom()
T.is(msg .. " " .. tostring(from), "hi " .. tostring(auto:getsockname()), "an autobound sender's name arrives whole")
T.is(show(server:sendto("back", from)), "4, nil, false", "the address from recvfrom can be sent to")
T.is(show(auto:recvfrom()), ('"back", %s, nil, false'):format(tostring(server_name)), "and the answer arrives from the path")
server:close(); nameless:close(); auto:close()

net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
