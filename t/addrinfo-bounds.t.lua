-- addrinfo: nothing is read beyond an address's own bytes: paths that fill them, objects that held longer paths.  And the
-- names of families.
local L = require "llsocket"
local ffi = require "ffi"
local leak = require "leak"
local net = require "net"
local show = require("show").show
local sys = require "sys"
local PATH_AT, MOST = 2, ffi.os == "Linux" and 108 or 104
local T = require("tap").plan(14)
local before = leak.count()

local HEAD = ffi.string(L.unix.getaddrinfo("")[1], PATH_AT)
local function unix(path) return assert(L.addrinfo.new(HEAD .. path)) end
local function serv(ai)
  local ni = ai:nameinfo()
  return ni and ni.serv
end

-- Paths of every length, longer ones than sun_path too: a program may pack them.
local wrong = {}
for n = 0, 126 do
  local path = ("p"):rep(n)
  local ai = unix(path)
  if ai:addr() ~= path or tostring(ai) ~= "unix:" .. path or ai:bytes() ~= HEAD .. path then wrong[#wrong + 1] = n end
  if not sys.musl and serv(ai) ~= path then wrong[#wrong + 1] = "serv " .. n end
end
T.is(table.concat(wrong, " "), "", "a path of any length is returned unchanged")
T.is(show(L.addrinfo.new(HEAD .. ("p"):rep(127)) or nil), "nil", "more bytes than 128 are no address")
T.ok(unix(("p"):rep(125)) ~= unix(("p"):rep(126)) and unix(("p"):rep(126)) == unix(("p"):rep(126)), "the last byte counts")

-- The kernel's own: a path that fills sun_path, whose NUL lies behind it.
local dir = net.tmpdir()
local full = dir .. "/" .. ("f"):rep(MOST - #dir - 1)
local long, short = dir .. "/longer", dir .. "/s"
local function bound(path)
  local sock = assert(L.socket.new(assert(L.unix.getaddrinfo(path, L.SOCK_DGRAM))[1]))
  local err = path ~= "" and sock:bind()
  assert(not err, err)
  return sock
end
local a, b, c = bound(full), bound(long), bound(short)
local name = a:getsockname()
T.is(name:addr(), full, "getsockname returns the longest path")
T.is(#name:bytes(), PATH_AT + MOST, "in so many bytes")
T.is(tostring(name), "unix:" .. full, "and as text")
T.is(sys.musl or serv(name), sys.musl or full, "and as a service")
T.ok(name == L.unix.getaddrinfo(full, L.SOCK_DGRAM)[1], "and equals the address that was bound")

-- An address that is overwritten.
local into, buf = L.unix.getaddrinfo("", L.SOCK_DGRAM)[1], ffi.new "uint8_t[8]"
local told = {}
for _, sender in ipairs { a, b, c } do
  sender:sendto("x", name)
  local n, ai = a:recvfrominto(buf, 8, into)
  local addr = ai:addr()
  told[#told + 1] = show(n, addr == sender:getsockname():addr(), sys.musl or serv(ai) == addr, #ai:bytes() - PATH_AT == #addr)
end
T.is(table.concat(told, "; "), ("1, true, true, true; "):rep(2) .. "1, true, true, true",
  "shorter paths after longer ones have nothing of them")
local nobody = assert(L.socket.new(L.unix.getaddrinfo("", L.SOCK_DGRAM)[1]))
nobody:sendto("x", name)
local n, ai = a:recvfrominto(buf, 8, into)
T.is(show(n, ai and ai:addr(), ai and not sys.musl and serv(ai) or nil), show(1, ai and "", ai and not sys.musl and "" or nil),
  "a sender without a name has none of the one before")
for _, sock in ipairs { a, b, c, nobody } do sock:close() end

-- Families by name.
local function family(af) return tostring(assert(L.addrinfo.new(ffi.string(ffi.new("uint16_t[1]", af), 2)))) end
if HEAD == ffi.string(ffi.new("uint16_t[1]", L.AF_UNIX), 2) then
  local bad = {}
  for key, value in pairs(L) do
    if type(key) == "string" and key:find "^AF_" and value ~= L.AF_UNIX and value ~= L.AF_INET and value ~= L.AF_INET6 then
      local named = family(value):match "^llsocket%.addrinfo: (AF_%w+), 2 bytes$"
      if key ~= "AF_MAX" and L[named or ""] ~= value then bad[#bad + 1] = key .. ": " .. family(value) end
    end
  end
  T.is(table.concat(bad, "; "), "", "tostring has the name of every family")
  T.is(family(L.AF_NETLINK), "llsocket.addrinfo: AF_NETLINK, 2 bytes", "of two names it is the usual one")
  T.is(family(250), "llsocket.addrinfo: family 250, 2 bytes", "an unknown one by its number")
else
  T.skip(3, "addresses begin with a length here")
end

T.is(leak.count(), before, "no descriptor is left")
T.done()
