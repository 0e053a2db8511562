-- msghdr.lua -- a message that can be used again: data in parts, an address, ancillary data; see sendmsg(2).
--
-- It has one content, what was set or received last.  All memory that the kernel reads or writes belongs to the
-- object or to strings that it keeps.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local check = require "llsocket.core.check"
local failed = require("llsocket.core.failure").failed
local addrinfo = require "llsocket.addrinfo"
local cmsghdr = require "llsocket.cmsghdr"
local control = require "llsocket.message.control"
local iovec = require "llsocket.message.iovec"
local region = require "llsocket.message.region"
local sockaddr = require "llsocket.address.sockaddr"
local ipairs, setmetatable, tonumber, type, max, min = ipairs, setmetatable, tonumber, type, math.max, math.min

local kept = addrinfo.kept
local EINVAL, EMSGSIZE, ENOMEM = const.EINVAL, const.EMSGSIZE, const.ENOMEM
local MAX_PARTS = 1024 -- IOV_MAX, what Linux and the BSDs take in one call
local IPPROTO_UDP, UDP_GRO = const.IPPROTO_UDP, const.UDP_GRO
local CMSG_CLOEXEC = const.MSG_CMSG_CLOEXEC or 0

---@class llsocket.msghdr
local Msghdr = {}
local meta = { __index = Msghdr }

local is_self, arg = check.object(meta, "llsocket.msghdr")

-- The count is read once: a finaliser may change the caller's array at any time.
local function copy(from, to, count)
  for i = 1, count do to[i] = from[i] end
  for i = #to, count + 1, -1 do to[i] = nil end
  return to
end

-- A caller's table is copied, and the copy is checked and used: with __index it may answer otherwise the next time.

-- Raises unless `data` is a string or an array of strings; answers them as an array of the message's own.  That is taken out
-- of the message meanwhile, because __index may use the message itself.
local function draft(mh, data, position, method)
  local parts, one = mh.draft or {}, type(data) == "string"
  if not one and type(data) ~= "table" then check.bad(position, method, "string or array of strings", data) end
  local count = one and 1 or #data
  mh.draft = nil
  for i = 1, count do
    local part = one and data or data[i]
    if type(part) ~= "string" then check.bad(position, method, "array of strings", part) end
    parts[i] = part
  end
  for i = #parts, count + 1, -1 do parts[i] = nil end
  return parts
end

-- Raises unless `size` is a number or an array of numbers; answers them as an array, and their sum; or nil and
-- the errno.
local function check_size(size, position, method)
  local count = type(size) == "table" and #size or 1
  local sizes, total = type(size) == "table" and copy(size, {}, count) or { size }, 0
  for i = 1, count do
    if not check.int(sizes[i], position, method) or sizes[i] < 1 then return nil, EINVAL end
    total = total + sizes[i]
  end
  if count > MAX_PARTS then return nil, EMSGSIZE end
  if total < 1 or total >= 2^31 then return nil, EINVAL end
  return sizes, total
end

-- Raises unless `into` is memory to receive into; answers the sizes, their sum and where it begins; or nil and the
-- errno.
local function check_into(into, size)
  local room = region.writable(into)
  if not room then check.bad(1, "new", "writable array or pointer", into) end
  if region.is_reference(into) then check.bad(1, "new", "pointer, or array that is no part of another object", into) end
  if type(size) == "nil" and room == region.UNKNOWN then check.bad(1, "new", "size of what the pointer points to", size) end
  local sizes, total
  if type(size) ~= "nil" then
    sizes, total = check_size(size, 1, "new")
    if not sizes then return nil, total end
  end
  local start, length = region.target(into, total, nil, 1, "new")
  if not start or length < 1 or length >= 2^31 then return nil, EINVAL end
  return sizes or { length }, length, start
end

-- Raises unless `cmsgs` is an array of them; answers a copy.
local function check_control(cmsgs, position, method)
  if type(cmsgs) ~= "table" then check.bad(position, method, "array of llsocket.cmsghdr", cmsgs) end
  local count = #cmsgs
  local list = copy(cmsgs, {}, count)
  for i = 1, count do cmsghdr.arg(list[i], position, method) end
  return list
