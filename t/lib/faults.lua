-- faults.lua -- which errnos a system call is made to fail with, and what an operation may answer then.
local L = require "llsocket"
local errno = require "llsocket.errno"
local operations = require "operations"
local shapes = require "shapes"
local torture = require "torture"

local M = {}

-- Calls that are not made to fail: memory has its own torture, processes and the VM's own business are nobody's
-- promise, and some cannot fail.
M.SKIPPED = {}
for name in ([[brk mmap munmap mremap mprotect madvise futex exit exit_group wait4 clone clone3 fork vfork set_robust_list rseq
  rt_sigreturn set_tid_address prlimit64 getrandom getpid getuid getgid uname]]):gmatch "%S+" do M.SKIPPED[name] = true end

local COMMON = "EINTR EBADF ENOMEM EINVAL ENOBUFS EPERM EIO ENOSYS"
local BIRTH, MOVE = " EMFILE ENFILE EACCES", " EAGAIN ECONNRESET EPIPE ECONNREFUSED ENOTCONN EMSGSIZE ETIMEDOUT EHOSTUNREACH"
local MORE = {
  socket = BIRTH .. " EAFNOSUPPORT EPROTONOSUPPORT", socketpair = BIRTH .. " EOPNOTSUPP", pipe2 = BIRTH, eventfd2 = BIRTH,
  epoll_create1 = BIRTH, timerfd_create = BIRTH, signalfd4 = BIRTH, pidfd_open = BIRTH .. " ESRCH", fcntl = " EMFILE EAGAIN",
  openat = BIRTH .. " ENOENT", accept4 = BIRTH .. " EAGAIN ECONNABORTED EPROTO EOPNOTSUPP",
  accept = BIRTH .. " EAGAIN ECONNABORTED EPROTO EOPNOTSUPP",
  connect = " EAGAIN EINPROGRESS EALREADY EISCONN ECONNREFUSED ETIMEDOUT ENETUNREACH EADDRNOTAVAIL",
  bind = " EADDRINUSE EADDRNOTAVAIL EACCES", listen = " EADDRINUSE EOPNOTSUPP", shutdown = " ENOTCONN",
  sendto = MOVE .. " EINPROGRESS EDESTADDRREQ", sendmsg = MOVE .. " ETOOMANYREFS", sendmmsg = MOVE, recvfrom = MOVE,
  recvmsg = MOVE, recvmmsg = MOVE, sendfile = MOVE, splice = MOVE, read = " EAGAIN", write = " EAGAIN",
  tee = " EAGAIN", vmsplice = " EAGAIN",
  getsockopt = " ENOPROTOOPT EOPNOTSUPP EMFILE",
  setsockopt = " ENOPROTOOPT EOPNOTSUPP EADDRNOTAVAIL ENODEV", getsockname = " ENOTSOCK", getpeername = " ENOTCONN",
  epoll_ctl = " EEXIST ENOENT ENOSPC", ioctl = " ENODEV ENOTTY",
}

