-- ends.lua -- sockets for the participants: made the same way for all, and handed over by their numbers.
local L = require "llsocket"

local M = {}

function M.address(socktype) return assert(L.inet.getaddrinfo("127.0.0.1", "0", socktype))[1] end

function M.bound(socktype)
  local sock = assert(L.socket.new(M.address(socktype)))
  local err = sock:bind()
  assert(not err, err)
  return sock, sock:getsockname()
end

function M.listener()
  local sock, name = M.bound()
  local err = sock:listen()
  assert(not err, err)
  return sock, name
end

local function tcp()
  local listener, name = M.listener()
  local a = assert(L.socket.new(name))
  local err = a:connect()
  assert(not err, err)
  a:tcpnodelay(true)
  return a, (assert(listener:accept()))
end

-- Two connected sockets, by "socketpair" or "TCP".
function M.pair(how)
  if how == "TCP" then return tcp() end
  return unpack(assert(L.socket.pair(L.SOCK_STREAM)))
end

-- One that sends datagrams to the other.
function M.udp()
  local b, name = M.bound(L.SOCK_DGRAM)
  local a = assert(L.socket.new(name))
  local err = a:connect()
  assert(not err, err)
  return a, b
end

-- The numbers of sockets, which belong to the caller then.
function M.numbers(...)
  local out = {}
  for i = 1, select("#", ...) do out[i] = (select(i, ...)):unwrap() end
  return unpack(out)
end

-- Asks crowd.c for something, and waits until it is done.
function M.ask(what, port, n)
  print(("%s %d %d"):format(what, port, n))
  io.stdout:flush()
  assert(io.read "*l" == "", "the crowd has gone")
end

return M
