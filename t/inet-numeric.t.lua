-- inet.getaddrinfo: numeric hosts and ports, what libc would misread, and how many system calls that takes.
local L = require "llsocket"
local leak = require "leak"
local proc = require "proc"
local shell = require "shell"
local show = require("show").show
local inet, INVALID = L.inet, ("nil, Invalid argument, %d, %d"):format(L.EAI_SYSTEM, L.EINVAL)
local NONAME = ("nil, %s, %d"):format(require("llsocket.gai").text(L.EAI_NONAME), L.EAI_NONAME)
local SERVICE = ("nil, %s, %d"):format(require("llsocket.gai").text(L.EAI_SERVICE), L.EAI_SERVICE)

-- What a host and a port become: the text of the first address, or the whole failure.
local PORTS = {
  { "0", "127.0.0.1:0" }, { "1", "127.0.0.1:1" }, { "80", "127.0.0.1:80" }, { "080", "127.0.0.1:80" },
  { "0000000000000000000000080", "127.0.0.1:80" }, { "65535", "127.0.0.1:65535" },
  { "65536", INVALID }, { "65537", INVALID }, { "4294967376", INVALID }, { "18446744073709551696", INVALID },
  { "99999999999999999999", INVALID }, { ("9"):rep(400), INVALID },
  { "+80", INVALID }, { "-1", INVALID }, { "-0", INVALID }, { "+-80", INVALID }, { " 80", INVALID }, { "80 ", INVALID },
  { "\t80", INVALID }, { "80\n", INVALID }, { "- 80", INVALID },
  { "", INVALID }, { "*", INVALID }, { "**", SERVICE },
  { "80\0", INVALID }, { "\00080", INVALID }, { "80\0evil", INVALID }, { "http\0", INVALID }, { "\0", INVALID },
  { "0x50", SERVICE }, { "80a", SERVICE }, { "8.0", SERVICE }, { "1e1", SERVICE },
}

local HOSTS = {
  { "127.0.0.1", "127.0.0.1:80" }, { "0.0.0.0", "0.0.0.0:80" }, { "255.255.255.255", "255.255.255.255:80" },
  { "255.255.255.254", "255.255.255.254:80" }, { "1.2", "1.0.0.2:80" },
  { "::1", "[::1]:80" }, { "::", "[::]:80" }, { "0:0:0:0:0:0:0:1", "[::1]:80" }, { "2001:DB8::A", "[2001:db8::a]:80" },
  { "::ffff:192.0.2.1", "[::ffff:192.0.2.1]:80" }, { "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:80" },
  { "127.0.0.1\0.evil", INVALID }, { "\0", INVALID }, { "\000127.0.0.1", INVALID }, { "localhost\0", INVALID },
  { "::1\0", INVALID }, { "*", INVALID },
  { "256.1.1.1", NONAME }, { "1.2.3.4.5", NONAME }, { "[::1]", NONAME }, { ":::", NONAME }, { "127.0.0.1%lo", NONAME },
}

