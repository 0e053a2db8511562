-- message: tables that change while they are read, and memory that runs out at the worst place, do no harm.
local L = require "llsocket"
local iovec = require "llsocket.message.iovec"
local leak = require "leak"
local net = require "net"
local before = leak.count()
local T = require("tap").plan(16)

-- A table that answers one value to the first `n` readings, and another after them.
local function fickle(length, first, n, second)
  local calls, t = 0, {}
  for i = 1, length do t[i] = first end
  t[2] = nil -- the length stays: the last is there
  return setmetatable(t, { __index = function()
    calls = calls + 1
    return calls > n and second or first
  end })
end

for n = 0, 3 do
  local mh, err = L.msghdr.new { size = fickle(7, 16, n, 60000) }
  local total = 0
  for _, size in ipairs(mh and mh.into.sizes or {}) do total = total + size end
  T.ok(err or mh.into.size == total, ("sizes that change after %d readings have the room that was checked"):format(n))
end

-- A finaliser that makes the caller's array longer, with the collector always at work.
local function longer(try)
  local data, mh = { "x", "x" }, L.msghdr.new()
  local proxy = newproxy(true)
  getmetatable(proxy).__gc = function() for i = 3, 3000 do data[i] = "yyyyyyyy" end end
  proxy = nil -- luacheck: ignore
  for _ = 1, try do local _ = {} end
  mh:data(data)
  return mh.out.array.capacity >= #mh.out.parts
end
local pause, stepmul = collectgarbage("setpause", 0), collectgarbage("setstepmul", 1e4)
local held = true
for try = 1, 60 do held = longer(try) and held end
collectgarbage("setpause", pause)
collectgarbage("setstepmul", stepmul)
T.ok(held, "parts that grow while they are set never exceed their room")

-- One error for want of memory inside `name` of iovec, in the middle of a call.
local function starved(name, fn, ...)
  local old = iovec[name]
  iovec[name] = function() error("not enough memory", 0) end
  local ok = pcall(fn, ...)
  iovec[name] = old
  return not ok
end

local a, b = net.pair(L.SOCK_STREAM, true)
local mh = L.msghdr.new()
a:send "hello"
T.ok(starved("scatter", b.recvmsg, b, mh), "a first receive without memory raises")
T.is(b:recvmsg(mh), 5, "and the next receives")
T.is(mh:data(), "hello", "what waited")

a:sndbuf(4096)
local large = L.msghdr.new { data = ("x"):rep(1e6), control = { L.cmsghdr.rights(a) } }
T.ok(starved("gather", a.sendmsg, a, large), "a partial send without memory raises")
local into, headers = L.msghdr.new { size = 1e6 }, 0
for _ = 1, 3 do
  while b:recvmsg(into) do headers = headers + #into:control() end
  a:sendmsg(large)
end
T.is(headers, 1, "and its descriptor has gone once")
a:close(); b:close()
into, large = nil, nil -- luacheck: ignore

-- SO_PASSPIDFD, 76 on most: a descriptor that nobody sent.
a, b = net.pair()
if L.SO_PASSPIDFD and b:setsockopt(L.SOL_SOCKET, L.SO_PASSPIDFD, "int", 1)
  or not L.SO_PASSPIDFD and jit.os == "Linux" and jit.arch == "x64" and b:setsockopt(L.SOL_SOCKET, 76, "int", 1) then
  a:send "x"
  T.is(select(4, b:recvfd()), L.EBADMSG, "the peer's pidfd is not taken for one that was sent")
  a:sendfd(a)
  local got = b:recvfd()
  T.is(got and got:socktype(), L.SOCK_STREAM, "nor does it hide one that was")
  if got then got:close() end
else
  T.skip(2, "no SO_PASSPIDFD here")
end
T.is(select(4, net.bound():recvfd()), L.EOPNOTSUPP, "recvfd on what is no unix socket is EOPNOTSUPP")

-- readv's buffer is given back at once: without, 4,000 of a megabyte would stay mapped.
local function mapped()
  local file = io.open "/proc/self/statm"
  if not file then return end
  local pages = file:read "*n"
  file:close()
  return pages * 4096
end
local c, d = net.pair(L.SOCK_DGRAM)
local start = mapped()
if start then
  for _ = 1, 500 do
    c:send "12345"
    d:readv { 4, 1000000 }
  end
  T.ok(mapped() - start < 1e8, "readv gives its buffer back")
else
  T.skip(1, "no /proc here")
end
for _, sock in ipairs { a, b, c, d } do sock:close() end
a, b, mh = nil, nil, nil -- luacheck: ignore

local padded = L.addrinfo.new(L.unix.getaddrinfo("/tmp/a")[1]:bytes() .. ("\0"):rep(20))
T.is(padded == L.unix.getaddrinfo("/tmp/a")[1], true, "a padded path is the path")

T.is(leak.count(), before, "no descriptor is left")
T.done()
