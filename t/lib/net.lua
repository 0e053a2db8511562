-- net.lua -- connected and bound sockets for tests: port 0, loopback, private folders.
local L = require "llsocket"
local shell = require "shell"

local M = {}

local HOST = { [L.AF_INET] = "127.0.0.1", [L.AF_INET6] = "::1" }

-- An address of the loopback: net.addr(L.AF_INET, L.SOCK_DGRAM [, port]).
function M.addr(family, socktype, port)
  return assert(L.inet.getaddrinfo(HOST[family or L.AF_INET], tostring(port or 0), socktype or L.SOCK_STREAM))[1]
end

-- An address of the loopback that no other test binds to, for programs that want a port and take no 0.
function M.own_host(n)
  local pid = require("proc").getpid()
  return ("127.%d.%d.%d"):format(100 + n, math.floor(pid / 256) % 256, pid % 256)
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

-- A port for programs that take no 0.  It is below those that the kernel gives to whoever asks for any, so no other program gets
-- it by chance, and each process begins at another.
local next_port
function M.free_port()
  next_port = next_port or 10240 + require("proc").getpid() * 16 % 22000
  for port = next_port, next_port + 500 do
    local sock = assert(L.socket.new(M.addr(nil, nil, port)))
    local err = sock:bind()
    sock:close()
    if not err then
      next_port = port + 1
      return port
    end
  end
  error "no port is free"
end

-- Asks every 5 ms, for at most 30 s, until fn answers something true, and answers that.
function M.await(fn)
  local pause, quiet = M.pair()
  pause:rcvtimeo(0.005)
  for _ = 1, 6000 do
    local answer = fn()
    if answer then
      pause:close(); quiet:close()
      return answer
    end
    pause:recv()
  end
  error("waited in vain", 2)
end

-- Where temporary folders go: TMPDIR names a folder, but a unix socket's address holds 108 bytes, 104 on some systems, and
-- configurations of other programs take no blanks and quotes.
local LONGEST = 60
local told
local function temporary()
  local dir = os.getenv "TMPDIR" or "/tmp"
  if #dir <= LONGEST and dir:find "^/[%w/._-]*$" then return dir end
  if not told then print "# the path of TMPDIR is too long or too odd for a unix socket: /tmp is used" end
  told = true
  return "/tmp"
end

-- A private folder, removed by M.cleanup().
local folders = {}
function M.tmpdir()
  local pipe = assert(io.popen("mktemp -d " .. temporary() .. "/llsocket-XXXXXX"))
  local dir = pipe:read "*l"
  pipe:close()
  folders[#folders + 1] = dir
  return dir
end

function M.cleanup()
  for _, dir in ipairs(folders) do os.execute("rm -rf " .. shell.quote(dir)) end
  folders, M.dir = {}, nil
end

-- Every way to be found: each makes an address to bind to.  A path lies in a private folder.
local count, here = 0, {} -- an address that no other VM of this process has
local function unique()
  count = count + 1
  return ("llsocket-t-%d-%s-%d"):format(require("proc").getpid(), tostring(here):match "%x+$", count)
end

M.unique = unique

local function unix(name, socktype) return assert(L.unix.getaddrinfo(name, socktype))[1] end

M.places = {
  { name = "IPv4", family = L.AF_INET, make = function(socktype) return M.addr(L.AF_INET, socktype) end },
  { name = "IPv6", family = L.AF_INET6, make = function(socktype) return M.addr(L.AF_INET6, socktype) end },
  { name = "a unix path", family = L.AF_UNIX, make = function(socktype)
    M.dir = M.dir or M.tmpdir()
    return unix(M.dir .. "/" .. unique(), socktype)
  end },
  { name = "an abstract name", family = L.AF_UNIX, make = function(socktype) return unix("\0" .. unique(), socktype) end },
  { name = "an autobound name", family = L.AF_UNIX, make = function(socktype) return unix("", socktype) end },
}

-- A socket bound at a place, and the address it got.
function M.bound_at(place, socktype, nonblock)
  local sock = assert(L.socket.new(place.make(socktype), nonblock))
  assert(not sock:bind())
  return sock, assert(sock:getsockname())
end

-- Whether the machine has an address to bind to there.
function M.has(place)
  local sock = L.socket.new(place.make(L.SOCK_STREAM))
  local err = not sock or sock:bind()
  if sock then sock:close() end
  return not err
end

local function accepted(place, socktype, nonblock)
  local listener, ai = M.bound_at(place, socktype)
  assert(not listener:listen())
  local client = assert(L.socket.new(ai))
  assert(not client:connect())
  local server = assert(listener:accept(nonblock))
  listener:close()
  return client, server
end

local function facing(place, socktype)
  local a, a_name = M.bound_at(place, socktype)
  local b, b_name = M.bound_at(place, socktype)
  assert(not a:connect(b_name)); assert(not b:connect(a_name))
  return a, b
end

-- Two connected sockets that met at a place: client, server.
function M.connected(place, socktype, nonblock)
  local client, server = (socktype == L.SOCK_DGRAM and facing or accepted)(place, socktype, nonblock)
  client:nonblock(nonblock or false); server:nonblock(nonblock or false)
  return client, server
end

return M