local T = require("tap").plan(#PORTS + #HOSTS + 15)
local before = leak.count()

local function first(arr, ...)
  if arr then return tostring(arr[1]) end
  return show(arr, ...)
end

for _, row in ipairs(PORTS) do
  local answer = first(inet.getaddrinfo("127.0.0.1", row[1], nil, nil, L.AI_NUMERICHOST))
  T.is(answer, row[2], ("port %q is answered as it should"):format(row[1]:sub(1, 30)):gsub("[%z\n]", "\\0"))
end
for _, row in ipairs(HOSTS) do
  local answer = first(inet.getaddrinfo(row[1], "80", nil, nil, L.AI_NUMERICHOST))
  T.is(answer, row[2], ("host %q is answered as it should"):format(row[1]):gsub("%z", "\\0"))
end

-- What is read without the resolver is what the resolver answers; a canonical name is only its to tell.
local function described(arr, ...)
  if not arr then return show(arr, ...) end
  local out = {}
  for i, ai in ipairs(arr) do
    out[i] = ("%s %d %d %d %q"):format(tostring(ai), ai:family(), ai:socktype(), ai:protocol(), ai:bytes())
  end
  return table.concat(out, ", ")
end

local differences = {}
local function compare(name, ...)
  local arguments = { ... }
  local direct = described(inet[name](...))
  arguments[5] = L.AI_CANONNAME + (arguments[5] or 0)
  local asked = described(inet[name](unpack(arguments, 1, 5)))
  if direct ~= asked then table.insert(differences, ("%s %s: %s, %s"):format(name, show(...), direct, asked)) end
end

local NUMBERS = { "127.0.0.1", "010.0.0.1", "1.2", "255.255.255.255", "::", "::1", "2001:db8::a", "::ffff:192.0.2.1" }
for _, name in ipairs { "getaddrinfo", "getaddrinfo4", "getaddrinfo6" } do
  for _, host in ipairs(NUMBERS) do
    for _, flag in ipairs { L.AI_NUMERICHOST, L.AI_NUMERICHOST + L.AI_PASSIVE } do
      for _, socktype in ipairs { 0, L.SOCK_STREAM, L.SOCK_DGRAM, L.SOCK_RAW, L.SOCK_SEQPACKET } do
        for _, protocol in ipairs { 0, L.IPPROTO_TCP, L.IPPROTO_UDP } do
          compare(name, host, "65535", socktype, protocol, flag)
        end
      end
      compare(name, host, nil, nil, nil, flag)
      compare(name, host, "0", nil, L.IPPROTO_UDP, flag)
    end
  end
end
T.is(table.concat(differences, "; "), "", "an address read without the resolver equals the resolver's answer")

-- 255.255.255.255 is -1 to inet_addr(3).
local ai = inet.getaddrinfo("255.255.255.255", "80")[1]
T.is(ai:addr() .. " " .. ai:port() .. " " .. ai:family(), "255.255.255.255 80 " .. L.AF_INET,
  "the broadcast address is no error")

-- Scopes.
local index = require("llsocket.address.interface").index
local lo = require("llsocket.device").of(L.AF_INET, "127.0.0.1")
if lo then
  T.is(first(inet.getaddrinfo("fe80::1%" .. lo, "80")), ("[fe80::1%%%s]:80"):format(lo), "a scope by name comes back by name")
  T.is(first(inet.getaddrinfo("fe80::1%" .. index(lo), "80")), ("[fe80::1%%%s]:80"):format(lo),
    "a scope by number comes back by name")
  T.is(inet.getaddrinfo6("ff02::1%" .. lo)[1]:addr(), "ff02::1%" .. lo, "a multicast address has a scope too")
else
  T.skip(3, "no interface has 127.0.0.1")
end
T.is(first(inet.getaddrinfo("fe80::1%2147483647", "80")), "[fe80::1%2147483647]:80",
  "a scope that is no interface's stays a number")
T.is(first(inet.getaddrinfo("fe80::1%nosuchdevice", "80", nil, nil, L.AI_NUMERICHOST)), NONAME, "an unknown scope has no name")
T.is(inet.getaddrinfo("::1", "80")[1]:addr(), "::1", "an address without scope shows none")

-- A family that does not fit.
local NO4, NO6 = show(inet.getaddrinfo4("::1", "80")), show(inet.getaddrinfo6("127.0.0.1", "80"))
T.ok(NO4:match "^nil, " and NO4:match(", %-?%d+$"), "getaddrinfo4 refuses an IPv6 address")
T.ok(NO6:match "^nil, " and NO6:match(", %-?%d+$"), "getaddrinfo6 refuses an IPv4 address")
local code = select(3, inet.getaddrinfo4("::1", "80"))
T.ok(code == L.EAI_NONAME or code == L.EAI_ADDRFAMILY, "it does so with EAI_NONAME or EAI_ADDRFAMILY")

-- The calls between two writes that mark the place, in a process of its own under strace(1).
local SOURCE = [[
local L, ffi = require "llsocket", require "ffi"
ffi.cdef 'int llsocket_t_rawwrite(int fd, const void *buf, size_t len) __asm__("write");'
local inet = L.inet
ffi.C.llsocket_t_rawwrite(-1, "<", 1)
for i = 1, %d do
  assert(#inet.getaddrinfo("127.0.0.1", "80") == 1)
  assert(#inet.getaddrinfo("127.0.0.1", "80", 0) > 1)
  assert(#inet.getaddrinfo("127.0.0.1") == 1)
  assert(#inet.getaddrinfo("::1", "65535", L.SOCK_DGRAM, L.IPPROTO_UDP, L.AI_PASSIVE, L.AI_NUMERICHOST) == 1)
  assert(#inet.getaddrinfo4("192.0.2.1", "80", nil, nil, L.AI_CANONNAME) == 1)
  assert(#inet.getaddrinfo6("2001:db8::1", "80", 0) > 1)
  assert(not inet.getaddrinfo("127.0.0.1", "65536"))
  assert(#L.unix.getaddrinfo "/run/x" == 1)
end
ffi.C.llsocket_t_rawwrite(-1, ">", 1)
]]

local function calls(n)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(SOURCE:format(n))
  file:close()
  local out = proc.run(shell.format("strace -qq -e trace='!brk,mmap,?mmap2,munmap,mremap,madvise,mprotect' %q -joff %q",
    proc.luajit, path))
  os.remove(path)
  return out:match 'write%(%-1, "<", 1%)[^\n]*\n(.-)write%(%-1, ">", 1%)'
end

if select(2, proc.run "strace -qq -e trace=none true") then
  T.is(calls(1), "", "a numeric host with a decimal port makes no system call")
  T.is(calls(20), "", "nor do twenty")
else
  T.skip(2, "strace(1) is missing or may not trace here")
end

-- 65,000 would be enough to fill a table of ctypes, and a list that is not freed would show.
collectgarbage()
local used = collectgarbage "count"
for _ = 1, 3000 do inet.getaddrinfo("127.0.0.1", "80", 0) end
collectgarbage()
T.ok(collectgarbage "count" - used < 512, "thousands of lists leave nothing behind")

T.is(leak.count(), before, "no descriptor is left")
T.done()
