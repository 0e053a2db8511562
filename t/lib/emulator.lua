-- emulator.lua -- what the kernel of an emulated machine does not do as the real one: asked by plain calls, before a test
-- relies on it.  Each name is the reason to skip, or false: emulator.room, and the others of PROBES.
local ffi = require "ffi"
local C = require "llsocket.core.libc"
local L = require "llsocket"
local layout = require "llsocket.core.layout"
local shim = require "llsocket.shim"
local proc = require "proc"
local shell = require "shell"

-- A datagram socket that is connected to itself.
local function echo()
  local sock = assert(L.socket.new(assert(L.inet.getaddrinfo("127.0.0.1", "0", L.SOCK_DGRAM))[1], true))
  assert(not sock:bind())
  assert(not sock:connect(sock:getsockname()))
  return sock
end

-- A struct msghdr over one byte and some room for ancillary data; what it points to is kept beside it.
local function message(control, size)
  local msg, iovec, byte = layout.msghdr(), layout.iovec(), ffi.new "uint8_t[8]"
  iovec.iov_base, iovec.iov_len = byte, 1
  msg.msg_iov, msg.msg_iovlen, msg.msg_control, msg.msg_controllen = iovec, 1, control, size
  return msg, { iovec, byte, control }
end

-- Receives packet info into a room that is too small for it; answers whether anything behind was written.
local function writes_behind()
  local sock, control = echo(), ffi.new "uint64_t[64]"
  local room = shim.llsocket2_cmsg_len(0) + 4
  sock:setsockopt(L.IPPROTO_IP, L.IP_PKTINFO, "int", 1)
  sock:send "x"
  local msg, kept = message(control, room)
  C.llsocket2_recvmsg(sock:fd(), msg, 0)
  sock:close()
  return kept and ffi.string(ffi.cast("char *", control) + room, 256):find "%Z" ~= nil
end

-- Whether sendmsg refuses an IP_TTL that setsockopt takes.
local function refuses_ttl()
  local sock, control = echo(), ffi.new "uint64_t[8]"
  local size = shim.llsocket2_cmsg_put(control, 0, L.IPPROTO_IP, L.IP_TTL, ffi.new("int[1]", 9), 4)
  local msg, kept = message(control, size)
  local n = C.llsocket2_sendmsg(sock:fd(), msg, 0)
  sock:close()
  return kept and n < 0
end

-- Whether an option is none at all, be its value never so wrong.
local function is_unknown(sock, level, opt, value)
  local n, e = C.llsocket2_setsockopt(sock:fd(), level, opt, value, ffi.sizeof(value)), ffi.errno()
  sock:close()
  return n ~= 0 and e == L.ENOPROTOOPT
end

local function knows_no_groups() return is_unknown(echo(), L.IPPROTO_IP, L.MCAST_JOIN_GROUP, layout.group_req()) end

local function knows_no_zerocopy()
  return is_unknown(assert(L.socket.pair(L.SOCK_STREAM))[1], L.SOL_SOCKET, L.SO_ZEROCOPY, ffi.new("int[1]", 1))
end

local PROBES = {
  groups = function() return L.MCAST_JOIN_GROUP and knows_no_groups() and "no MCAST_JOIN_GROUP here, nor its kin" end,
  zerocopy = function() return L.SO_ZEROCOPY and knows_no_zerocopy() and "no SO_ZEROCOPY here" end,
  room = function() return L.IP_PKTINFO and writes_behind() and "recvmsg(2) writes behind the room for ancillary data here" end,
  order = function() return L.IP_TTL and refuses_ttl() and "sendmsg(2) does not turn the bytes of ancillary data here" end,
  -- A program of this machine that starts only with the emulator's help has the emulator's calls beside its own.
  calls = function()
    local run = os.getenv "LLSOCKET_RUN"
    if not run or proc.run(shell.quote(os.getenv "LLSOCKET_FACTS") .. " >/dev/null") == "" then return false end
    return "strace(1) sees the calls of the emulator"
  end,
}

return setmetatable({}, { __index = function(M, name)
  M[name] = PROBES[name]() or false
  return M[name]
end })
