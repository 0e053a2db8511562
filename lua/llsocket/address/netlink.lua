-- netlink.lua -- dumps over netlink(7): a request, and the messages and attributes that answer it.
--
-- Never trust a length inside a datagram: nothing beyond the bytes that arrived is read.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local shim = require "llsocket.shim"
local sockets = require "llsocket.socket.object"
local shortage = require "llsocket.core.shortage"
local errno, cast, sizeof, band, bor, bnot = ffi.errno, ffi.cast, ffi.sizeof, bit.band, bit.bor, bit.bnot

local finalize = shim.llsocket2_finalize -- object.lua declares it
local AF_NETLINK, SOCK_RAW = const.AF_NETLINK, bor(const.SOCK_RAW, const.SOCK_CLOEXEC or 0)
local ENOMEM, EINTR, EBADMSG, EMSGSIZE = const.ENOMEM, const.EINTR, const.EBADMSG, const.EMSGSIZE
local DONE, ERROR, MSG_TRUNC = const.NLMSG_DONE, const.NLMSG_ERROR, const.MSG_TRUNC
local DUMP, DUMP_INTR = bor(const.NLM_F_REQUEST, const.NLM_F_DUMP), const.NLM_F_DUMP_INTR or 0
local TYPE_MASK = const.NLA_TYPE_MASK

-- Linux aligns messages and attributes alike: NLMSG_ALIGNTO and NLA_ALIGNTO are both 4.
local function align(n, to) return band(n + to - 1, bnot(to - 1)) end
local MSG_ALIGN, ATTR_ALIGN = const.NLMSG_ALIGNTO, const.NLA_ALIGNTO
local HEAD, ATTR = align(sizeof(layout.nlmsghdr), MSG_ALIGN), align(sizeof(layout.nlattr), ATTR_ALIGN)

local head_ptr, attr_ptr = ffi.typeof("$ *", layout.nlmsghdr), ffi.typeof("$ *", layout.nlattr)
local byte_ptr, int_ptr, name_t = ffi.typeof "uint8_t *", ffi.typeof "int32_t *", layout.sockaddr_nl
local request_t = ffi.typeof("struct { $ head; uint8_t body[64]; }", layout.nlmsghdr)
local attribute_t = ffi.typeof("struct { $ head; uint8_t value[60]; }", layout.nlattr)
local namelen_cell = ffi.new "uint32_t[1]" -- written just before the call

-- The kernel makes no datagram of a dump longer than 32 KiB, unless a single message is longer.
local CAPACITY, TRIES = 32768, 8
local AGAIN = { [const.EMSGSIZE] = true, [const.ENOBUFS] = true }

local M = {}

--- Finds an attribute.
---@param bytes ffi.cdata*  of the datagram
---@param at integer  offset of the first attribute
---@param stop integer  offset of the end of the message
---@param kind integer  IFLA_*, IFA_*, ...
---@return integer? at  offset of its value; nil where there is none, and where a length is wrong
---@return integer? length  bytes
function M.find(bytes, at, stop, kind)
  while stop - at >= ATTR do
    local attr = cast(attr_ptr, bytes + at)
    local length = attr.nla_len
    if length < ATTR or length > stop - at then return nil end
    if band(attr.nla_type, TYPE_MASK) == kind then return at + ATTR, length - ATTR end
    at = at + align(length, ATTR_ALIGN)
  end
end

