-- msghdr.lua -- a message that can be used again: data in parts, an address, ancillary data; see sendmsg(2).
--
-- `out` is what is sent, `into` what is received into.  The message has one content: what was set or received last.  All
-- memory that the kernel reads or writes belongs to the object, or to strings that it keeps.
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
local NOTHING = {} -- stays empty
local CMSG_CLOEXEC = const.MSG_CMSG_CLOEXEC or 0

---@class llsocket.msghdr
local Msghdr = {}
local meta = { __index = Msghdr }

local is_self, arg = check.object(meta, "llsocket.msghdr")

-- Copies a caller's table; the copy is checked and used, because with __index the table may answer something else the second
-- time.  Reads the count once: a finaliser may change the caller's array at any time.
local function copy(from, to, count)
  for i = 1, count do to[i] = from[i] end
  for i = #to, count + 1, -1 do to[i] = nil end
  return to
end

-- Raises unless `data` is a string or an array of strings; answers them as an array of the message's own.  The message does
-- not have that array meanwhile, because __index may use the message itself.
local function draft(out, data, position, method)
  local parts, one = out.draft or {}, type(data) == "string"
  if not one and type(data) ~= "table" then check.bad(position, method, "string or array of strings", data) end
  local count = one and 1 or #data
  out.draft = nil
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

-- Raises unless `into` is memory to receive into; answers the sizes, their sum and where the memory begins; or nil and
-- the errno.
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

-- Raises unless `cmsgs` is an array of cmsghdr objects; answers a copy.
local function check_control(cmsgs, position, method)
  if type(cmsgs) ~= "table" then check.bad(position, method, "array of llsocket.cmsghdr", cmsgs) end
  local count = #cmsgs
  local list = copy(cmsgs, {}, count)
  for i = 1, count do cmsghdr.arg(list[i], position, method) end
  return list
end

-- Points the header at the parts without the bytes that were sent already.
local function aim(out)
  local count, total = iovec.gather(out.array, out.parts, out.sent)
  out.total, out.header.msg_iov, out.header.msg_iovlen = total, out.array.iov, count
end

local function set_nothing(out) out.total, out.header.msg_iovlen = 0, 0 end

-- Each of the setters answers nil, or the errno.  What may fail comes first, and then all stays as it was: the header must
-- not point at strings that are not kept.  The array that held the last parts is emptied for the next.
local function set_parts(mh, parts, one)
  local out, count = mh.out, #parts
  if count > MAX_PARTS then return EMSGSIZE end
  if not iovec.reserve(out.array, max(1, count)) then return ENOMEM end
  set_nothing(out) -- memory may run out before the header is whole
  out.one, out.sent, mh.data_is_received = one, 0, false
  out.parts, parts = parts, out.parts
  aim(out)
  out.draft = copy(NOTHING, parts, 0)
end

local function set_data(mh, data, position, method)
  return set_parts(mh, draft(mh.out, data, position, method), type(data) == "string")
end

local function set_name(out, ai)
  out.name, out.header.msg_name, out.header.msg_namelen = ai, ai, ai and ai.namelen or 0
end

local function put_control(out, cmsgs)
  local e = control.put(out.control, cmsgs)
  if e then return e end
  local size = out.control.size
  out.header.msg_control, out.header.msg_controllen = size > 0 and out.control.block or nil, size
end

