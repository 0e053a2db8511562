-- load: loading a second time, beside other FFI libraries, in a second VM, and the end of the process.
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local before = leak.count()
local T = require("tap").plan(23)

local function prints(code, want, name) T.is(proc.lua(code), want, name) end

local PRELUDE = [[
local function clear()
  for name in pairs(package.loaded) do if name:find "^llsocket" then package.loaded[name] = nil end end
end
local function collect() for _ = 1, 4 do collectgarbage() end end
local L = require "llsocket"
local function pair() local p = L.socket.pair(L.SOCK_STREAM); return p[1], p[2] end
]]

prints(PRELUDE .. [[
local a, b = pair()
clear()
local M = require "llsocket"
local p = M.socket.pair(M.SOCK_STREAM)
print(M ~= L, a:send "old", b:recv(), p[1]:send "new", p[2]:recv(), select(4, b:recv(1, L.MSG_DONTWAIT)) == M.EAGAIN)]],
  "true\t3\told\t3\tnew\ttrue\n", "loaded a second time, old and new sockets work")
prints(PRELUDE .. [[
local a, b = pair()
clear()
local M = require "llsocket"
local p = M.socket.pair(M.SOCK_STREAM)
print(a:writev { "o", "ld" }, b:recv(), p[1]:writev { "new" }, (p[2]:recv()))
print(a:sendmsg(L.msghdr.new { data = "old" }), b:recv(), p[1]:sendmsg(M.msghdr.new { data = "new" }), (p[2]:recv()))
print(L.msghdr ~= M.msghdr)]], "3\told\t3\tnew\n3\told\t3\tnew\ntrue\n",
  "a module made on first use belongs to the load of the socket")
prints(PRELUDE .. [[
local batch, mh, pipe = require "llsocket.batch", require "llsocket.msghdr", require "llsocket.pipe"
local a, b = pair()
local one, message, tube = batch.new(), mh.new { data = "old" }, pipe.new()
clear()
local M = require "llsocket"
print(a:sendmsg(message), b:recvbatch(one), one:data(1), pcall(a.splice, a, b, tube, 0), M.batch ~= batch)]],
  "3\t1\told\ttrue\ttrue\n", "so does a module that was required by itself")
prints(PRELUDE .. [[
for _ = 1, 20 do clear(); L = require "llsocket"; pair(); collect() end
local a, b = pair()
print(a:send "x", (b:recv()))]], "1\tx\n", "loaded twenty times over, the last works")
prints(PRELUDE .. [[
local a, b = pair()
clear()
L, pair = nil, nil
collect()
print(a:send "x", b:recv(), a:getsockname():family())
for i = 1, 200 do a:send "y"; b:recv() end
print(a:send "z", (b:recv()))]], "1\tx\t1\n1\tz\n", "a socket alone keeps the library usable through full collections")
prints(PRELUDE .. [[
local fcntl = require("llsocket.shim").llsocket2_fcntl
local a, b = pair()
local fd, other = a:fd(), b:fd()
clear()
L, pair, a, b = nil, nil, nil, nil
collect()
print(fcntl(fd, 1, 0), fcntl(other, 1, 0))]], "-1\t-1\n", "sockets that are collected after the modules close their descriptors")

-- With the least that has a finaliser, nothing but the anchor keeps the shim mapped.
prints([[
local sock = require("llsocket.socket.object").new()
for name in pairs(package.loaded) do if name:find "^llsocket" then package.loaded[name] = nil end end
for _ = 1, 4 do collectgarbage() end
sock = nil
for _ = 1, 4 do collectgarbage() end
io.write("alive", tostring(sock))]], "alivenil", "the shim stays mapped for finalisers, whatever is collected before them")

