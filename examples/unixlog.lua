-- unixlog.lua PATH [FILE] -- writes each datagram from a unix socket to FILE, one line each, with its time.
--
-- FILE is the standard output by default.  To try it: echo hello | nc -Uu -w0 PATH
local L = require "llsocket"

local SIZE = 65536 -- bytes of a message; the rest of a longer one is lost

local function fail(...)
  io.stderr:write("unixlog: ", string.format(...), "\n")
  os.exit(1)
end

-- A logger that died leaves its path behind.  If nobody answers at the path, remove it.
local function is_stale(ai)
  local err, _, e = assert(L.socket.new(ai)):connect()
  return err and e == L.ECONNREFUSED
end

local function open(path)
  local list, why = L.unix.getaddrinfo(path, L.SOCK_DGRAM)
  if not list then fail("%s: %s", path, why) end
  local sock = assert(L.socket.new(list[1]))
  local err, e = sock:bind()
  if e == L.EADDRINUSE and is_stale(list[1]) then
    os.remove(path)
    err = sock:bind()
  end
  if err then fail("%s: %s", path, err) end
  return sock
end

-- Replace control characters: otherwise a client could forge log lines of others.
local function clean(msg) return (msg:gsub("%s+$", ""):gsub("%c", "?")) end

-- A client without a name has an empty path, or no address at all.
local function name_of(ai)
  local path = ai and ai:addr() or ""
  return path == "" and "-" or clean(path)
end

local function log(sock, file)
  local msg, from, err, again = sock:recvfrom(SIZE)
  if not msg then return again or fail("recvfrom: %s", err) end
  file:write(os.date "%Y-%m-%d %H:%M:%S ", name_of(from), " ", clean(msg), "\n")
  file:flush()
end

local path = arg[1] or fail "usage: unixlog.lua PATH [FILE]"
local file = arg[2] and assert(io.open(arg[2], "a")) or io.stdout
local sock = open(path)
print("listening on " .. tostring(sock:getsockname()))
io.stdout:flush()
while true do log(sock, file) end
