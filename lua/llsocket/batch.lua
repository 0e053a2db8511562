-- batch.lua -- many messages in one block of memory, which one call receives or sends; see recvmmsg(2).
--
-- Each message has two headers, one to receive and one to send.  Both point at the same bytes and the same address, so a
-- received message is ready to be sent.  All memory that the kernel uses lies in the block, which the object keeps.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local failed = require("llsocket.core.failure").failed
local addrinfo = require "llsocket.addrinfo"
local block = require "llsocket.message.block"
local control = require "llsocket.message.control"
local sockaddr = require "llsocket.address.sockaddr"
local setmetatable = setmetatable

local type, cast, copy, floor, min, tonumber = type, ffi.cast, ffi.copy, math.floor, math.min, tonumber
local EINVAL, EMSGSIZE, ENOPROTOOPT = const.EINVAL, const.EMSGSIZE, const.ENOPROTOOPT
local IPPROTO_UDP, UDP_GRO, UDP_SEGMENT = const.IPPROTO_UDP, const.UDP_GRO, const.UDP_SEGMENT
local received = addrinfo.received
local NAME_SIZE, AI_SIZE = sockaddr.SIZE, ffi.sizeof(addrinfo.type)
local MAX_COUNT = 1024 -- UIO_MAXIOV, the most that Linux takes in one call

local int_ptr = ffi.typeof "int32_t *"
local set_extras, set_name = block.set_extras, block.set_name

---@class llsocket.batch
local Batch = {}
local meta = { __index = Batch }

local is_self, arg = check.object(meta, "llsocket.batch")

---@class llsocket.batch.module
local M = {}

local function field(fields, name, default, least, most)
  local value = fields[name]
  if type(value) == "nil" then return default end
  return check.int(value, 1, "new") and value >= least and value <= most and value or nil
end

--- Makes a batch: memory for many messages, which are received or sent by one call.
---@param fields? { count?: integer, size?: integer, controlsize?: integer, name?: llsocket.addrinfo }  count: messages, 1 to
---1,024, the default is 64.  size: the capacity of each, in bytes, from 1, the default is 2048.  controlsize: the capacity of
---each for received ancillary data, in bytes, the default is 0.  All must be less than 2 GiB.  name: the address to send them to
---@return llsocket.batch? batch
---@return string? err
---@return integer? errno  EINVAL, ENOMEM
function M.new(fields)
  if type(fields) == "nil" then fields = {} end
  if type(fields) ~= "table" then check.bad(1, "new", "table", fields) end
  local name = fields.name
  check.optional(addrinfo.arg, name, 1, "new")
  local count, size = field(fields, "count", 64, 1, MAX_COUNT), field(fields, "size", 2048, 1, 2^31 - 1)
  local controlsize = field(fields, "controlsize", 0, 0, 2^31 - 1)
  if not (count and size and controlsize) then return failed(EINVAL) end
  local batch, e = block.make(count, size, controlsize)
  if not batch then return failed(e) end
  return setmetatable(block.prepare(batch, name), meta)
end

local function is_count(n, least, most) return n >= least and n <= most and floor(n) == n end

-- Raises unless `i` is a number; answers whether there is a message `i`.
local function is_index(batch, i, method)
  check.number(i, 1, method)
  return is_count(i, 1, batch.capacity)
end

--- Tells or sets how many messages the batch holds, counted from the first.  After a receive it is the number that arrived;
--- in a new batch it is all of them.
---@param n? integer  1 to the count that it was made with
---@return integer? n
---@return string? err
---@return integer? errno  EINVAL
function Batch:count(n)
  is_self(self, "count")
  if type(n) == "nil" then return self.filled end
  check.number(n, 1, "count")
  if not is_count(n, 1, self.capacity) then return failed(EINVAL) end
  self.filled = n
  return n
end

