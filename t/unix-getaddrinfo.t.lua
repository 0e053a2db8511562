-- unix.getaddrinfo: lengths, NULs, abstract names, autobind, defaults; and the kernel takes these addresses.
local L = require "llsocket"
local ffi = require "ffi"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local show = require("show").show
local text = require("llsocket.errno").text
local getaddrinfo = L.unix.getaddrinfo
local before = leak.count()

local linux = ffi.os == "Linux"
local MOST = linux and 108 or 104 -- sun_path
local function refusal(e) return show(nil, text(e), e) end
local TOO_LONG, INVALID = refusal(L.ENAMETOOLONG), refusal(L.EINVAL)

-- What a path becomes: the same bytes, or a failure; and whether its text fits.
local PATHS = {
  { "/run/x", "a path" }, { "x", "a path of one byte" }, { "../x y\n\255", "odd bytes" },
  { "/" .. ("a"):rep(MOST - 2), "one byte less than the most" }, { "/" .. ("a"):rep(MOST - 1), "the most bytes" },
  { "/" .. ("a"):rep(MOST), "one byte too many", TOO_LONG }, { ("a"):rep(5000), "5,000 bytes", TOO_LONG },
  { "a\0b", "a NUL after a start", INVALID }, { "/run/x\0", "a NUL at the end", INVALID },
  { "/" .. ("a"):rep(MOST - 2) .. "\0", "a NUL as the last that fits", INVALID },
  { "", "the autobind address" }, { "\0", "a NUL alone" }, { "\0name", "an abstract name" },
  { "\0a\0b\0\0", "an abstract name with NULs inside and at its end" },
  { "\0" .. ("a"):rep(MOST - 1), "the longest abstract name" },
  { "\0" .. ("a"):rep(MOST), "an abstract name that is too long", TOO_LONG },
}
local T = require("tap").plan(#PATHS + 33)

for _, row in ipairs(PATHS) do
  local arr, err, e = getaddrinfo(row[1])
  if row[3] then
    T.is(show(arr, err, e), row[3], row[2] .. " is refused")
  else
    T.ok(#arr == 1 and arr[1]:addr() == row[1] and arr[1].namelen == 2 + #row[1],
      row[2] .. " is kept byte for byte, and no longer")
  end
end

local ai = getaddrinfo("/run/x")[1]
T.is(show(ai:family(), ai:socktype(), ai:protocol()), show(L.AF_UNIX, L.SOCK_STREAM, 0), "the default is a stream address")
T.is(getaddrinfo("/run/x", nil, nil)[1]:socktype(), L.SOCK_STREAM, "nil is the default too")
ai = getaddrinfo("/run/x", L.SOCK_SEQPACKET, 0, L.AI_PASSIVE)[1]
T.is(show(ai:socktype(), ai:protocol()), show(L.SOCK_SEQPACKET, 0), "socktype, protocol and a flag are taken")
T.is(getaddrinfo("/run/x", L.SOCK_DGRAM, 7)[1]:protocol(), 7, "the protocol is kept")
T.is(show(ai:port(), ai:canonname()), "nil, nil", "a unix address has neither port nor canonical name")
T.is(select("#", getaddrinfo "/run/x"), 1, "a list comes alone")

T.is(show(getaddrinfo("/run/x", 1.5)), INVALID, "a socktype of 1.5 is EINVAL")
T.is(show(getaddrinfo("/run/x", 1, 2^31)), INVALID, "a protocol of 2^31 is EINVAL")
T.is(show(getaddrinfo("/run/x", 1, 0, 2^32)), INVALID, "a flag of 2^32 is EINVAL")
T.is(show(getaddrinfo("/run/x", 1, 0, 0, 0 / 0)), INVALID, "a second flag that is no number's worth is EINVAL")
local function raises(...)
  local args, n = { ... }, select("#", ...)
  local _, message = pcall(function() getaddrinfo(unpack(args, 1, n)) end)
  return message
end
T.ok(raises():find "unix%-getaddrinfo%.t%.lua:%d+: bad argument #1 to 'getaddrinfo' %(string expected, got nil%)$",
  "a missing path raises at the caller's line")
T.ok(raises("/run/x", "1"):find "bad argument #2 to 'getaddrinfo' %(number expected, got string%)$",
  "a string for a socktype raises")

-- An earlier, longer path leaves nothing in a later one.
getaddrinfo("/" .. ("z"):rep(MOST - 1))
ai = getaddrinfo "/a"
T.is(ffi.string(ai[1], 8), ffi.string(ffi.new("uint16_t[1]", L.AF_UNIX), 2) .. "/a\0\0\0\0", "the bytes after a path are zero")

-- And the kernel: bind, and ask it for the name.
local function bound(path, socktype)
  local sock = assert(L.socket.new(getaddrinfo(path, socktype or L.SOCK_DGRAM)[1]))
  local err = sock:bind()
  return sock, not err and sock:getsockname() or err
end
local function exists(path)
  local _, ok = proc.run(shell.format("test -S %q", path))
  return ok
end

local dir = net.tmpdir()
local path = dir .. "/s"
local sock, name = bound(path)
T.is(name:addr(), path, "a bound socket has its path")
T.ok(exists(path), "a path is a file")
T.is(tostring(name), "unix:" .. path, "its text says so")
sock:close()

local long = dir .. "/" .. ("l"):rep(MOST - #dir - 1)
sock, name = bound(long)
T.is(#long, MOST, "this path is as long as fits")
T.is(name:addr(), long, "it comes back whole")
T.ok(exists(long), "it is that file, not one with a shorter name")
local client = assert(L.socket.new(name))
T.is(client:connect(), nil, "a client can connect to the address from getsockname")
client:close()
-- Linux's getsockname counts 111 bytes for it, its recvfrom too, and its connect and sendto take 110.
client = assert(L.socket.new(getaddrinfo("", L.SOCK_DGRAM)[1]))
client:bind()
sock:sendto("hello", client:getsockname())
local _, from = client:recvfrom()
T.is(from:addr(), long, "a sender's path that is as long as fits comes whole")
T.is(client:sendto("hello", from), 5, "and can be answered")
client:close(); sock:close()

if linux then
  local unique = ("llsocket-%d"):format(proc.getpid())
  for _, bytes in ipairs { "", "\0", "\0\0x\0" } do
    sock, name = bound("\0" .. unique .. bytes)
    T.is(name:addr(), "\0" .. unique .. bytes, ("an abstract name with %d NULs more comes back exactly"):format(#bytes))
    sock:close()
  end
  local one, two = bound("\0" .. unique), bound("\0" .. unique .. "\0")
  T.ok(one:getsockname():addr() ~= two:getsockname():addr(), "a NUL more makes another abstract name")
  local _, err = bound("\0" .. unique)
  T.is(err, text(L.EADDRINUSE), "the same abstract name is in use")
  one:close(); two:close()
  sock, name = bound ""
  T.ok(name:addr():find "^%z%x%x%x%x%x$", "autobind gets an abstract name of five hexadecimal digits")
  local a = assert(L.socket.new(getaddrinfo("", L.SOCK_DGRAM)[1]))
  T.is(a:sendto("hello", name), 5, "and is reached under it")
  T.is(show(sock:recv()), "hello, nil, false", "by a datagram")
  sock:close(); a:close()
else
  T.skip(8, "abstract names are Linux's")
end

sock = L.socket.new(getaddrinfo("/run/x", L.SOCK_DGRAM)[1])
T.is(sock:getsockname():addr(), "", "an unnamed socket has an empty path")
sock:close()

net.cleanup()
collectgarbage()
T.ok(not exists(path), "the folder is removed")
T.is(leak.count(), before, "no descriptor is left")
T.done()
