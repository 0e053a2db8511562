-- tcpinfo.lua -- reads the kernel's data about the client's connection: round trip time, retransmits, and more.
--
-- Cost: the first request of a connection takes about 3 us for each socket that the worker has open; further requests
-- find it at once.  With thousands of connections ask only for some requests, as logs.lua does.
--
-- nginx does not give the descriptor, and its structs are not an interface.  So each descriptor is borrowed in turn until
-- the kernel says that both its ends are the request's.  This reads no foreign memory, and cannot take another connection
-- for the request's.  A borrowed descriptor is never closed here.
local L = require "llsocket"

local FIRST, LIMIT = 3, 4096 -- descriptors to look at
local BORROWED = { own = false }

local found = {} -- the last descriptor of a connection, by the client's port: at most 65,536 entries

-- nginx gives an IPv6 link-local address without its scope, which is the interface.
local function is(ai, host, port) return ai and ai:port() == port and ai:addr():match "[^%%]*" == host end

-- A listening socket has no peer; a file cannot even be borrowed.
local function borrow(fd, ends)
  local sock = L.socket.wrap(fd, BORROWED)
  if sock and is(sock:getpeername(), ends.host, ends.port) and is(sock:getsockname(), ends.server, ends.server_port) then
    return sock
  end
end

-- Behind a proxy that nginx trusts, the client's address is not the address of the connection.
local function both_ends()
  local var = ngx.var
  return {
    host = var.realip_remote_addr or var.remote_addr, port = tonumber(var.realip_remote_port or var.remote_port),
    server = var.server_addr, server_port = tonumber(var.server_port),
  }
end

local function look(ends, first)
  for fd = first, LIMIT do
    local sock = borrow(fd, ends)
    if sock then return sock end
  end
end

local function is_scoped(sock) return sock:getpeername():addr():find("%", 1, true) ~= nil end

-- Two interfaces may have connections with the same link-local addresses: then the request's connection is unknown.
local function only(ends)
  local sock = look(ends, FIRST)
  if sock and is_scoped(sock) and look(ends, sock:fd() + 1) then return nil end
  return sock
end

local M = {}

-- The connection of the current request, borrowed; nil if it is not a TCP connection or if two are possible.
function M.connection()
  local ends = both_ends()
  if not ends.port then return nil end -- a unix socket
  local hint = found[ends.port]
  local sock = hint and borrow(hint, ends)
  if not sock or is_scoped(sock) then sock = only(ends) end
  found[ends.port] = sock and sock:fd()
  return sock
end

-- The fields of struct tcp_info, see tcp(7): rtt and rttvar in microseconds, total_retrans, snd_cwnd, ...
function M.client()
  local sock = M.connection()
  if not sock then return nil, "no TCP connection" end
  return sock:tcpinfo()
end

return M
