-- batch.lua -- sends or receives many messages with one call.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local answer = require "llsocket.socket.answer"
local batches = require "llsocket.batch"
local sockets = require "llsocket.socket.object"
local sockaddr = require "llsocket.address.sockaddr"
local zero = require "llsocket.socket.zero"
local select, tonumber = select, tonumber

local errno, bor, band, min, type = ffi.errno, bit.bor, bit.band, math.min, type
local is_self, has_empty, is_blind, send_flags = sockets.self, answer.has_empty, answer.is_blind, answer.send_flags
local not_received, not_sent = answer.not_received, answer.not_sent
local EINVAL, EOPNOTSUPP, AF_UNIX, SOCK_STREAM = const.EINVAL, const.EOPNOTSUPP, const.AF_UNIX, const.SOCK_STREAM
local MSG_ERRQUEUE, asked = const.MSG_ERRQUEUE or 0, zero.asked
local MSG_NOSIGNAL, MSG_DONTWAIT, MSG_WAITALL = answer.MSG_NOSIGNAL, const.MSG_DONTWAIT, const.MSG_WAITALL
local c_sendmsg, quiet = answer.sendmsg, answer.quiet
local MSG_WAITFORONE = const.MSG_WAITFORONE -- a system that has it also has recvmmsg(2) and sendmmsg(2)

-- Whether a receive waits only for the first message, and then takes those that are already there.
local function waits_for_one(flags) return band(flags, MSG_WAITALL) == 0 end

local function receive(sock, batch, flags)
  if waits_for_one(flags) then flags = bor(flags, MSG_WAITFORONE) end
  local n, e = C.llsocket2_recvmmsg(sock.sd, batch.into + 1, batch.capacity, flags, nil), errno()
  return n, e
end

-- late[socket]: an error after the first message; the next call answers it, as the kernel does.
local late = setmetatable({}, { __mode = "k" })

local function stopped(sock, n, e)
  if n == 0 then return -1, e end
  if not select(3, answer.not_received(e)) then late[sock] = e end
  return n, e
end

-- Does the same as receive() where the system has no recvmmsg(2).
local function receive_each(sock, batch, flags)
  local into, after, before = batch.into, bor(flags, waits_for_one(flags) and MSG_DONTWAIT or 0), late[sock]
  late[sock] = nil
  if before and sock.sd >= 0 then return -1, before end
  for i = 1, batch.capacity do
    local n, e = C.llsocket2_recvmsg(sock.sd, into[i].msg_hdr, flags), errno()
    if n < 0 then return stopped(sock, i - 1, e) end
    into[i].msg_len, flags = n, after
  end
  return batch.capacity, 0
end

local function send(sd, batch, first, n, flags)
  local sent, e = C.llsocket2_sendmmsg(sd, batch.out + first, n, flags), errno()
  return sent, e
end

-- Index the arrays directly: LuaJIT would allocate an object for a pointer to the first message that the loop uses.
local function send_each(sd, batch, first, n, flags)
  local out, gathered = batch.out, batch.gathered
  for i = first, first + n - 1 do
    local sent, e = c_sendmsg(sd, out[i].msg_hdr, flags), errno()
    if sent < 0 then return i > first and i - first or -1, e end
    out[i].msg_len = sent
    if sent < tonumber(gathered[i].iov_len) then return i - first + 1, 0 end
  end
  return n, 0
end

-- Do not use sendmmsg of the BSDs: there it is a loop in libc, which goes on after a partial send and would mix up a stream.
if not MSG_WAITFORONE then receive = receive_each end
if not (MSG_WAITFORONE and quiet and ffi.os == "Linux") then send = send_each end

---@class llsocket.socket
local Socket = {}

-- Gives the kernel the whole capacity again for messages that are not kept.
local function restore(batch, first, n)
  for i = first, n do
    local into = batch.into[i].msg_hdr
    into.msg_namelen, into.msg_controllen = sockaddr.SIZE, batch.controlsize
  end
end

local CERTAIN = bor(MSG_ERRQUEUE, const.MSG_CTRUNC) -- with one of these flags even an empty message is a message

local function is_bare(one)
  local into = one.msg_hdr
  return one.msg_len == 0 and into.msg_namelen == 0 and into.msg_controllen == 0 and band(into.msg_flags, CERTAIN) == 0
end

-- Finds the last of `n` messages that has bytes, a sender or ancillary data; answers 0 if none has.  Those behind it may be the
-- end of the data.
local function last_certain(batch, n)
  while n > 0 and is_bare(batch.into[n]) do n = n - 1 end
  return n
end

-- Divides the bytes that one call received from a stream into messages; answers their number.  The ancillary data belongs to the
-- first message.
local function spread(batch, n)
  local into, size, count = batch.into, batch.size, 1
  into[1].msg_len = min(n, size)
  while n > count * size do
    count = count + 1
    local header = into[count].msg_hdr
    into[count].msg_len = min(n - (count - 1) * size, size)
    header.msg_namelen, header.msg_controllen, header.msg_flags = 0, 0, 0
  end
  return count
end

