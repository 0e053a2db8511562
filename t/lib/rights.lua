-- rights.lua -- raw descriptors to pass, and which numbers this process has.
local ffi = require "ffi"
local L = require "llsocket"
local shim = require "llsocket.shim"

ffi.cdef [[
int llsocket_t_pipe(int *fds) __asm__("pipe");
int llsocket_t_eventfd(unsigned int n, int flags) __asm__("eventfd");
]]

local C = ffi.C
local M = { TOP = 700 }

-- Reads end and write end of a pipe, by number, not close-on-exec.
function M.pipe()
  local fds = ffi.new "int[2]"
  assert(C.llsocket_t_pipe(fds) == 0)
  return fds[0], fds[1]
end

-- An eventfd, or nil where there is none.
function M.eventfd()
  local made, fd = pcall(function() return C.llsocket_t_eventfd(0, 0) end)
  return made and fd or nil
end

-- The open numbers as text: "0 1 2 5".  Collects nothing.
function M.open()
  local out = {}
  for fd = 0, M.TOP do
    if shim.llsocket2_fcntl(fd, L.F_GETFD, 0) >= 0 then out[#out + 1] = fd end
  end
  return table.concat(out, " "), #out
end

-- The same when all garbage is gone.
function M.settled()
  collectgarbage(); collectgarbage()
  return M.open()
end

-- Whether a number is in use.
function M.is_open(fd) return shim.llsocket2_fcntl(fd, L.F_GETFD, 0) >= 0 end

-- The length of a header with `n` bytes of data, as CMSG_LEN has it.
function M.cmsg_len(n) return shim.llsocket2_cmsg_len(n) end

-- A message that carries one descriptor n times.
function M.message(fd, n, data)
  local fds = {}
  for i = 1, n do fds[i] = fd end
  return assert(L.msghdr.new { data = data or "x", control = { assert(L.cmsghdr.rights(unpack(fds))) } })
end

-- How many go in one message: the kernel takes 253; musl 1.2.3 has room for 252.
function M.most()
  local a, b = unpack(assert(L.socket.pair(L.SOCK_DGRAM)))
  local _, _, _, e = a:sendmsg(M.message(1, 253))
  a:close(); b:close()
  return e == L.ENOMEM and 252 or 253
end

-- All objects that a received message carries.
function M.objects(mh)
  local out = {}
  for _, cmsg in ipairs(mh:control()) do
    for _, object in ipairs(cmsg:rights() or {}) do out[#out + 1] = object end
  end
  return out
end

-- How many of the objects are open numbers, each another.
function M.valid(objects)
  local n, seen = 0, {}
  for _, object in ipairs(objects) do
    local fd = object:fd()
    if M.is_open(fd) and not seen[fd] then n = n + 1 end
    seen[fd] = true
  end
  return n
end

return M