local function set_control(mh, cmsgs)
  local out = mh.out
  local e = put_control(out, cmsgs)
  if e then return e end
  -- Copying may run out of memory: then a send reads the numbers of descriptors again, and a receive empties the copy.
  out.has_rights, mh.control_is_received, mh.into.cmsgs = true, false, nil
  copy(cmsgs, out.cmsgs, #cmsgs)
  out.has_rights = false
  for _, cmsg in ipairs(cmsgs) do out.has_rights = out.has_rights or cmsghdr.is_rights(cmsg) end
end

-- out    header: for sendmsg(2).  array: the iovec array, which points at `parts`, the strings.  sent: bytes of them that a
--        stream took; total: bytes left.  one: data() answers a string, no array.  draft: an empty array for the next parts;
--        nil while it is filled.  has_rights: there are descriptors among `cmsgs`.  control: see control.put.
-- into   header: for recvmsg(2).  name: the kernel writes there; is_name_given: the program may have it, so the next receive
--        makes another.  sizes: bytes of each buffer; size: their sum; one: it was given as a number.  start: in the caller's
--        `memory`, which it does not keep alive.  length, flags: of what was received.  control: see control.receiver, made by
--        the first receive.  cmsgs: the objects made from it, once the program asked.
local function blank()
  return setmetatable({
    out = {
      header = layout.msghdr(), array = {}, parts = {}, draft = {}, one = true, sent = 0, total = 0, cmsgs = {}, control = {},
      has_rights = false,
    },
    into = { header = layout.msghdr(), array = {}, is_name_given = false, length = 0, flags = 0 },
    data_is_received = false, control_is_received = false,
  }, meta)
end

-- The sizes of the buffers to receive into, their sum, and where the caller's memory begins; or nil and the errno.
local function check_buffers(into, size)
  if type(into) ~= "nil" then return check_into(into, size) end
  return check_size(type(size) == "nil" and 4096 or size, 1, "new")
end

local function check_controlsize(size)
  if type(size) == "nil" then return 2048 end
  return check.int(size, 1, "new") and size >= 0 and size <= 2^20 and size or nil
end

-- Sets where to receive into; answers nil, or the errno.
local function set_buffers(into, memory, size, controlsize)
  local sizes, total, start = check_buffers(memory, size)
  controlsize = check_controlsize(controlsize)
  if not sizes then return total end
  if not controlsize then return EINVAL end
  into.sizes, into.size, into.controlsize, into.one = sizes, total, controlsize, type(size) ~= "table"
  if start then into.memory, into.start = memory, start end
end

-- Sets what the fields say and reads each of them once; answers nil, or the errno.  Wrong types raise first.
local function fill(mh, t)
  local name, cmsgs, data = t.name, t.control, t.data
  check.optional(kept, name, 1, "new")
  cmsgs = type(cmsgs) == "nil" and NOTHING or check_control(cmsgs, 1, "new")
  if type(data) == "nil" then data = "" end
  local parts = draft(mh.out, data, 1, "new")
  local e = set_buffers(mh.into, t.into, t.size, t.controlsize)
  if e then return e end
  set_name(mh.out, name)
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
    set_name(self.out, ai)
  else
    self.into.is_name_given = true
  end
  return self.out.name
end

-- The strings that were received, as the buffers were asked for.
local function received(into)
  if into.one then return (ffi.string(into.array.buffer, into.length)) end
  return iovec.strings(into.array, into.sizes, into.length)
end

-- Answers the parts without the bytes that were sent already.
local function rest(out)
  if out.one then return out.parts[1]:sub(out.sent + 1) end
  local parts, skip = {}, out.sent
  for _, part in ipairs(out.parts) do
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
    return self.data_is_received and received(self.into) or rest(self.out)
  end
  local e = set_data(self, data, 1, "data")
  if e then return failed(e) end
  return data
end

-- The ancillary data that was received.
local function arrived(into)
  into.cmsgs = into.cmsgs or control.take(into.control)
  return into.cmsgs
end

--- Tells or sets the ancillary data.  After a receive it is what was received; the next send does not send that.
--- Descriptors that arrived belong to the caller from here on.  Those that nobody asks for are closed by the next receive
--- or the collector.
---@param cmsgs? llsocket.cmsghdr[]
---@return llsocket.cmsghdr[]? cmsgs
---@return string? err
---@return integer? errno  EBADF where a descriptor to send is closed; ENOBUFS for 2^31 bytes; ENOMEM
function Msghdr:control(cmsgs)
  is_self(self, "control")
  if type(cmsgs) == "nil" then
    return self.control_is_received and arrived(self.into) or copy(self.out.cmsgs, {}, #self.out.cmsgs)
  end
  local e = set_control(self, check_control(cmsgs, 1, "control"))
  if e then return failed(e) end
  return cmsgs
end

--- Tells the flags that came with what was received last.
---@return integer flags  bitwise-or of MSG_*: MSG_TRUNC, MSG_CTRUNC, MSG_EOR, MSG_ERRQUEUE, MSG_OOB
function Msghdr:flags()
  is_self(self, "flags")
  return self.into.flags
end

--- Tells the size of the datagrams that arrived joined into one; see UDP_GRO in udp(7) and the option udpgro.
--- Allocates nothing.
---@return integer? size  bytes of each but the last, which may be shorter; nil where one datagram came as it was
function Msghdr:segment()
  is_self(self, "segment")
  if not (self.data_is_received and UDP_GRO) then return nil end
  return control.integer(self.into.control, IPPROTO_UDP, UDP_GRO)
end

--- Tells when the message arrived, as cmsg:timestamp does, without making an object.  Allocates nothing.
---@return integer? sec  the kernel's time, seconds since 1970; nil where no time came with the message
---@return integer? nsec  nanoseconds, 0 to 999999999
---@return integer? hwsec  the network card's time, seconds of its clock; no value where there is none
---@return integer? hwnsec  nanoseconds, 0 to 999999999
function Msghdr:timestamp()
  is_self(self, "timestamp")
  if not self.control_is_received then return nil end
  return control.timestamp(self.into.control.bytes, 0, self.into.control.head.len)
end

--- Prepares a send.  The numbers of descriptors are read again, because one may have been closed since, and the
--- length of the address, because recvfrominto may have written another into the object.
---@param mh llsocket.msghdr
---@return integer? errno
function M.before_send(mh)
  local out = mh.out
  if out.name then out.header.msg_namelen = out.name.namelen end
  local e = mh.data_is_received and set_data(mh, received(mh.into)) or out.has_rights and put_control(out, out.cmsgs)
  return e or nil
end

--- Takes off the message what a stream took, so that sending it again sends the rest.  The ancillary data went with the
--- first byte: descriptors must not go twice.
---@param mh llsocket.msghdr
---@param n integer  bytes
function M.after_partial_send(mh, n)
  set_control(mh, NOTHING)
  mh.out.sent = mh.out.sent + n
  aim(mh.out)
end

-- The first receive makes the buffers.
local function make_room(into)
  local receiving, header = control.receiver(into.controlsize), into.header
  if not (receiving and iovec.scatter(into.array, into.sizes, into.size, into.start)) then return ENOMEM end
  header.msg_iov, header.msg_iovlen = into.array.iov, #into.sizes
  header.msg_control = into.controlsize > 0 and receiving.bytes or nil
  into.control = receiving -- last: an error before this line leaves no half of it
end

--- Prepares the buffers for a receive.  Descriptors of the last one that nobody took are closed, and its ancillary data is
--- forgotten, even if this receive fails.  Objects that the program asked for own their descriptors.
---@param mh llsocket.msghdr
---@return integer? errno
function M.before_receive(mh)
  local into = mh.into
  local e = not into.control and make_room(into)
  if e then return e end
  if into.control.head.len > 0 then
    control.close(into.control)
    into.cmsgs = nil
  end
  if into.is_name_given or not into.name then into.name, into.is_name_given = addrinfo.blank(0, 0, 0), false end
  local header = into.header
  header.msg_name, header.msg_namelen, header.msg_controllen, header.msg_flags = into.name, sockaddr.SIZE, into.controlsize, 0
end

local function take_name(mh, sock)
  local namelen = tonumber(mh.into.header.msg_namelen)
  set_name(mh.out, namelen > 0 and addrinfo.received(mh.into.name, namelen, sock.about.type, sock.about.proto) or nil)
end

-- Lets go of the data that was set; a send makes parts of what was received.
local function drop_data(out)
  set_nothing(out)
  copy(NOTHING, out.parts, 0)
end

local function drop_control(out)
  copy(NOTHING, out.cmsgs, 0)
  out.has_rights, out.header.msg_control, out.header.msg_controllen = false, nil, 0
end

--- Makes what arrived the content.  The descriptors have their owner by then.
---@param mh llsocket.msghdr
---@param sock llsocket.socket
---@param n integer  what recvmsg(2) answered
function M.after_receive(mh, sock, n)
  local into = mh.into
  into.flags = bit.band(into.header.msg_flags, bit.bnot(CMSG_CLOEXEC))
  into.length, into.cmsgs = min(n, into.size), nil
  if not mh.data_is_received then drop_data(mh.out) end
  if not mh.control_is_received then drop_control(mh.out) end
  mh.data_is_received, mh.control_is_received = true, true
  take_name(mh, sock)
end

M.methods, M.arg, M.set_data, M.check_size = Msghdr, arg, set_data, check_size

return require("llsocket.core.lazy").keep("llsocket.msghdr", M)
