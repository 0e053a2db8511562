-- connect-unix: names of unix sockets as the kernel returns them; files in use, missing, forbidden.
local L = require "llsocket"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local sys = require "sys"
local leak = require "leak"
local T = require("tap").plan(59)
local before = leak.count()
local socket = L.socket
local dir = net.tmpdir()

local function at(path, socktype) return assert(L.unix.getaddrinfo(path, socktype))[1] end

local function listener(path, socktype)
  local s = assert(socket.new(at(path, socktype)))
  local err = s:bind() or s:listen()
  if err then s:close() end
  return not err and s, err
end

local function refused(want, name, ...)
  local n, err, e = select("#", ...), ...
  T.ok(n == 2 and type(err) == "string" and e == want, name)
end

local function exists(path)
  local _, ok = proc.run(shell.format("[ -S %q ]", path))
  return ok
end

-- A path in the folder, of so many bytes.
local function path_of(length) return dir .. "/" .. ("p"):rep(length - #dir - 1) end

-- paths: bound, read back, reached
for _, length in ipairs { #dir + 2, 107, 108 } do
  local path, name = path_of(length), length .. " bytes: "
  local l = assert(listener(path))
  T.ok(exists(path), name .. "bind makes the file of that name")
  T.is(l:getsockname():addr(), path, name .. "getsockname reads it back")
  local c = assert(socket.new(at(path)))
  T.is(c:connect(), nil, name .. "a client connects")
  local s = assert(l:accept())
  T.is(c:getpeername():addr(), path, name .. "getpeername of the client reads it")
  T.is(s:getsockname():addr(), path, name .. "so does getsockname of the accepted")
  T.is(s:getpeername():addr(), "", name .. "the client has no name")
  T.is(c:getsockname():addr(), "", name .. "nor for itself")
  c:close()
  c = assert(socket.new(at(path)))
  T.is(c:connect(s:getsockname()), nil, name .. "the name that was read back can be used")
  c:close(); s:close(); l:close()
end
local none, _, e = L.unix.getaddrinfo(path_of(109))
T.ok(none == nil and e == L.ENAMETOOLONG, "109 bytes: ENAMETOOLONG")
T.ok(not exists(path_of(109)) and not exists(path_of(106)), "no other file was made")

-- abstract names
local unique = ("\0llsocket-%d-"):format(proc.getpid())
for i, tail in ipairs { "plain", "a\0b", "a", "a\0", "\255\1\n", ("z"):rep(108 - #unique) } do
  local name = unique .. tail
  local l = assert(listener(name))
  T.is(l:getsockname():addr(), name, ("abstract name %d is read back byte for byte"):format(i))
  local c = assert(socket.new(at(name)))
  c:connect()
  T.is(c:getpeername():addr(), name, ("abstract name %d is the peer's name"):format(i))
  c:close()
  c = assert(socket.new(at(name .. (#name < 108 and "\0" or ""))))
  local want = #name < 108 and L.ECONNREFUSED or nil
  T.is(select(3, c:connect()), want, ("abstract name %d with one more NUL is another name, if it fits"):format(i))
  c:close(); l:close()
end

-- autobind
local auto = assert(listener "")
local name = auto:getsockname():addr()
T.ok(name:find "^%z%x%x%x%x%x$" ~= nil, "autobind chooses an abstract name")
local other = assert(listener "")
T.ok(other:getsockname():addr() ~= name, "a different one each time")
other:close(); auto:close()

-- unnamed
local a, b = net.pair()
T.ok(a:getsockname():addr() == "" and a:getpeername():addr() == "", "a pair has no names")
a:close(); b:close()
a, b = assert(socket.new(at(dir .. "/d1", L.SOCK_DGRAM))), assert(socket.new(at(dir .. "/d2", L.SOCK_DGRAM)))
a:bind(); b:bind()
a:connect(at(dir .. "/d2", L.SOCK_DGRAM))
T.is(a:getpeername():addr(), dir .. "/d2", "a connected datagram socket has a peer")
T.is(select(3, b:getpeername()), L.ENOTCONN, "the other has none: ENOTCONN")
a:send "x"
local _, from = b:recvfrom()
T.is(from:addr(), dir .. "/d1", "and sees who sent")
a:close(); b:close()

-- in use, missing, forbidden
local l = assert(listener(dir .. "/used"))
local s = assert(socket.new(at(dir .. "/used")))
refused(L.EADDRINUSE, "a path in use: EADDRINUSE", s:bind())
l:close()
refused(L.EADDRINUSE, "a path left behind: EADDRINUSE", s:bind())
T.is(select(3, s:connect()), L.ECONNREFUSED, "connecting to a path left behind: ECONNREFUSED")
os.remove(dir .. "/used")
T.is(s:bind(), nil, "removed, it binds")
s:close()
s = assert(socket.new(at(dir .. "/no/such")))
refused(L.ENOENT, "a missing folder: ENOENT", s:bind())
T.is(select(3, s:connect()), L.ENOENT, "connecting there: ENOENT")
s:close()

-- Runs fn as a user who is not root.
local function as_nobody(fn, title)
  T.is(proc.wait(proc.fork(function()
    if sys.getuid() == 0 then sys.setuid(65534) end
    return fn()
  end)), 0, title)
end

l = assert(listener(dir .. "/private"))
proc.run(shell.format("chmod 555 %q; chmod 000 %q/private", dir, dir))
as_nobody(function()
  local c = assert(socket.new(at(dir .. "/new")))
  return select(2, c:bind()) == L.EACCES
end, "a folder that may not be written: EACCES")
as_nobody(function()
  local c = assert(socket.new(at(dir .. "/private")))
  local err, again, why = c:connect()
  return type(err) == "string" and again == false and why == L.EACCES
end, "a socket that may not be written: EACCES")
proc.run(shell.format("chmod 700 %q", dir))
l:close()
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
