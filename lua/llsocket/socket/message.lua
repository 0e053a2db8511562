-- message.lua -- sends and receives messages, and descriptors in them.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local answer = require "llsocket.socket.answer"
local addrinfo = require "llsocket.addrinfo"
local carriers = require "llsocket.message.carrier"
local control = require "llsocket.message.control"
local iovec = require "llsocket.message.iovec"
local layout = require "llsocket.core.layout"
local rights = require "llsocket.message.rights"
local sockets = require "llsocket.socket.object"
local msghdr = require "llsocket.msghdr"
local sockaddr = require "llsocket.address.sockaddr"
local shortage = require "llsocket.core.shortage"
local zero = require "llsocket.socket.zero"
local type, min = type, math.min

local errno, bor, band = ffi.errno, bit.bor, bit.band
local received = control.received
local is_self, send_flags = sockets.self, answer.send_flags
local not_received, not_sent = answer.not_received, answer.not_sent
local EINVAL, EBADF, EOPNOTSUPP = const.EINVAL, const.EBADF, const.EOPNOTSUPP
local EBADMSG, EMFILE, ENOMEM = const.EBADMSG, const.EMFILE, const.ENOMEM
local AF_UNIX = const.AF_UNIX
local c_sendmsg, is_blind, is_message, is_end = answer.sendmsg, answer.is_blind, zero.is_message, zero.is_end
local MSG_NOSIGNAL, MSG_CTRUNC = answer.MSG_NOSIGNAL, const.MSG_CTRUNC
local MSG_CMSG_CLOEXEC = const.MSG_CMSG_CLOEXEC or 0

---@class llsocket.socket
local Socket = {}

-- Answers the errno where a message cannot be sent over a socket, or nil.  Refuse descriptors on other families than unix: they
-- would drop them silently.
local function objection(sock, mh)
  if sock.sd < 0 then return EBADF end
  if mh.out.has_rights and sock.home ~= AF_UNIX then return EOPNOTSUPP end
  local e = msghdr.before_send(mh)
  if e then return e end
  if mh.out.total == 0 and not answer.has_empty(sock.about.kind) then return EINVAL end
end

local function sendmsg(sock, mh, flags)
  local e = objection(sock, mh)
  if e then return not_sent(e) end
  local total = mh.out.total
  local n, why = c_sendmsg(sock.sd, mh.out.header, bor(flags, MSG_NOSIGNAL)), errno()
  if n < 0 then return answer.send_failed(sock, why) end
  if n > 0 and n < total then msghdr.after_partial_send(mh, n) end
  return answer.sent(sock, n, n < total)
end

--- Sends a message; see sendmsg(2).  Blocks on a blocking socket, for as long as sndtimeo allows.  Never raises SIGPIPE.
--- Where a stream took a part, the message then holds the rest, without the ancillary data; send it again.
---@param mh llsocket.msghdr
---@param flag? integer  MSG_*
---@param f2? integer  more flags, up to f8
---@return integer? len  bytes sent; no values at all when the peer has closed
---@return string? err
---@return boolean? again  true: fewer than all bytes were taken, would block, or was interrupted
---@return integer? errno  EPERM, ESRCH: credentials of another process or user; ETOOMANYREFS; ENOMEM for more ancillary data
---than musl takes; EINVAL where the kernel refuses the message, and for 0 bytes on a stream; EOPNOTSUPP: only unix sockets pass
---descriptors; EBADF where this socket or a descriptor to send is closed; else as for sendto
function Socket:sendmsg(mh, flag, f2, f3, f4, f5, f6, f7, f8, f9)
  is_self(self, "sendmsg")
  msghdr.arg(mh, 1, "sendmsg")
  local flags = send_flags(2, "sendmsg", flag, f2, f3, f4, f5, f6, f7, f8, f9)
  if not flags then return not_sent(EINVAL) end
  return sendmsg(self, mh, flags)
end

-- Whether a sender or ancillary data came with the bytes, including ancillary data that did not fit.
local function is_accompanied(mh)
  return mh.out.name ~= nil or mh.into.control.head.len > 0 or band(mh.into.flags, MSG_CTRUNC) ~= 0
end

local function recvmsg(sock, mh, flags)
  if is_blind(sock, flags) then return not_received(EINVAL) end
  local e = msghdr.before_receive(mh)
  if e then return not_received(e) end
  local header, block = mh.into.header, mh.into.control.block
  if sock.home == AF_UNIX then flags = bor(flags, MSG_CMSG_CLOEXEC) end -- packet(7) sockets refuse the flag
  local n, why = C.llsocket2_recvmsg(sock.sd, header, flags), errno()
  received(block, header, n) -- do not branch before this call: a finaliser may raise there, and the descriptors would leak
  if n < 0 then
    if is_end(sock, why, flags) then return end
    return answer.receive_failed(sock, why)
  end
  msghdr.after_receive(mh, sock, n)
  if n > 0 or is_message(sock, mh.into.flags, is_accompanied(mh)) then return mh.into.length, nil, false end