--- Tells or sets a message's data.
---@param i integer  from 1
---@param data? string  bytes, at most the size that the batch was made with; they are copied
---@return string? data
---@return string? err
---@return integer? errno  EINVAL, EMSGSIZE
function Batch:data(i, data)
  is_self(self, "data")
  local good = is_index(self, i, "data")
  check.optional_string(data, 2, "data")
  if not good then return failed(EINVAL) end
  local at, iov = self.bytes + i * self.stride, self.gathered[i]
  if type(data) == "nil" then return (ffi.string(at, tonumber(iov.iov_len))) end
  if #data > self.size then return failed(EMSGSIZE) end
  copy(at, data, #data)
  iov.iov_len = #data
  return data
end

--- Tells where a message's data lies.  Keep the batch while the pointer is used: the pointer does not keep it alive.
---@param i integer  from 1
---@return ffi.cdata*|nil pointer  uint8_t *; its capacity is the size that the batch was made with
---@return integer|string|nil length  bytes of data; or the text of the error
---@return integer? errno  EINVAL
function Batch:pointer(i)
  is_self(self, "pointer")
  if not is_index(self, i, "pointer") then return failed(EINVAL) end
  return self.bytes + i * self.stride, tonumber(self.gathered[i].iov_len)
end

--- Tells or sets how many bytes a message has; a program sets it after writing through the pointer.
---@param i integer  from 1
---@param n? integer  bytes, 0 to the size that the batch was made with
---@return integer? n
---@return string? err
---@return integer? errno  EINVAL
function Batch:length(i, n)
  is_self(self, "length")
  local good = is_index(self, i, "length")
  if type(n) ~= "nil" then check.number(n, 2, "length") end
  if not good then return failed(EINVAL) end
  if type(n) == "nil" then return (tonumber(self.gathered[i].iov_len)) end
  if not is_count(n, 0, self.size) then return failed(EINVAL) end
  self.gathered[i].iov_len = n
  return n
end

--- Tells or sets a message's address: the sender of a received message, and the address that a sent message goes to.
--- Allocates the object that it answers.
---@param i integer  from 1
---@param ai? llsocket.addrinfo  the new address, which is copied
---@return llsocket.addrinfo? ai  nil where there is none
---@return string? err
---@return integer? errno  EINVAL
function Batch:name(i, ai)
  is_self(self, "name")
  local good = is_index(self, i, "name")
  check.optional(addrinfo.arg, ai, 2, "name")
  if not good then return failed(EINVAL) end
  if type(ai) == "nil" then
    if self.out[i].msg_hdr.msg_namelen == 0 then return nil end
    ai = addrinfo.blank(0, 0, 0)
    copy(ai, self.names + i, AI_SIZE)
    return ai
  end
  set_name(self, i, ai)
  return ai
end

--- Sets the address that all messages go to.
---@param ai? llsocket.addrinfo  by default they go to the address that the socket is connected to
function Batch:to(ai)
  is_self(self, "to")
  check.optional(addrinfo.arg, ai, 1, "to")
  for i = 1, self.capacity do set_name(self, i, ai) end
end

--- Tells the flags that came with a message.
---@param i integer  from 1
---@return integer? flags  bitwise-or of MSG_*: MSG_TRUNC, MSG_CTRUNC, MSG_EOR, MSG_ERRQUEUE
---@return string? err
---@return integer? errno  EINVAL
function Batch:flags(i)
  is_self(self, "flags")
  if not is_index(self, i, "flags") then return failed(EINVAL) end
  return self.into[i].msg_hdr.msg_flags
end

--- Tells or sets a message's segment size.  The kernel cuts a sent message into datagrams of this size, or has joined a
--- received message from such; see UDP_SEGMENT and UDP_GRO in udp(7).
---@param i integer  from 1
---@param size? integer  bytes, 1 to 65535; 0 does not cut
---@return integer? size  0: one datagram
---@return string? err
---@return integer? errno  EINVAL; ENOPROTOOPT where the system has none
function Batch:segment(i, size)
  is_self(self, "segment")
  local good = is_index(self, i, "segment")
  if type(size) ~= "nil" then check.number(size, 2, "segment") end
  if not good then return failed(EINVAL) end
  if type(size) == "nil" then return (block.segment(self, i)) end
  if not is_count(size, 0, 65535) then return failed(EINVAL) end
  if size > 0 and not UDP_SEGMENT then return failed(ENOPROTOOPT) end
  set_extras(self, i, size, block.timestamping(self, i))
  self.has_extras = true
  return size
end

--- Tells or sets which times of one sent message come back; see SO_TIMESTAMPING in socket(7) and the option timestamping.  A
--- receive sets it to 0 for the messages that arrive.
---@param i integer  from 1
---@param flags? integer  bitwise-or of SOF_TIMESTAMPING_TX_*, 0 to 2^31-1; 0 leaves it to the option
---@return integer? flags
---@return string? err
---@return integer? errno  EINVAL; ENOPROTOOPT where the system has none
function Batch:timestamping(i, flags)
  is_self(self, "timestamping")
  local good = is_index(self, i, "timestamping")
  if type(flags) ~= "nil" then check.number(flags, 2, "timestamping") end
  if not good then return failed(EINVAL) end
  if type(flags) == "nil" then return (block.timestamping(self, i)) end
  if not is_count(flags, 0, 2^31 - 1) then return failed(EINVAL) end
  if flags > 0 and not const.SO_TIMESTAMPING then return failed(ENOPROTOOPT) end
  set_extras(self, i, block.segment(self, i), flags)
  self.has_extras = true
  return flags
end

--- Tells when a message arrived, as cmsg:timestamp does, without making an object.  The batch needs room for ancillary data.
---@param i integer  from 1
---@return integer? sec  the kernel's time, seconds since 1970; nil where no time came with the message
---@return integer|string|nil nsec  nanoseconds, 0 to 999999999; or the text of the error
---@return integer? errno  EINVAL; where the network card has stamped, too: its time, seconds of its clock
---@return integer? hwnsec  and nanoseconds
function Batch:timestamp(i)
  is_self(self, "timestamp")
  if not is_index(self, i, "timestamp") then return failed(EINVAL) end
  local at = i * self.controlstride
  return control.timestamp(self.controls, at, at + tonumber(self.controllens[i]))
end

--- Tells the ancillary data that came with a message.
---@param i integer  from 1
---@return llsocket.cmsghdr[]? cmsgs  {} where there is none
---@return string? err
---@return integer? errno  EINVAL
function Batch:control(i)
  is_self(self, "control")
  if not is_index(self, i, "control") then return failed(EINVAL) end
  local bytes = self.controls + i * self.controlstride
  return control.take { bytes = bytes, head = { len = tonumber(self.controllens[i]) } }
end

-- Answers the size of the segments that the kernel joined; 0 for a single datagram.
local function segment_of(batch, i)
  local bytes, at = batch.controls, i * batch.controlstride
  local offset, length = control.find(bytes, at, at + tonumber(batch.controllens[i]), IPPROTO_UDP, UDP_GRO)
  return offset and length == 4 and cast(int_ptr, bytes + offset)[0] or 0 -- a shorter length means that MSG_CTRUNC has cut it
end

-- Keeps the lengths of the received ancillary data, and gives the kernel the whole capacity for the next receive.
local function take_control(batch, n)
  for i = 1, n do
    local into = batch.into[i].msg_hdr
    batch.controllens[i], into.msg_controllen = into.msg_controllen, batch.controlsize
  end
  for i = 1, n do set_extras(batch, i, UDP_GRO and segment_of(batch, i) or 0, 0) end
  batch.has_extras = true
end

-- Clears what goes with the `n` messages that arrived; leaves the messages behind them unchanged.
local function forget_extras(batch, n)
  for i = 1, n do set_extras(batch, i, 0, 0) end
  batch.has_extras = n < batch.capacity
end

--- Makes the received messages the content of the batch, ready to be sent back.  An address length equal to its capacity means
--- that a finaliser received into the same batch in between, because no address is so long; it counts as no address.
---@param batch llsocket.batch
---@param sock llsocket.socket
---@param n integer  messages
function M.after_receive(batch, sock, n)
  local into, out, gathered, names, size = batch.into, batch.out, batch.gathered, batch.names, batch.size
  local socktype, proto = sock.about.type, sock.about.proto
  for i = 1, n do
    local name, namelen = names[i], into[i].msg_hdr.msg_namelen
    if namelen == NAME_SIZE then namelen = 0 end
    received(name, namelen, socktype, proto)
    gathered[i].iov_len = min(tonumber(into[i].msg_len), size) -- with MSG_TRUNC, msg_len also counts the bytes cut off
    into[i].msg_hdr.msg_namelen, out[i].msg_hdr.msg_namelen = NAME_SIZE, name.namelen
  end
  batch.filled = n
  if batch.controlsize > 0 then take_control(batch, n) elseif batch.has_extras then forget_extras(batch, n) end
end

--- Tells whether the batch has `n` messages from `first` on.
---@param batch llsocket.batch
---@param n integer
---@param first integer
---@return boolean
function M.has(batch, n, first) return is_count(first, 1, batch.capacity) and is_count(n, 1, batch.capacity - first + 1) end

--- Tells whether one of `n` messages from `first` on is empty.
---@param batch llsocket.batch
---@param n integer
---@param first integer
---@return boolean
function M.has_empty(batch, n, first)
  for i = first, first + n - 1 do
    if batch.gathered[i].iov_len == 0 then return true end
  end
  return false
end

--- Removes the part of a message that a stream took, so that the message holds the rest.
---@param batch llsocket.batch
---@param i integer  from 1
---@return boolean is_cut  false: all of it was sent
function M.after_partial_send(batch, i)
  local iov, sent = batch.gathered[i], tonumber(batch.out[i].msg_len)
  local rest = tonumber(iov.iov_len) - sent
  if rest <= 0 then return false end
  local at = batch.bytes + i * batch.stride
  C.llsocket2_memmove(at, at + sent, rest)
  iov.iov_len = rest
  return true
end

M.methods, M.arg = Batch, arg

return require("llsocket.core.lazy").keep("llsocket.batch", M)