end

-- Points the header at the parts, less what was sent of them.
local function aim(mh)
  local count, total = iovec.gather(mh.gathered, mh.parts, mh.sent)
  mh.total, mh.out.msg_iov, mh.out.msg_iovlen = total, mh.gathered.iov, count
end

-- Each of the setters answers nil, or the errno.  What may fail comes first: then all stays as it was, for the header must not
-- point at strings that are no longer kept.  The array that held the last parts is emptied for the next.
local function set_parts(mh, parts, one)
  local count = #parts
  if count > MAX_PARTS then return EMSGSIZE end
  if not iovec.reserve(mh.gathered, max(1, count)) then return ENOMEM end
  mh.total, mh.out.msg_iovlen = 0, 0 -- should memory run out before the header is whole
  mh.one, mh.sent, mh.received = one, 0, nil
  mh.parts, parts = parts, mh.parts
  aim(mh)
  mh.draft = copy(mh.none, parts, 0)
end

local function set_data(mh, data, position, method)
  return set_parts(mh, draft(mh, data, position, method), type(data) == "string")
end

local function set_name(mh, ai)
  local namelen = ai and ai.namelen or 0
  mh.ai, mh.ai_is_buffer, mh.out.msg_name, mh.out.msg_namelen = ai, false, ai, namelen
end

local function put_control(mh, cmsgs)
  local e = control.put(mh.sending, cmsgs)
  if e then return e end
  local size = mh.sending.size
  mh.out.msg_control, mh.out.msg_controllen = size > 0 and mh.sending.block or nil, size
end

