-- lifecycle-nested: a close hook may close the same object; then its number may belong to another descriptor.
local L = require "llsocket"
local sockets = require "llsocket.socket.object"
local net = require "net"
local sys = require "sys"
local leak = require "leak"
local T = require("tap").plan(16)
local before = leak.count()

-- Closes an object of which a close or an unwrap has begun, as a program's finaliser or debug hook may, and has a socket get
-- its number.
local victim, stranger
sockets.before_close(function(object)
  if object ~= victim then return end
  victim = nil
  object:close()
  stranger = assert(L.socket.new(net.addr()))
end)

-- All lower numbers are in use, so that the next socket gets this one's.
local from, to = net.pair(L.SOCK_STREAM)
local file = assert(io.tmpfile())
local function descriptor()
  from:sendfd(file)
  return assert(to:recvfd())
end

for _, row in ipairs { { "a descriptor", descriptor }, { "a timer", function() return assert(L.poll.timer(1)) end } } do
  local what, object = row[1], row[2]()
  local fd = object:fd()
  victim = object
  T.is(select("#", object:close()), 0, what .. " that is closed while it is closed is no error")
  T.is(object:fd(), -1, "and is closed")
  T.is(stranger:fd(), fd, "a socket gets its number")
  T.ok(sys.is_open(fd), "and keeps it")
  stranger:close()
end

local object = descriptor()
victim = object
local fd, _, e = object:unwrap()
T.is(fd, nil, "a descriptor that is closed while it is unwrapped has no number to give")
T.is(e, L.EBADF, "and answers EBADF")
T.is(object:fd(), -1, "and is closed")
T.ok(sys.is_open(stranger:fd()), "a socket keeps the number")
stranger:close()

-- A socket's own close is the one that closes.
local sock = assert(L.socket.new(net.addr()))
local number = sock:fd()
sock:onclose(function(s)
  s:close()
  stranger = assert(L.socket.new(net.addr()))
end)
T.is(select("#", sock:close()), 0, "a socket whose hook closes it once more is no error")
T.ok(stranger:fd() ~= number and not sys.is_open(number), "it is closed after its hooks")
T.ok(sys.is_open(stranger:fd()), "and what they open stays open")
stranger:close()

from:close(); to:close(); file:close()
collectgarbage(); collectgarbage()
T.is(leak.count(), before, "no descriptor is left")
T.done()
