-- syscall-counts: the system calls that each method makes, counted by strace(1).
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local leak = require "leak"
local missing = require "missing"
local before = leak.count()

-- What libc makes of a call is its own matter: musl's fcntl(2) sets close-on-exec once more, its sendmmsg(2) is a loop of
-- sendmsg(2).  The name, the bare call, what that needs, and how many messages it stands for.
local LIBC = {
  { "fcntl, F_DUPFD_CLOEXEC", "shim.llsocket2_fcntl(0, L.F_DUPFD_CLOEXEC, 0)", "flags" },
  { "sendmmsg of 8", "C.llsocket2_sendmmsg(-1, zeros, 1, 0)", "mmsg", 8 },
}

-- name, what prepares, what is measured, the calls expected (or a name of LIBC), what these need (a field of missing).
local ROWS = {
  { "new", "", "keep(L.socket.new(tcp, true))", "socket", "flags" },
  { "new, blocking", "", "keep(L.socket.new(tcp))", "socket", "flags" },
  { "pair", "", "keep(L.socket.pair(L.SOCK_STREAM, true))", "socketpair", "flags" },
  { "accept", "keep(connected())", "assert(listener:accept())", "accept", "flags" },
  { "accept, non-blocking", "keep(connected())", "assert(listener:accept(true))", "accept", "flags" },
  { "accept with the peer's address", "keep(connected())", "assert(listener:accept(true, peer_name))", "accept", "flags" },
  { "accept, nobody waits", "listener:nonblock(true)", "listener:accept()", "accept" },
  { "dup", "", "keep(a:dup())", "fcntl, F_DUPFD_CLOEXEC", "flags" },
  { "send", "", "assert(a:send 'x' == 1)", "sendto", "nosignal" },
  { "sendto", "", "assert(udp:sendto('x', udp_name) == 1)", "sendto", "nosignal" },
  { "recv", "drain(b); a:send 'x'", "assert(b:recv() == 'x')", "recvfrom" },
  { "recv of 64 KiB", "drain(b); a:send 'x'", "assert(b:recv(65536) == 'x')", "recvfrom" },
  { "recv of 1 MiB", "drain(b); a:send 'x'", "assert(b:recv(2^20) == 'x')", "recvfrom" },
  { "recv, nothing waits", "drain(b)", "assert(select(3, b:recv()))", "recvfrom" },
  { "recvfrom", "drain(udp); udp:sendto('x', udp_name)", "assert(udp:recvfrom() == 'x')", "recvfrom" },
  { "sendbatch of 8", "udp_batch:to(udp_name)", "assert(udp:sendbatch(udp_batch, 8) == 8)", "sendmmsg of 8", "mmsg" },
  { "recvbatch of 8", "drain(udp); udp:sendbatch(udp_batch, 8)", "assert(udp:recvbatch(udp_batch) == 8)", "recvmmsg", "mmsg" },
  { "the answer to a batch", "", "assert(udp:sendbatch(udp_batch) == 8)", "sendmmsg of 8", "mmsg" },
  { "recvbatch, nothing waits", "drain(udp)", "assert(select(3, udp:recvbatch(udp_batch, L.MSG_DONTWAIT)))", "recvmmsg", "mmsg" },
  { "a batch's data, names and lengths", "", "keep(udp_batch:data(1), udp_batch:name(1), udp_batch:length(1, 1))", "" },
  { "recvbatch of a stream", "drain(b); a:send 'x'", "assert(b:recvbatch(udp_batch) == 1)", "recvmsg" },
  { "recv of an empty datagram", "drain(udp); udp:sendto('', udp_name)", "assert(udp:recv() == '')", "recvfrom" },
  { "recv of an empty seqpacket", "seq[1]:send ''", "assert(seq[2]:recv() == '')", "recvfrom poll" },
  { "recv at the end of a stream", "fresh = L.socket.pair(L.SOCK_STREAM); fresh[1]:close()", "assert(not fresh[2]:recv())",
    "recvfrom" },
  { "splice", "drain(b); a:send 'x'", "assert(b:splice(c, pipe) == 1)", "splice rt_sigprocmask splice rt_sigprocmask",
    "splice" },
  { "sendfile", "", "assert(a:sendfile(file, 16) == 16)", "rt_sigprocmask sendfile rt_sigprocmask", "sendfile" },
  { "from of a file", "fresh = L.pipe.new()", "assert(fresh:from(file, 16, 0) == 16)", "splice", "splice" },
  { "from into a pipe that holds bytes", "fresh = L.pipe.new(); fresh:from(file, 16, 0)",
    "assert(fresh:from(file, 16, 0) == 16)", "poll splice", "splice" },
  { "tee", "fresh, other = L.pipe.new(), L.pipe.new(); fresh:from(file, 16, 0)", "assert(fresh:tee(other) == 16)", "tee",
    "splice" },
  { "to of a socket", "fresh = L.pipe.new(); fresh:from(file, 16, 0)", "assert(fresh:to(a:fd(), 16) == 16)",
    "rt_sigprocmask splice rt_sigprocmask", "splice" },
  { "fill", "fresh = L.pipe.new()", "assert(fresh:fill(page) == 4096)", "vmsplice", "splice" },
  { "recvfd of a datagram socket", "drain(b); a:sendfd(udp)", "assert(b:recvfd())",
    "recvmsg getsockopt getsockopt getsockopt fcntl poll", "flags" },
  { "recvfd of a stream", "drain(b); a:sendfd(a)", "assert(b:recvfd())",
    "recvmsg getsockopt getsockopt getsockopt fcntl", "flags" },
  { "wrap of a datagram socket", "fresh = L.socket.new(udp_name)", "keep(assert(L.socket.wrap(fresh:unwrap())))",
    "getsockopt getsockopt getsockopt fcntl fcntl poll" },
  { "recvfd of a file", "drain(b); a:sendfd(file)", "assert(b:recvfd())", "recvmsg getsockopt", "flags" },
  { "an option read", "", "assert(a:rcvbuf())", "getsockopt" },
  { "an option set", "", "assert(a:reuseaddr(true))", "setsockopt" },
  { "an option of 64 bits read", "", "a:getsockopt(L.SOL_SOCKET, L.SO_TYPE, 'uint64')", "getsockopt" },
  { "an option with an input read", "", "assert(a:getsockopt(L.SOL_SOCKET, L.SO_TYPE, 'bytes', 4))", "getsockopt" },
  { "a time-out read", "", "assert(a:rcvtimeo())", "getsockopt" },
  { "a time-out set", "", "assert(a:rcvtimeo(1.5))", "setsockopt" },
  { "a filter set", "fresh = L.socket.new(udp_name)", "assert(fresh:filter 'ret #-1')", "setsockopt" },
  { "a filter read", "fresh = L.socket.new(udp_name)", "assert(fresh:filter() == false)", "getsockopt" },
  { "linger set", "", "assert(a:linger(1))", "setsockopt" },
  { "error", "", "assert(a:error() == 0)", "getsockopt" },
  { "supports", "", "assert(a:supports 'peercred')", "getsockopt" },
  { "supports, of a method that is no option", "", "assert(a:supports 'send')", "" },
  { "an option of 64 bits read by name", "", "assert(a:cookie())", "getsockopt" },
  { "cloexec read", "", "assert(a:cloexec())", "fcntl" },
  { "cloexec set", "", "assert(a:cloexec(true))", "fcntl" },
  { "nonblock read", "", "assert(a:nonblock())", "fcntl" },
  { "nonblock set", "", "assert(a:nonblock(true))", "ioctl" },
  { "getsockname", "", "assert(udp:getsockname())", "getsockname" },
  { "getpeername", "", "assert(a:getpeername())", "getpeername" },
  { "bind", "fresh = L.socket.new(tcp)", "assert(not fresh:bind())", "bind" },
  { "listen", "fresh = L.socket.new(tcp)", "assert(not fresh:listen())", "listen" },
  { "connect", "fresh = L.socket.new(tcp)", "assert(not fresh:connect(listener_name))", "connect" },
  { "connect under way", "fresh = L.socket.new(tcp, true)", "fresh:connect(listener_name)", "connect fcntl" },
  { "shutdown", "fresh = L.socket.pair(L.SOCK_STREAM)", "assert(not fresh[1]:shutdown())", "shutdown" },
  { "close", "fresh = L.socket.new(tcp)", "assert(not fresh:close())", "close" },
  { "a second close", "fresh = L.socket.new(tcp); fresh:close()", "assert(not fresh:close())", "" },
  { "recvable", "drain(b); a:send 'x'", "assert(b:recvable(1))", "poll" },
  { "sendable", "drain(b)", "assert(a:sendable(1))", "poll" },
  { "family, socktype, protocol and fd", "", "keep(a:family(), a:socktype(), a:protocol(), a:fd())", "" },
  { "an impossible size", "", "assert(select(4, a:recv(-1)) == L.EINVAL)", "" },
  { "an impossible flag", "", "assert(select(4, a:send('x', 1.5)) == L.EINVAL)", "" },
  { "an address's text, host and port", "", "keep(tostring(udp_name), udp_name:addr(), udp_name:port())", "" },
}