end

--- Receives a message; see recvmsg(2).  Blocks on a blocking socket, for as long as rcvtimeo allows.  Received descriptors are
--- close-on-exec, and are closed unless the program takes them.
---@param mh llsocket.msghdr
---@param flag? integer  MSG_*
---@param f2? integer  more flags, up to f8
---@return integer? len  bytes received, 0 for an empty datagram; no values at all when the peer has closed
---@return string? err
---@return boolean? again  true: would block or was interrupted
---@return integer? errno  EAGAIN, EINTR, ECONNRESET, ECONNREFUSED, ENOTCONN, ENOMEM; EINVAL for a flag; EBADF once closed
function Socket:recvmsg(mh, flag, f2, f3, f4, f5, f6, f7, f8, f9)
  is_self(self, "recvmsg")
  msghdr.arg(mh, 1, "recvmsg")
  local flags = check.flags(2, "recvmsg", flag, f2, f3, f4, f5, f6, f7, f8, f9)
  if not flags then return not_received(EINVAL) end
  return recvmsg(self, mh, flags)
end

-- One message is kept for the calls that need one internally.  A call inside such a call makes its own.
local spare

local function take()
  local mh = spare
  spare = nil
  if mh then return mh end
  return msghdr.new()
end

local function writev(sock, parts, flags)
  local mh, _, why = take()
  if not mh then return not_sent(why) end
  local e = msghdr.set_data(mh, parts, 1, "writev") or not flags and EINVAL
  if e then return not_sent(e) end
  local n, err, again, no = sendmsg(sock, mh, flags)
  mh:data "" -- drop the parts, which may be large
  spare = mh
  if no then return n, err, again, no end
  if n then return n, nil, again end
end

--- Sends strings one after another without joining them; see writev(2).  Blocks on a blocking socket, for as long as
--- sndtimeo allows.  Never raises SIGPIPE.
---@param parts string[]  at most 1,024
---@param flag? integer  MSG_*
---@param f2? integer  more flags, up to f8
---@return integer? len  bytes sent; no values at all when the peer has closed
---@return string? err
---@return boolean? again  true: fewer than all bytes were taken, would block, or was interrupted
---@return integer? errno  EMSGSIZE for too many parts; else as for send
function Socket:writev(parts, flag, f2, f3, f4, f5, f6, f7, f8, f9)
  is_self(self, "writev")
  if type(parts) ~= "table" then check.bad(1, "writev", "array of strings", parts) end
  return writev(self, parts, send_flags(2, "writev", flag, f2, f3, f4, f5, f6, f7, f8, f9))
end

-- One reader is kept for readv, because a message made for each call cost 30,000 instructions.  A call inside such a call makes
-- its own, and one whose call raises is not kept.
local READER_SIZE = 65536
local kept_reader

local function take_reader()
  local reader = kept_reader
  kept_reader = nil
  if reader then return reader end
  reader = { header = layout.msghdr(), array = {}, memory = ffi.new "uint8_t[65536]", name = sockaddr.type() }
  reader.header.msg_name = reader.name
  return reader
end

local function receive_parts(sock, reader, sizes, total, flags)
  local array, header = reader.array, reader.header
  header.msg_iov, header.msg_iovlen, header.msg_namelen = array.iov, #sizes, sockaddr.SIZE
  local n, why = C.llsocket2_recvmsg(sock.sd, header, flags), errno()
  local parts = n >= 0 and iovec.strings(array, sizes, min(n, total)) or nil
  return parts, n, why, header.msg_flags, header.msg_namelen > 0 or band(header.msg_flags, MSG_CTRUNC) ~= 0
end

local function readv(sock, sizes, flags)
  local checked, total = msghdr.check_size(sizes, 1, "readv")
  if not checked then return not_received(total) end
  if not flags or is_blind(sock, flags) then return not_received(EINVAL) end
  local reader, is_large = take_reader(), total > READER_SIZE
  if not iovec.scatter(reader.array, checked, total, not is_large and reader.memory or nil) then return not_received(ENOMEM) end
  local parts, n, why, told, accompanied = receive_parts(sock, reader, checked, total, flags)
  if is_large then iovec.release(reader.array) end -- at once: the collector does not count its memory
  kept_reader = reader
  if n > 0 or n == 0 and is_message(sock, told, accompanied) then return parts, nil, false end
  if n == 0 or is_end(sock, why, flags) then return end
  return answer.receive_failed(sock, why)
end