-- The second load finds another file: the first stays mapped, for finalisers of older sockets point into it.
local dir = net.tmpdir()
local real = assert(package.searchpath("llsocket.shim", package.cpath))
assert(select(2, proc.run(shell.format("cp %q %q/one.so && cp %q %q/two.so", real, dir, real, dir))))
prints(([[
package.cpath = "%s/one.so"
]]):format(dir) .. PRELUDE .. ([[
local a, b = pair()
a:send "x"
clear()
package.cpath = "%s/two.so"
L = require "llsocket"
collect()
local c, d = pair()
print(b:recv(), c:send "y", (d:recv()))
local fcntl, fd = require("llsocket.shim").llsocket2_fcntl, a:fd()
a, b = nil, nil
collect()
print(fcntl(fd, 1, 0))]]):format(dir), "x\t1\ty\n-1\n",
  "loaded again from another file, sockets of the first are collected safely")

-- Another library's declarations, which are global to the VM.
local OTHERS = [[
local ffi = require "ffi"
ffi.cdef "struct sockaddr { unsigned short family; char data[2]; };"
ffi.cdef "struct sockaddr_in { int wrong; }; struct sockaddr_in6 { int wrong; }; struct sockaddr_un { int wrong; };"
ffi.cdef "struct addrinfo { int wrong; }; struct timeval { int wrong; }; struct linger { char wrong; };"
ffi.cdef "struct in_addr { char wrong; }; struct pollfd { char wrong; }; struct ifaddrs { char wrong; };"
ffi.cdef "typedef char socklen_t; typedef short sa_family_t; typedef double ssize_t;"
ffi.cdef "long close(long); int recv(...); ssize_t send(int, const char *, short, int); double socket(double);"
ffi.cdef "int getsockopt(int); int setsockopt(int); char connect(char); void bind(void); int poll(int); int fcntl(int, int, ...);"
ffi.cdef "int accept4(int, int); int getaddrinfo(void); int strerror(int); int getifaddrs(int); int shutdown(char);"
]]
local USE = [[
local K = L
local listener = L.socket.new(L.inet.getaddrinfo("127.0.0.1", "0")[1])
listener:bind(); listener:listen()
local ai = listener:getsockname()
local client = L.socket.new(ai)
client:connect()
local server = listener:accept(true)
local n, msg = client:send "hello", server:recv()
print(n, msg, select(4, server:recv()) == K.EAGAIN, ai:addr(), server:rcvtimeo(1.5), server:linger())
print(server:recvable(0), #L.device.getifaddrs() > 0, select(2, listener:shutdown(5)) == K.EINVAL)
client:close()
print(select(2, client:bind()) == K.EBADF, select("#", server:recv()))
server:close(); listener:close()
]]
local WORKS = "5\thello\ttrue\t127.0.0.1\t1.5\tfalse\nfalse\ttrue\ttrue\ntrue\t0\n"
prints(OTHERS .. [[local L = require "llsocket"
]] .. USE, WORKS, "another library that declared the same names before, and wrongly, changes nothing")
prints([[local L = require "llsocket"
]] .. OTHERS .. USE, WORKS, "nor one that declares them after")
local LONG = require("ffi").sizeof "long" == 8 and "cdata" or "number"
prints([[local L = require "llsocket"
]] .. OTHERS .. [[
local ffi = require "ffi"
print(type(ffi.C.close(-1)), ffi.sizeof "struct sockaddr_in", ffi.sizeof "struct linger")
local p = L.socket.pair(L.SOCK_DGRAM)
local fd = p[1]:unwrap()
print(ffi.C.close(fd) == 0, ffi.C.close(fd) == 0)]], LONG .. "\t4\t1\ntrue\tfalse\n",
  "whose own declarations work as it made them")
prints(OTHERS .. PRELUDE .. [[
clear()
L = require "llsocket"
]] .. USE, WORKS, "a second load beside another library works")
prints(PRELUDE .. [[
local ffi = require "ffi"
for name in pairs(require "llsocket.core.layout") do
  if pcall(ffi.sizeof, "struct " .. name) then print(name) end
end
for _, name in ipairs { "recv", "send", "close", "socket", "fcntl", "getsockopt", "accept4", "poll" } do
  if pcall(function() return ffi.C[name] end) then print(name) end
end]], "", "llsocket leaves no struct and no function of libc declared")

-- The end of a process that still has sockets.
local function ends(code, status, name)
  local text, _, got = proc.lua(PRELUDE .. code)
  T.is(("%s%d"):format(text, got), status, name)
end
ends([[KEEP = { pair() }]], "0", "a process that ends with open sockets ends well")
ends([[KEEP = { pair() }; os.exit(0, true)]], "0", "so does one whose VM is closed")
ends([[KEEP = { pair() }; clear(); os.exit(0, true)]], "0", "and one that let the modules go before")
ends([[
local a, b = pair()
local cycle = setmetatable({ a, b }, {})
cycle.self = cycle
local proxy = newproxy(true)
getmetatable(proxy).__gc = function() a:send "late"; b:recv(); a:close() end
KEEP = { proxy, cycle }
os.exit(0, true)]], "0", "and one whose finalisers use sockets that are finalised already")
-- What the first finalisers make is collected after the handles of the first are gone.
local LATE = [[
local function late(n)
  getmetatable(newproxy(true)).__gc = function()
    local a, b = pair()
    io.write(n, tostring(a:nonblock(true)), a:send "late", b:recv(), type(L.device.macaddrs()), " ")
    if n > 0 then late(n - 1) end
  end
end
late(2)
]]
local RAN = "2true4latetable 1true4latetable 0true4latetable 0"
ends(LATE, RAN, "and one whose finalisers make sockets and finalisers while the VM closes")
ends(LATE .. "clear(); os.exit(0, true)", RAN, "by os.exit and without the modules, too")
ends([[coroutine.wrap(function() local a = pair(); KEEP = a; os.exit(3, true) end)()]], "3", "and one that ends in a coroutine")

-- A second VM in this process, as a server that embeds LuaJIT has.
local SECOND = PRELUDE .. [[
local ffi = require "ffi"
jit.off()
ffi.cdef "void *llsocket_t_newstate(void) __asm__(\"luaL_newstate\");"
ffi.cdef "void llsocket_t_openlibs(void *) __asm__(\"luaL_openlibs\");"
ffi.cdef "int llsocket_t_loadstring(void *, const char *) __asm__(\"luaL_loadstring\");"
ffi.cdef "int llsocket_t_pcall(void *, int, int, int) __asm__(\"lua_pcall\");"
ffi.cdef "const char *llsocket_t_tolstring(void *, int, size_t *) __asm__(\"lua_tolstring\");"
ffi.cdef "void llsocket_t_closestate(void *) __asm__(\"lua_close\");"
local C = ffi.C
if not pcall(function() return C.llsocket_t_newstate end) then io.write "hidden"; return end
local a, b = pair()
local function run(vm, code)
  local rc = C.llsocket_t_loadstring(vm, code)
  if rc == 0 then rc = C.llsocket_t_pcall(vm, 0, 1, 0) end
  return rc, ffi.string(C.llsocket_t_tolstring(vm, -1, nil))
end
local code = "local L = require 'llsocket' P = L.socket.pair(L.SOCK_STREAM) P[1]:send 'x' " ..
  "return P[1]:fd() .. ' ' .. P[2]:recv()"
for round = 1, 3 do
  local vm = C.llsocket_t_newstate()
  if vm == nil then io.write "none"; return end
  C.llsocket_t_openlibs(vm)
  local rc, text = run(vm, code)
  local fd, got = text:match "^(%d+) (.*)$"
  C.llsocket_t_closestate(vm)
  if rc ~= 0 or got ~= "x" then print(rc, text) end
  if require("llsocket.shim").llsocket2_fcntl(tonumber(fd) or 0, 1, 0) ~= -1 then print "left open" end
end
collect()
io.write(a:send "still", " ", (b:recv()))]]
local text = proc.lua(SECOND)
if text == "hidden" or text == "none" then
  T.skip(1, "this LuaJIT cannot make a second VM from Lua: " .. text)
else
  T.is(text, "5 still", "a second VM loads llsocket, is closed with its sockets, and the first goes on")
end

prints([[
local function broken() error("no memory for you", 0) end
package.preload["llsocket.inet"] = broken
print(select(2, pcall(require, "llsocket")))
package.preload["llsocket.inet"] = nil
package.loaded["llsocket.inet"], package.loaded["llsocket"] = nil, nil
print(type(require "llsocket"))]], "no memory for you\ntable\n", "a load that failed half-way can be made again")

net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
