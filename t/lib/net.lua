-- net.lua -- connected and bound sockets for tests: port 0, loopback, private folders.
local L = require "llsocket"

local M = {}

local HOST = { [L.AF_INET] = "127.0.0.1", [L.AF_INET6] = "::1" }

-- An address of the loopback: net.addr(L.AF_INET, L.SOCK_DGRAM [, port]).
function M.addr(family, socktype, port)
  return assert(L.inet.getaddrinfo(HOST[family or L.AF_INET], tostring(port or 0), socktype or L.SOCK_STREAM))[1]
end

-- A bound socket, and the address it got.
function M.bound(family, socktype, nonblock)
  local sock = assert(L.socket.new(M.addr(family, socktype), nonblock))
  assert(not sock:bind())
  return sock, assert(sock:getsockname())
end

-- A listening TCP socket, and its address.
function M.listener(family, nonblock)
  local sock, ai = M.bound(family, L.SOCK_STREAM, nonblock)
  assert(not sock:listen())
  return sock, ai
end

-- Two connected TCP sockets: client, server.
function M.tcp(family, nonblock)
  local listener, ai = M.listener(family)
  local client = assert(L.socket.new(ai))
  assert(not client:connect())
  local server = assert(listener:accept(nonblock))
  if nonblock then client:nonblock(true) end
  listener:close()
  return client, server
end

-- Two connected unix sockets.
function M.pair(socktype, nonblock)
  local socks = assert(L.socket.pair(socktype or L.SOCK_STREAM, nonblock))
  return socks[1], socks[2]
end

-- A private folder, removed by M.cleanup().
local folders = {}
function M.tmpdir()
  local pipe = assert(io.popen "mktemp -d")
  local dir = pipe:read "*l"
  pipe:close()
  folders[#folders + 1] = dir
  return dir
end

function M.cleanup()
  for _, dir in ipairs(folders) do os.execute("rm -rf '" .. dir .. "'") end
  folders = {}
end

return M