--- Makes an attribute of a request.
---@param kind integer  IFLA_*, IFA_*, ...
---@param value string  at most 60 bytes
---@return string bytes
function M.attribute(kind, value)
  local attr = attribute_t()
  attr.head.nla_len, attr.head.nla_type = ATTR + #value, kind
  ffi.copy(attr.value, value, #value)
  return ffi.string(attr, align(ATTR + #value, ATTR_ALIGN))
end

-- Makes a socket and a buffer.  Both have an owner before anything can fail.
local function open(protocol, capacity)
  local e
  local sock = sockets.new()
  local dump, block = { sock = sock, capacity = capacity }, C.llsocket2_malloc(capacity)
  if block == nil then return nil, ENOMEM end
  dump.block = ffi.gc(block, C.llsocket2_free)
  sock.sd, e = C.llsocket2_socket(AF_NETLINK, SOCK_RAW, protocol), errno()
  if sock.sd >= 0 then return dump end
  if shortage.collected(e) then return open(protocol, capacity) end
  return nil, e
end

-- Closes in C: an error of a debug hook cannot come between closing the descriptor and telling its owner.
local function close(dump)
  finalize(dump.sock)
  C.llsocket2_free(ffi.gc(dump.block, nil))
end

local function ask(sd, kind, body)
  local request, length = request_t(), HEAD + #body
  local n, e
  request.head.nlmsg_len, request.head.nlmsg_type, request.head.nlmsg_flags = length, kind, DUMP
  ffi.copy(request.body, body, #body)
  repeat n, e = C.llsocket2_send(sd, request, length, 0), errno() until n >= 0 or e ~= EINTR
  if n < 0 then return e end
end

-- Answers the length of the next datagram from the kernel, whose port is 0: any process may send to this socket.
local function receive(dump)
  local sd, bytes, name = dump.sock.sd, dump.block, name_t()
  local n, e
  repeat
    namelen_cell[0] = sizeof(name_t)
    n, e = C.llsocket2_recvfrom(sd, bytes, dump.capacity, MSG_TRUNC, name, namelen_cell), errno()
  until n < 0 and e ~= EINTR or n >= 0 and name.nl_pid == 0
  return n, e
end

-- Reads how a dump ended: its last message holds a negative errno, or 0 for success.  NLMSG_DONE may hold neither.
local function verdict(bytes, at, stop)
  local code = stop - at >= 4 and cast(int_ptr, bytes + at)[0] or 0
  return code ~= 0 and -code or nil
end

-- Passes the messages of one datagram on; answers whether the dump has ended, and the errno.
local function walk(dump, n, take, state)
  local bytes, at = cast(byte_ptr, dump.block), 0
  while n - at >= HEAD do
    local head = cast(head_ptr, bytes + at)
    local length, kind = head.nlmsg_len, head.nlmsg_type
    if length < HEAD or length > n - at then return true, EBADMSG end
    if band(head.nlmsg_flags, DUMP_INTR) ~= 0 then state.torn = true end
    if kind == DONE or kind == ERROR then return true, verdict(bytes, at + HEAD, at + length) end
    take(state, kind, bytes, at + HEAD, at + length)
    at = at + align(length, MSG_ALIGN)
  end
  return false
end

-- A datagram that does not fit is lost, so the next try has a buffer of its length.
local function run(dump, kind, body, take, state)
  local e, ended = ask(dump.sock.sd, kind, body), false
  while not (e or ended) do
    local n, why = receive(dump)
    if n < 0 then return why end
    if n > dump.capacity then
      dump.wanted = n
      return EMSGSIZE
    end
    ended, e = walk(dump, n, take, state)
  end
  return e
end

local function try(protocol, requests, take, state, capacity)
  local dump, e = open(protocol, capacity)
  if not dump then return e, capacity end
  for i = 1, #requests do e = e or run(dump, requests[i][1], requests[i][2], take, state) end
  close(dump)
  return e, dump.wanted or capacity
end

--- Asks the kernel for dumps, one after the other.  Tries again if a table changed meanwhile (NLM_F_DUMP_INTR, or `take` sets
--- `state.torn`), if a message was too long for the buffer, or if the socket overran.  Tries eight times at most; if a table
--- changed even during the last try, answers what that try saw.  Opens a descriptor; never waits for the network.
---@param protocol integer  NETLINK_*
---@param requests { [1]: integer, [2]: string }[]  types and payloads, of at most 64 bytes
---@param begin fun(): table  makes `state`, once for each try
---@param take fun(state: table, kind: integer, bytes: ffi.cdata*, at: integer, stop: integer)  gets each message: its
--- type, and where its payload lies; the bytes are gone when it returns
---@return table? state
---@return integer? errno  EMFILE, ENFILE, ENOMEM, ENOBUFS; EAFNOSUPPORT, EPERM, EACCES where a sandbox refuses netlink
function M.dump(protocol, requests, begin, take)
  local capacity, state, e = CAPACITY
  for _ = 1, TRIES do
    state = begin()
    e, capacity = try(protocol, requests, take, state, capacity)
    if not (state.torn or AGAIN[e]) then break end
  end
  if e then return nil, e end
  return state
end

return M