--- Receives into several strings; see readv(2).  Blocks on a blocking socket, for as long as rcvtimeo allows.
---@param sizes integer[]  most bytes for each, at most 1,024 and 2^31-1 bytes in all
---@param flag? integer  MSG_*
---@param f2? integer  more flags, up to f8
---@return string[]? parts  one for each size, "" where no bytes were left; no values at all when the peer has closed
---@return string? err
---@return boolean? again  true: would block or was interrupted
---@return integer? errno  EMSGSIZE for too many sizes; else as for recv
function Socket:readv(sizes, flag, f2, f3, f4, f5, f6, f7, f8, f9)
  is_self(self, "readv")
  if type(sizes) ~= "table" then check.bad(1, "readv", "array of numbers", sizes) end
  return readv(self, sizes, check.flags(2, "readv", flag, f2, f3, f4, f5, f6, f7, f8, f9))
end

local function sendfd(sock, object, ai, flags)
  local carrier = carriers.to_send(object, ai)
  if not carrier then return not_sent(ENOMEM) end
  local fd = rights.number_of(object) -- now, because a finaliser may have closed it when the carrier was made
  local e = not fd and EBADF or sock.sd < 0 and EBADF or sock.home ~= AF_UNIX and EOPNOTSUPP or nil
  if e then
    carriers.sent(carrier)
    return not_sent(e)
  end
  carrier.fd[0] = fd
  local n, why = c_sendmsg(sock.sd, carrier.header, bor(flags, MSG_NOSIGNAL)), errno()
  carriers.sent(carrier)
  if n < 0 then return answer.send_failed(sock, why) end
  return n, nil, false
end

--- Sends a descriptor, with one byte to carry it; see SCM_RIGHTS in unix(7).  Blocks on a blocking socket, for as long
--- as sndtimeo allows.
---@param fd integer|llsocket.socket|llsocket.descriptor|file*  still belongs to the caller
---@param ai? llsocket.addrinfo  the address to send to, on an unconnected datagram socket
---@param flag? integer  MSG_*
---@param f2? integer  more flags, up to f8
---@return integer? len  1; no values at all when the peer has closed
---@return string? err
---@return boolean? again  true: would block or was interrupted
---@return integer? errno  EOPNOTSUPP: not a unix socket; EBADF, ETOOMANYREFS; else as for send
function Socket:sendfd(fd, ai, flag, f2, f3, f4, f5, f6, f7, f8, f9)
  is_self(self, "sendfd")
  rights.check_owner(fd, 1, "sendfd")
  local e = rights.refusal(fd)
  check.optional(addrinfo.arg, ai, 2, "sendfd")
  local flags = send_flags(3, "sendfd", flag, f2, f3, f4, f5, f6, f7, f8, f9)
  if e or not flags then return not_sent(e or EINVAL) end
  return sendfd(self, fd, ai, flags)
end

-- Answers for a message that had no descriptor.
local function without_descriptor(is_cut)
  if not is_cut then return not_received(EBADMSG) end
  shortage.collected(EMFILE) -- helps only the next call: the buffer was large enough, so a descriptor number was missing
  return not_received(EMFILE)
end

local function recvfd(sock, flags)
  local carrier = carriers.to_receive()
  if not carrier then return not_received(ENOMEM) end
  local n, why = C.llsocket2_recvmsg(sock.sd, carrier.header, bor(flags, MSG_CMSG_CLOEXEC)), errno()
  received(carrier.control.block, carrier.header, n) -- do not branch before this call, see recvmsg
  if n < 0 then
    carriers.unused(carrier)
    if is_end(sock, why, flags) then return end
    return answer.receive_failed(sock, why)
  end
  local is_cut = carriers.is_cut(carrier)
  local is_any = n > 0 or is_message(sock, carrier.header.msg_flags, carriers.is_accompanied(carrier))
  local object = carriers.received(carrier)
  if object then return object, nil, false end
  if is_any then return without_descriptor(is_cut) end
end

--- Receives a descriptor, close-on-exec, and the one byte that carries it.  Blocks on a blocking socket, for as long as
--- rcvtimeo allows.
---@param flag? integer  MSG_*
---@param f2? integer  more flags, up to f8
---@return llsocket.socket|llsocket.descriptor|nil object  no values at all when the peer has closed
---@return string? err
---@return boolean? again  true: would block or was interrupted
---@return integer? errno  EOPNOTSUPP: not a unix socket; EBADMSG: the message had no descriptor; EMFILE: the process had no
---number left for the descriptor, which is lost, and garbage was collected to help the next call; else as for recv
function Socket:recvfd(flag, f2, f3, f4, f5, f6, f7, f8, f9)
  is_self(self, "recvfd")
  local flags = check.flags(1, "recvfd", flag, f2, f3, f4, f5, f6, f7, f8, f9)
  if not flags then return not_received(EINVAL) end
  if self.sd < 0 or self.home ~= AF_UNIX then return not_received(self.sd < 0 and EBADF or EOPNOTSUPP) end
  if is_blind(self, flags) then return not_received(EINVAL) end
  return recvfd(self, flags)
end

return { methods = Socket }