-- Measured at their first call, before anything is warm.
local COLD = {
  { "getaddrinfo of IPv4", "", "keep(assert(L.inet.getaddrinfo('127.0.0.1', '80')))", "" },
  { "getaddrinfo of IPv6", "", "keep(assert(L.inet.getaddrinfo('2001:db8::1', '65535')))", "" },
  { "getaddrinfo4", "", "keep(assert(L.inet.getaddrinfo4('192.0.2.1', '0')))", "" },
  { "getaddrinfo6", "", "keep(assert(L.inet.getaddrinfo6('::1', '443', L.SOCK_DGRAM)))", "" },
  { "getaddrinfo of a unix path", "", "keep(assert(L.unix.getaddrinfo('/run/x')))", "" },
  { "getaddrinfo of an abstract name", "", "keep(assert(L.unix.getaddrinfo('\\0x', L.SOCK_DGRAM)))", "" },
}

local HEAD = [[
local ffi = require "ffi"
local L = require "llsocket"
ffi.cdef 'int llsocket_t_rawwrite(int fd, const void *buf, size_t len) __asm__("write");'
local shim, C = require "llsocket.shim", require "llsocket.core.libc"
local zeros, kept = ffi.new "uint8_t[1024]", {}
local function keep(...) kept[#kept + 1] = { ... } end
local function mark(name) ffi.C.llsocket_t_rawwrite(-1, name, #name) end
collectgarbage(); collectgarbage "stop" -- a finaliser's close(2) would be counted
]]

local SETUP = [[
local tcp = L.inet.getaddrinfo("127.0.0.1", "0")[1]
local listener = L.socket.new(tcp)
listener:bind(); listener:listen()
local listener_name, peer_name = listener:getsockname(), listener:getsockname()
local function connected()
  local sock = L.socket.new(tcp)
  assert(not sock:connect(listener_name))
  return sock
end
local a, b = unpack(L.socket.pair(L.SOCK_STREAM, true))
local udp = L.socket.new(L.inet.getaddrinfo("127.0.0.1", "0", L.SOCK_DGRAM)[1])
udp:bind()
local udp_name = udp:getsockname()
local c, d = unpack(L.socket.pair(L.SOCK_STREAM, true))
local pipe = L.pipe.new()
local seq = L.socket.pair(L.SOCK_SEQPACKET, true)
local udp_batch = L.batch.new { count = 8, size = 64 }
local file = io.tmpfile()
file:write(("f"):rep(16)); file:flush()
local function drain(sock)
  while sock:recv(65536, L.MSG_DONTWAIT) do end
end
local fresh, other, page = nil, nil, require("ffi").new "uint8_t[4096]"
]]

-- One row of the script; `times` above 1 means that the earlier ones only warm up.
local function measured(i, row, times)
  if missing[row[5]] then return "" end
  return ("for _ = 1, %d do\n%s\nmark '<%d'\n%s\nmark '>'\nend\n"):format(times, row[2], i, row[3])
end

-- The allocator's, the JIT's and the marks' own.
local MEMORY = { mmap = true, mmap2 = true, munmap = true, mremap = true, mprotect = true, brk = true, madvise = true }
-- What a call is named on other architectures.
local SAME = {
  accept4 = "accept", ppoll = "poll", fcntl64 = "fcntl", sendfile64 = "sendfile", send = "sendto", recv = "recvfrom",
}

-- Answers, by number, the calls between the last pair of marks of each row.
local function read_trace(path)
  local out, row, calls = {}, nil, nil
  for line in io.lines(path) do
    local name, mark = line:match "^([%w_]+)%(", line:match '^write%(%-1, "([<>]%d*)"'
    if mark == ">" then
      out[row], row = table.concat(calls, " "), nil
    elseif mark then
      row, calls = tonumber(mark:sub(2)), {}
    elseif row and name and not MEMORY[name] then
      calls[#calls + 1] = SAME[name] or name
    end
  end
  return out
end

local T = require("tap").plan(#ROWS + #COLD + 1)
local BARE = #COLD + #ROWS -- the rows of LIBC come after these
local dir = net.tmpdir()
local script, log = dir .. "/script.lua", dir .. "/log"

local function write_script()
  local file = assert(io.open(script, "w"))
  file:write(HEAD)
  for i, row in ipairs(COLD) do file:write(measured(i, row, 1)) end
  for i, row in ipairs(LIBC) do file:write(measured(BARE + i, { row[1], "", row[2], "", row[3] }, 1)) end
  file:write(SETUP)
  for i, row in ipairs(ROWS) do file:write(measured(#COLD + i, row, 3)) end
  file:close()
end

local function mode()
  if not jit.status() then return "-joff" end
  return os.getenv "LLSOCKET_STRESS" and "-Ohotloop=2,hotexit=1" or ""
end

local function run()
  if not select(2, proc.run "command -v strace") then return nil, "no strace on this machine" end
  local said, traces = proc.run "strace -o /dev/null true"
  if not traces then return nil, "strace may not trace here: " .. said:gsub("\n", " ") end
  write_script()
  local text, ended = proc.run(shell.format("strace -o %q %q %s %q", log, proc.luajit, mode(), script))
  if not ended then print("# " .. text) end
  return read_trace(log)
end

-- What a row expects: of a bare call that is not one for all messages, as many.
local function expected(seen, row)
  for i, bare in ipairs(LIBC) do
    if bare[1] == row[4] then
      local calls = seen[BARE + i]
      return calls == "sendmsg" and calls .. (" " .. calls):rep(bare[4] - 1) or calls
    end
  end
  return row[4]
end

local seen, why = run()
for i = 1, #COLD + #ROWS do
  local row = COLD[i] or ROWS[i - #COLD]
  local lacks = not seen and why or missing[row[5]]
  if lacks then T.skip(1, lacks)
  else
    local calls = expected(seen, row)
    T.is((tostring(seen[i]):gsub("_time64", "")), calls,
      row[1] .. (calls == "" and " makes no system call" or " makes " .. calls))
  end
end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