-- Do not use recvmmsg(2) for a stream: it would report a reset before the bytes that wait, and take the error away from other
-- calls.  A stream has no messages, so one recvmsg(2) fills all buffers, one after another.
local function receive_stream(sock, batch, flags)
  local header = batch.into[1].msg_hdr
  header.msg_iovlen = batch.capacity
  local n, e = C.llsocket2_recvmsg(sock.sd, header, flags), errno()
  header.msg_iovlen = 1
  if n > 0 then n = spread(batch, n) end
  return n, e
end

-- Whether the call reads the bytes of a stream, and not the reports of its error queue, which are messages.
local function is_stream(sock, flags) return sock.about.kind == SOCK_STREAM and band(flags, MSG_ERRQUEUE) == 0 end

-- Answers how many of `n` messages came before the end.  At the end the kernel fills all other messages with 0 bytes, so one
-- question decides for all empty messages behind the last certain one.
local function before_end(sock, batch, n, flags)
  local certain = last_certain(batch, n)
  if certain == n or zero.is_message(sock, flags, false) then return n end
  restore(batch, certain + 1, n)
  return certain
end

local function recvbatch(sock, batch, flags)
  if not flags or is_blind(sock, flags) then return not_received(EINVAL) end
  if batch.controlsize > 0 and sock.home == AF_UNIX and sock.sd >= 0 then return not_received(EOPNOTSUPP) end
  local n, e = (is_stream(sock, flags) and receive_stream or receive)(sock, batch, flags)
  if n < 0 then
    if zero.is_end(sock, e, flags) then return end
    return answer.receive_failed(sock, e)
  end
  if asked[0] and sock.about.asks then n = before_end(sock, batch, n, flags) end
  if n == 0 then return end
  batches.after_receive(batch, sock, n)
  return n, nil, false
end

--- Receives many messages; see recvmmsg(2).  Blocks on a blocking socket, for as long as rcvtimeo allows, until the first
--- has arrived, and takes the others that are there then.  Allocates nothing.  An error after the first message is answered by
--- the next call.
---@param batch llsocket.batch  is overwritten
---@param flag? integer  MSG_*.  With MSG_WAITALL it blocks until the batch is full.  MSG_TRUNC is EINVAL on a stream
---@param f2? integer  more flags, up to f8
---@return integer? n  messages, from 1; no values at all when the peer has closed
---@return string? err
---@return boolean? again  true: would block or was interrupted
---@return integer? errno  EAGAIN, EINTR, ECONNRESET, ECONNREFUSED, ENOTCONN; EOPNOTSUPP: unix sockets may bring
---descriptors, which a batch cannot hold; EBADF once closed
function Socket:recvbatch(batch, flag, f2, f3, f4, f5, f6, f7, f8, f9)
  is_self(self, "recvbatch")
  batches.arg(batch, 1, "recvbatch")
  return recvbatch(self, batch, check.flags(2, "recvbatch", flag, f2, f3, f4, f5, f6, f7, f8, f9))
end

local function sendbatch(sock, batch, n, first, flags)
  if not (flags and batches.has(batch, n, first)) then return not_sent(EINVAL) end
  local in_order = not has_empty(sock.about.kind) -- a stream: it has no empty message, and may take a part of one
  if in_order and batches.has_empty(batch, n, first) then return not_sent(EINVAL) end
  local sent, e = send(sock.sd, batch, first, n, bor(flags, MSG_NOSIGNAL))
  if sent < 0 then return answer.send_failed(sock, e) end
  if in_order and batches.after_partial_send(batch, first + sent - 1) then sent = sent - 1 end
  return answer.sent(sock, sent, sent < n)
end

--- Sends many messages; see sendmmsg(2).  Blocks on a blocking socket, for as long as sndtimeo allows.  Allocates
--- nothing.  Never raises SIGPIPE.  An error after the first message is answered by the next call.
---@param batch llsocket.batch  where a stream takes a part of a message, the batch keeps the rest of that message
---@param n? integer  messages, from 1; the default is all from `first` to its count
---@param first? integer  the message to begin with, from 1, which is the default
---@param flag? integer  MSG_*
---@param f2? integer  more flags, up to f8
---@return integer? n  messages sent; no values at all when the peer has closed
---@return string? err
---@return boolean? again  true: fewer than `n` were taken, would block, or was interrupted
---@return integer? errno  EAGAIN, EINTR, EMSGSIZE, ENOTCONN, EDESTADDRREQ, ECONNREFUSED, ENOBUFS; EINVAL for numbers out
---of range and for an empty message on a stream; EBADF once closed
function Socket:sendbatch(batch, n, first, flag, f2, f3, f4, f5, f6, f7, f8, f9)
  is_self(self, "sendbatch")
  batches.arg(batch, 1, "sendbatch")
  if type(n) ~= "nil" then check.number(n, 2, "sendbatch") end
  if type(first) == "nil" then first = 1 end
  check.number(first, 3, "sendbatch")
  if type(n) == "nil" then n = batch.filled - first + 1 end
  return sendbatch(self, batch, n, first, send_flags(4, "sendbatch", flag, f2, f3, f4, f5, f6, f7, f8, f9))
end

return { methods = Socket }