local function set_control(mh, cmsgs)
  local e = put_control(mh, cmsgs)
  if e then return e end
  mh.rights = true -- should the copying run out of memory: then a send reads the numbers anew
  copy(cmsgs, mh.cmsgs, #cmsgs)
  mh.arrived, mh.rights = nil, false
  for _, cmsg in ipairs(cmsgs) do mh.rights = mh.rights or cmsghdr.is_rights(cmsg) end
end

local function blank()
  return setmetatable({
    out = layout.msghdr(), into = layout.msghdr(), gathered = {}, scattered = {}, sending = {}, none = {},
    parts = {}, draft = {}, sent = 0, total = 0, one = true, cmsgs = {}, rights = false, message_flags = 0,
  }, meta)
end

-- The sizes of the buffers to receive into, their sum, and where the caller's memory begins; or nil and the errno.
local function check_buffers(into, size)
  if type(into) ~= "nil" then return check_into(into, size) end
  return check_size(type(size) == "nil" and 4096 or size, 1, "new")
end

local function check_room(size)
  if type(size) == "nil" then return 2048 end
  return check.int(size, 1, "new") and size >= 0 and size <= 2^20 and size or nil
end

-- Sets where to receive into; answers nil, or the errno.
local function set_buffers(mh, into, size, room)
  local sizes, total, start = check_buffers(into, size)
  room = check_room(room)
  if not sizes then return total end
  if not room then return EINVAL end
  mh.sizes, mh.size, mh.controlsize, mh.one_size = sizes, total, room, type(size) ~= "table"
  if start then mh.memory, mh.start = into, start end -- the pointer alone would not keep the memory
end

-- Sets what the fields say, each of which is read once; answers nil, or the errno.  Wrong types raise first.
local function fill(mh, t)
  local name, cmsgs, data = t.name, t.control, t.data
  check.optional(kept, name, 1, "new")
  cmsgs = type(cmsgs) == "nil" and mh.none or check_control(cmsgs, 1, "new")
  if type(data) == "nil" then data = "" end
  local parts = draft(mh, data, 1, "new")
  local e = set_buffers(mh, t.into, t.size, t.controlsize)
  if e then return e end
  set_name(mh, name)
  return set_parts(mh, parts, type(data) == "string") or set_control(mh, cmsgs)
end

---@class llsocket.msghdr.fields
---@field name? llsocket.addrinfo  where to send
---@field data? string|string[]  at most 1,024 parts, sent without joining them
---@field size? integer|integer[]  bytes of the buffers to receive into, at most 1,024; 2^31-1 in all; the default is 4096
---@field into? ffi.cdata*  memory to receive into, an array or a pointer; then `size` is by default the array's own
---@field control? llsocket.cmsghdr[]  to send
---@field controlsize? integer  bytes of room for ancillary data to receive, 0 to 2^20; the default is 2048

---@class llsocket.msghdr.module
local M = {}

--- Makes a message.  What it receives into is allocated by the first receive, unless it is the caller's.
---@param t? llsocket.msghdr.fields
---@return llsocket.msghdr? mh
---@return string? err
---@return integer? errno  EMSGSIZE for too many parts; EINVAL, EBADF, ENOMEM
function M.new(t)
  if type(t) == "nil" then t = {} end
  if type(t) ~= "table" then check.bad(1, "new", "table", t) end
  local mh = blank()
  local e = fill(mh, t)
  if e then return failed(e) end
  return mh
end

--- Tells or sets the address: where to send, or who sent what was received.
---@param ai? llsocket.addrinfo
---@return llsocket.addrinfo? ai  nil where there is none
function Msghdr:name(ai)
  is_self(self, "name")
  if type(ai) ~= "nil" then
    kept(ai, 1, "name")
    set_name(self, ai)
  end
  if self.ai_is_buffer then self.buffer_given = true end -- the next receive takes another
  return self.ai
end

-- The strings that were received, as the buffers were asked for.
local function received(mh)
  if mh.one_size then return ffi.string(mh.scattered.buffer, mh.received) end
  return iovec.strings(mh.scattered, mh.sizes, mh.received)
end

local function rest(mh)
  local parts, skip = {}, mh.sent
  for _, part in ipairs(mh.parts) do
    if skip < #part or skip == 0 then parts[#parts + 1] = part:sub(skip + 1) end
    skip = max(0, skip - #part)
  end
  return parts
end

--- Tells or sets the data.  After a receive it is what was received; after a send that took a part, the rest.
---@param data? string|string[]  at most 1,024 parts
---@return string|string[]|nil data  a string, or an array where parts were set or buffers asked for as an array
---@return string? err
---@return integer? errno  EMSGSIZE, ENOMEM
function Msghdr:data(data)
  is_self(self, "data")
  if type(data) == "nil" then
    if self.received then return received(self) end
    return self.one and self.parts[1]:sub(self.sent + 1) or rest(self)
  end
  local e = set_data(self, data, 1, "data")
  if e then return failed(e) end
  return data
end

--- Tells or sets the ancillary data.  After a receive it is what was received, which is not sent on by itself.
--- Descriptors that arrived are the caller's from here on; those never asked for are closed by the next receive or
--- the collector.
---@param cmsgs? llsocket.cmsghdr[]
---@return llsocket.cmsghdr[]? cmsgs
---@return string? err
---@return integer? errno  EBADF where a descriptor to send is closed; ENOBUFS for 2^31 bytes; ENOMEM
function Msghdr:control(cmsgs)
  is_self(self, "control")
  if type(cmsgs) == "nil" then
    if self.arrived == true then self.arrived = control.take(self.receiving) end
    return self.arrived or copy(self.cmsgs, {}, #self.cmsgs)
  end
  local e = set_control(self, check_control(cmsgs, 1, "control"))
  if e then return failed(e) end
  return cmsgs
end

--- Tells the flags that came with what was received last.
---@return integer flags  bitwise-or of MSG_*: MSG_TRUNC, MSG_CTRUNC, MSG_EOR, MSG_ERRQUEUE, MSG_OOB
function Msghdr:flags()
  is_self(self, "flags")
  return self.message_flags
end

--- Tells the size of the datagrams that arrived joined into one; see UDP_GRO in udp(7) and the option udpgro.
--- Allocates nothing.
---@return integer? size  bytes of each but the last, which may be shorter; nil where one datagram came as it was
function Msghdr:segment()
  is_self(self, "segment")
  if not (self.received and UDP_GRO) then return nil end
  return control.integer(self.receiving, IPPROTO_UDP, UDP_GRO)
end

--- Readies what is to be sent.  The numbers of descriptors are read anew, for one may have been closed meanwhile, and
--- so is the address's length, for recvfrominto may have written another into the object.
---@param mh llsocket.msghdr
---@return integer? errno
function M.before_send(mh)
  if mh.ai then mh.out.msg_namelen = mh.ai.namelen end
  local e = mh.received and set_data(mh, received(mh)) or mh.rights and put_control(mh, mh.cmsgs)
  return e or nil
end

--- Takes what a stream took off the message, so that sending it again sends the rest.  The ancillary data went with
--- the first byte: descriptors must not go twice.
---@param mh llsocket.msghdr
---@param n integer  bytes
function M.after_partial_send(mh, n)
  set_control(mh, mh.none)
  mh.sent = mh.sent + n
  aim(mh)
end

--- Gives the receive buffer back at once; the next receive makes another.
---@param mh llsocket.msghdr
function M.release(mh)
  if mh.receiving then iovec.release(mh.scattered) end
  mh.receiving, mh.received = nil, nil
end

-- The first receive makes the buffers.
local function make_room(mh)
  local receiving = control.receiver(mh.controlsize)
  if not (receiving and iovec.scatter(mh.scattered, mh.sizes, mh.size, mh.start)) then return ENOMEM end
  mh.into.msg_iov, mh.into.msg_iovlen = mh.scattered.iov, #mh.sizes
  mh.into.msg_control = mh.controlsize > 0 and receiving.bytes or nil
  mh.receiving = receiving -- last: an error before leaves no half of it
end

local function forget_control(mh)
  control.close(mh.receiving)
  if mh.arrived then mh.arrived = true end -- what was asked for has an owner, and is no more of this message
end

--- Readies the buffers for a receive.  Descriptors of the last that nobody took are closed, and its ancillary data is told
--- no more, should this one fail.
---@param mh llsocket.msghdr
---@return integer? errno
function M.before_receive(mh)
  local e = not mh.receiving and make_room(mh)
  if e then return e end
  if mh.receiving.head.len > 0 then forget_control(mh) end
  if mh.buffer_given or not mh.buffer then mh.buffer, mh.buffer_given = addrinfo.blank(0, 0, 0), false end
  local into = mh.into
  into.msg_name, into.msg_namelen, into.msg_controllen, into.msg_flags = mh.buffer, sockaddr.SIZE, mh.controlsize, 0
end

local function take_name(mh, sock)
  local ai, namelen = mh.buffer, tonumber(mh.into.msg_namelen)
  if namelen == 0 then return set_name(mh, nil) end
  set_name(mh, addrinfo.received(ai, namelen, sock.type, sock.proto))
  mh.ai_is_buffer = true
end

--- Makes what arrived the content.  The descriptors have their owner by then.
---@param mh llsocket.msghdr
---@param sock llsocket.socket
---@param n integer  what recvmsg(2) answered
function M.after_receive(mh, sock, n)
  local into = mh.into
  mh.message_flags = bit.band(into.msg_flags, bit.bnot(CMSG_CLOEXEC))
  mh.received, mh.arrived = min(n, mh.size), true
  copy(mh.none, mh.cmsgs, 0)
  mh.total, mh.out.msg_iovlen = 0, 0 -- what was set is let go; sending makes parts of what was received
  copy(mh.none, mh.parts, 0)
  mh.rights, mh.out.msg_control, mh.out.msg_controllen = false, nil, 0
  take_name(mh, sock)
end

M.methods, M.arg, M.set_data, M.check_size = Msghdr, arg, set_data, check_size

return require("llsocket.core.lazy").keep("llsocket.msghdr", M)