-- The names of the errnos that a call fails with.
function M.errnos(call)
  local out = {}
  for name in (COMMON .. (MORE[call] or "")):gmatch "%S+" do
    if L[name] then out[#out + 1] = name end
  end
  return out
end

local function is_end(op, e) return op.family == "send" and (e == L.EPIPE or e == L.ECONNRESET) end

-- Whether `outcome` is what the family promises for this errno, where the errno is told at all.
local function fits(op, outcome, e)
  if outcome == "failed" then
    return not (torture.AGAIN[e] and (op.family == "send" or op.family:find "^recv" or op.family == "accept"))
  end
  return torture.AGAIN[e] or op.family == "accept" and e == L.ECONNABORTED
    or (op.family == "send" or op.family == "connect") and e == L.EINPROGRESS
end

-- Where a call may fail and the operation does its work all the same: the operation (a pattern), the calls, the errnos (* for
-- all), and why.  `other`: any answer of its family is right.
local RIGHT = {
  { "by name$", "*", "*", "the resolver tries what is left", other = true },
  { "^inet.getaddrinfo4", "*", "*", "the resolver tries what is left", other = true },
  { "^inet.service", "*", "*", "the resolver tries what is left", other = true },
  { "^ai:fields", "*", "*", "the interface's name is left out", other = true },
  { "^socket.activated", "fcntl", "*", "a number that is not open was not passed", other = true },
  { "^socket.activated", "getsockopt", "*", "what cannot be asked is no socket, but a descriptor", other = true },
  { "^sock:recvfd", "getsockopt fcntl", "*", "what cannot be asked is no socket, but a descriptor", other = true },
  { "^device", "sendto recvfrom socket", "EINTR ENOBUFS EMSGSIZE", "a dump is tried again" },
  { "^sock:mcastfilter, of any", "sendto recvfrom socket", "EINTR ENOBUFS EMSGSIZE", "a dump is tried again" },
  { "^sock:mcastfilter, of any", "close", "*", "a socket of the call's own" },
  { "^device", "close", "*", "a socket of the call's own" }, { "^inet.getaddrinfo6", "close", "*", "a socket of the call's own" },
  { "^cmsghdr.pktinfo", "close", "*", "a socket of the call's own" },
  { "^addrinfo", "close", "*", "a socket of the call's own" },
  { "^device", "socket", "EACCES EAFNOSUPPORT EPERM", "a socket of another family does, too" },
  { "^inet.getaddrinfo6", "socket", "EACCES EAFNOSUPPORT EPERM", "a socket of another family does, too" },
  { "^cmsghdr.pktinfo", "socket", "EACCES EAFNOSUPPORT EPERM", "a socket of another family does, too" },
  { "^addrinfo", "socket", "EACCES EAFNOSUPPORT EPERM", "a socket of another family does, too" },
  { "^device.name", "ioctl", "ENODEV", "the page promises ENXIO", other = true },
  { "^poller:close", "close", "*", "an eventfd of the poller's own" }, { "^loop", "close", "*", "descriptors of the loop's own" },
  { "^loop", "epoll_wait poll", "*", "run is called again" },
  { "^loop", "epoll_ctl", "EEXIST", "then the registration is changed, and there is none", other = true },
  { "^poller:wake", "write", "EAGAIN", "it is awake already" },
  { "^poller:remove", "epoll_ctl", "*", "the poller forgets in any case, and drops what the kernel still tells", other = true },
  { "^sock:close, zero", "recvmsg", "*", "it only asks what is done already" },
  { "^sock:completed", "recvmsg", "EAGAIN", "nothing more is done" },
  { "^sock:connect, non", "connect", "EINPROGRESS", "so it answers without a fault" },
  { "^sock:connect, non", "fcntl", "*", "what the object knows is used" },
  { "^sock:getsockopt, desc", "fcntl", "*", "the kernel has made it close-on-exec" },
  { "^poll.child, a d", "waitid", "EBADF", "it tells that the descriptor is no process", other = true },
  { "^sock:originaldst", "getsockopt", "EOPNOTSUPP", "so it answers without a fault" },
  { "^sock:peerpidfd", "fcntl", "*", "the kernel has made it close-on-exec" },
  { "^sock:recv, an empty", "poll", "*", "a peek tells it, too" },
  { "IPv6", "setsockopt", "EINVAL ENOPROTOOPT EOPNOTSUPP", "the IPv4 half of a socket that can have none" },
  { "^sock:supports", "getsockopt", "*", "any error but two tells that the kernel has the option", other = true },
  { "^socket.supports", "close", "*", "a socket of the call's own" },
  { "^socket.supports", "socket", "EACCES EPERM EAFNOSUPPORT EPROTONOSUPPORT EINVAL", "these tell what was asked", other = true },
  { "^sock:unicastif, IPv6", "ioctl", "EINVAL", "taken for a socket that can have no IPv4 half", other = true },
  { "^sock:peersec", "getsockopt", "ENOPROTOOPT", "so it answers without a fault" },
  { "^sock:sndlowat, set", "setsockopt", "ENOPROTOOPT", "so it answers without a fault" },
  { "^sock:reservemem, set", "setsockopt", "EOPNOTSUPP", "so it answers without a fault, outside of a memory cgroup" },
  { "^sock:s", "rt_sigprocmask", "*", "the mask that cannot be set back stays" },
  { "^tube:to", "rt_sigprocmask", "*", "the mask that cannot be set back stays" },
  { "^tube:from, TCP", "splice", "EAGAIN", "one byte is received, since an urgent mark may be the reason", other = true },
  { "^sock:splice", "splice", "EAGAIN", "one byte is received, since an urgent mark may be the reason", other = true },
  { "^s:", "recvfrom sendto sendmsg", "EAGAIN EINTR EINPROGRESS", "a stream waits, and goes on" },
  { "^s:write", "sendto sendmsg", "EPIPE ECONNRESET", "it tells them as errors" },
  { "^stream.connect, two", "*", "*", "another address is tried, and tells its own error", other = true },
  { "^stream.connect", "connect", "EAGAIN EALREADY EINPROGRESS EINTR", "it waits, and asks what came of it" },
  { "^stream.connect", "fcntl", "*", "what the object knows is used" }, { "^stream.connect", "poll", "EINTR", "it waits again" },
  { "^stream.serve", "close", "*", "a descriptor of its own" },
  { "^stream.serve", "accept4 getsockopt epoll_ctl epoll_wait ioctl fcntl", "*",
    "a later accept tells that the listener is closed" },
  { "^socket.congestions", "newfstatat close", "*", "the io library does without" },
  { "^socket.congestions", "read", "*", "the io library reads errno late, and stops at what it has", other = true },
  { "^luasec", "*", "*", "the handshake fails in any case; OpenSSL does without its files", other = true },
  { "^cosocket", "*", "*", "it tells words, and some calls are not its answer's", other = true },
  { "^luasocket", "*", "*", "it tells words, and some calls are not its answer's", other = true },
  { "", "*", "EMFILE ENFILE", "garbage is collected, and the call is tried again" },
}

local function has(words, word) return words == "*" or (" " .. words .. " "):find(" " .. word .. " ", 1, true) end

local function right_row(op, fault)
  for _, row in ipairs(RIGHT) do
    if op.title:find(row[1]) and has(row[2], fault.call) and has(row[3], fault.name) then return row end
  end
end

local function told_failure(op, outcome, e, fault)
  if outcome == "end" then return is_end(op, fault.errno) and "" or "it tells an end" end
  if outcome == "done" then return "it tells success" end
  if op.family == "gai" and e ~= fault.errno then return "" end
  if e ~= fault.errno then return "it tells " .. tostring(errno.name(e)) end
  return fits(op, outcome, e) and "" or ("%s is told as %q"):format(errno.name(e), outcome)
end

local function told(op, answer, fault)
  local outcome, e, as_wanted = operations.judge(op, answer)
  local row = right_row(op, fault)
  if not outcome then return "the answer has no shape of its family" end
  if as_wanted then return row and "" or "it tells success" end
  return row and row.other and "" or told_failure(op, outcome, e, fault)
end

-- Whether the mask stays changed because the system refused to set it back.
function M.may_keep_mask(op, answer, fault)
  return fault.call == "rt_sigprocmask" and right_row(op, fault) and select(3, operations.judge(op, answer))
end

--- Judges what an operation answered while a call failed.
---@param fault table  call, errno, name
---@return string? verdict  nil where all is right
function M.judge(op, ok, answer, fault)
  local verdict = ok and told(op, answer, fault) or "it raises"
  if verdict ~= "" then return verdict end
end

--- Performs the operation again on the same objects, without a fault: they must be usable.
---@return string? verdict
function M.again(op, case, answer, fault)
  local row = right_row(op, fault)
  if row and row.other then return end
  local outcome, _, right = operations.judge(op, answer)
  if outcome == "done" or outcome == "end" or right then return end
  local ok, second = pcall(operations.run, case)
  local line = ok and shapes.line(second) or tostring(second)
  local _, _, as_wanted = nil, nil, false
  if ok then _, _, as_wanted = operations.judge(op, second) end
  if as_wanted then return end
  return "called again it answers " .. line
end

return M
