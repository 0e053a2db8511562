-- zerocopy.lua -- sends memory without a copy, and keeps the memory alive meanwhile; see MSG_ZEROCOPY in the kernel's
-- documentation.
--
-- The kernel reads the memory after the call has returned, and reports by the error queue when it is done.  It holds the
-- pages, but does not protect their content: if Lua collected the memory and used it again, the new bytes would be sent.  So
-- each buffer is kept until the kernel has reported.  The kernel numbers the successful sends of a socket from 0, modulo 2^32.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.core.libc"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local addrinfo = require "llsocket.addrinfo"
local check = require "llsocket.core.check"
local control = require "llsocket.message.control"
local failure = require "llsocket.core.failure"
local answer = require "llsocket.socket.answer"
local sockets = require "llsocket.socket.object"
local region = require "llsocket.message.region"
local optionkind = require "llsocket.socket.optionkind"
local pairs, tonumber, type, insert = pairs, tonumber, type, table.insert

local errno, floor, min, bor, band = ffi.errno, math.floor, math.min, bit.bor, bit.band
local is_self, has_empty, not_sent = sockets.self, answer.has_empty, answer.not_sent
local c_send, MAX_LENGTH = answer.send, answer.MAX_LENGTH
local EINVAL, EBADF, EAGAIN, EBUSY, ENOBUFS = const.EINVAL, const.EBADF, const.EAGAIN, const.EBUSY, const.ENOBUFS
local MSG_NOSIGNAL = answer.MSG_NOSIGNAL
local SOL_SOCKET, SO_ZEROCOPY, MSG_ZEROCOPY = const.SOL_SOCKET, const.SO_ZEROCOPY, const.MSG_ZEROCOPY
local ORIGIN, COPIED = const.SO_EE_ORIGIN_ZEROCOPY, const.SO_EE_CODE_ZEROCOPY_COPIED
local KIND = optionkind.KIND

local is_there = SO_ZEROCOPY and MSG_ZEROCOPY and ORIGIN and layout.sock_extended_err
-- Mask MSG_ZEROCOPY out of the caller's flags: the kernel would number that send, and our numbers would be off by one.
local ORDINARY = bit.bnot(MSG_ZEROCOPY or 0)
local INTERNET = { [const.AF_INET] = true, [const.AF_INET6] = true } -- the families whose completions is_error() recognises
local WORD = 2^32

-- Below this many bytes, holding the pages and reporting costs more than a copy, says the kernel's documentation.
local LEAST = 10240

---@class llsocket.socket
local Socket = {}

-- states[socket]: its zero-copy state.  anchors[number]: the buffer of each outstanding send; outstanding: how many there are;
-- next: the number of the next send.  keeper: the socket itself while any is outstanding, because only its error queue tells
-- when the buffers may be freed.  others: the other messages that were in the queue.
local states = setmetatable({}, { __mode = "k" })

-- kept: the buffers of sockets that were closed or given up with sends outstanding.  They are kept for ever, because nothing
-- will report when the kernel is done.  held: their bytes, each object counted once.  limit: above it sendzerocopy refuses.
local kept, held, limit = {}, 0, nil

local function keep_for_good(anchors)
  for _, buf in pairs(anchors) do
    if not kept[buf] then held = held + region.held(buf) end
    kept[buf] = true
  end
end

-- If SO_ZEROCOPY is already on, earlier sends may have been numbered by the kernel and our counter would be wrong: refuse
-- with EBUSY.
local function begin(sock)
  if sock.sd < 0 then return nil, EBADF end
  if not (is_there and INTERNET[sock.home]) then return nil, const.EOPNOTSUPP end
  local on, _, e = KIND.int.read(sock.sd, SOL_SOCKET, SO_ZEROCOPY)
  if not on or on ~= 0 then return nil, e or EBUSY end
  -- Make the state before setting the option: if memory ran out after that, every later call would answer EBUSY.
  states[sock] = { anchors = {}, outstanding = 0, next = 0, pid = C.llsocket2_getpid() }
  on, _, e = KIND.boolean.write(sock.sd, SOL_SOCKET, SO_ZEROCOPY, true)
  if not on then
    states[sock] = nil
    return nil, e
  end
  sock.about.watched = true
  return states[sock]
end

local function let_go(anchors, id)
  if anchors[id] == nil then return 0 end
  anchors[id] = nil
  return 1
end

local function let_go_many(anchors, first, last)
  local done = 0
  for i = 0, (last - first) % WORD do done = done + let_go(anchors, (first + i) % WORD) end
  return done
end

--- Releases the buffers of sends that the kernel has completed.  A number that is ahead of ours belongs to a send that failed
--- after the kernel had numbered it; our counter then moves behind it.
---@param state { anchors: table<integer, any>, outstanding: integer, next: integer, keeper?: llsocket.socket }
---@param first integer  number of the first send, 0 to 2^32-1
---@param last integer  number of the last send; smaller than `first` where the numbers wrap
---@return integer done  how many of them were outstanding
local function release(state, first, last)
  local ahead = (last + 1 - state.next) % WORD
  if ahead < WORD / 2 then state.next = (last + 1) % WORD end
  local done = (first == last and let_go or let_go_many)(state.anchors, first, last)
  state.outstanding = state.outstanding - done
  if state.outstanding == 0 then state.keeper = nil end
  return done
end

local CAPACITY, MOST = 512, 65536 -- capacity in bytes for the ancillary data, and for the data that was sent: a whole datagram
local reader_t = is_there and ffi.typeof([[
  struct {
    $ header; $ part; $ err; int32_t cell[5]; $ name;
    uint8_t control[512] __attribute__((aligned(16))), data[65536];
  }
]], layout.msghdr, layout.iovec, layout.sock_extended_err, layout.sockaddr_storage)
local ERR_SIZE = is_there and ffi.sizeof(layout.sock_extended_err)
local QUEUE = bor(const.MSG_ERRQUEUE or 0, const.MSG_DONTWAIT)

-- The reader is used over several statements, and a finaliser could use it in between: each call takes it from here and gives
-- it back.
local spare

local function reader()
  local r = reader_t()
  r.part.iov_base, r.part.iov_len = r.data, MOST
  r.header.msg_iov, r.header.msg_iovlen = r.part, 1
  return r
end

local function is_error(level, kind)
  return level == const.IPPROTO_IP and kind == const.IP_RECVERR
    or level == const.IPPROTO_IPV6 and kind == const.IPV6_RECVERR
end

-- Reads one header at `at`; answers where the next one is, and whether it carried an error, which is then copied to `r.err`.
local function read_header(r, length, at)
  if shim.llsocket2_cmsg_get(r.control, length, at, r.cell) ~= 1 then return nil end
  local level, kind, offset, size, after = r.cell[0], r.cell[1], r.cell[2], r.cell[3], r.cell[4]
  local found = is_error(level, kind) and size >= ERR_SIZE
  if found then ffi.copy(r.err, r.control + offset, ERR_SIZE) end
  return after, found
end

-- Whether a message of the queue has an error.  Usually the first header is the error.
local function find(r, length)
  local at, found = read_header(r, length, 0)
  while at and not found do at, found = read_header(r, length, at) end
  return found
end

-- Answers the address in the header: the destination of the send that the message is about; nil where there is none.
local function name_of(sock, r)
  local namelen = r.header.msg_namelen
  if namelen == 0 then return nil end
  return addrinfo.copied(r.name, namelen, sock.about.type, sock.about.proto)
end

local LIMIT = 1024 -- how many other messages are kept if the program never calls completed()

-- Keeps a message that is not a completion, with the same content that recvmsg would give: reading has removed it from the
-- queue.
local function keep(sock, state, r, length, n)
  state.others = state.others or {}
  if #state.others == LIMIT then return end
  insert(state.others, { name = name_of(sock, r), data = ffi.string(r.data, n), flags = r.header.msg_flags,
    control = control.take { bytes = r.control, head = { len = length } } })
end

-- Answers how many outstanding sends a message completes, and whether they were copied.
local function take(sock, state, r, length, n)
  local err = r.err
  if find(r, length) and err.ee_origin == ORIGIN and err.ee_errno == 0 then
    return release(state, err.ee_info, err.ee_data), err.ee_code == COPIED
  end
  keep(sock, state, r, length, n)
  return 0, false
end

-- Receives from the queue; answers the length of the ancillary data and of the data that was sent, or nil and the errno.
local function receive(sock, r)
  local header = r.header
  header.msg_name, header.msg_namelen = r.name, ffi.sizeof(layout.sockaddr_storage)
  header.msg_control, header.msg_controllen = r.control, CAPACITY
  local n, e = C.llsocket2_recvmsg(sock.sd, header, QUEUE), errno()
  if n < 0 then return nil, e end
  return tonumber(header.msg_controllen), n
end

local function take_more(sock, state, r, done, copied)
  local length, n = receive(sock, r)
  while length do
    local more, some = take(sock, state, r, length, n)
    done, copied = done + more, copied or some
    length, n = receive(sock, r)
  end
  if n ~= EAGAIN then return nil, n end
  return done, copied
end

-- Reads the queue until no send is outstanding or the queue is empty.  Answers how many sends are done and whether one was
-- copied, or nil and the errno.  The kernel joins its reports, so there is usually one message.
local function drain(sock, state)
  local r, done, copied = spare or reader(), 0, false
  spare = nil
  local length, n = receive(sock, r)
  if length then done, copied = take(sock, state, r, length, n) end
  if length and (done == 0 or state.outstanding > 0) then done, copied = take_more(sock, state, r, done, copied) end
  spare = r
  if not length and n ~= EAGAIN then return nil, n end
  return done, copied
end

-- Whether the following close will reset the connection.  It does not where another owner keeps the connection: a duplicate,
-- the parent of a forked child, or the code that lent the descriptor.
local function will_reset(sock, state)
  if sock.about.kind ~= const.SOCK_STREAM or sock.about.borrowed or sockets.copied[sock] then return false end
  return state.pid == C.llsocket2_getpid() and KIND.linger.read(sock.sd, SOL_SOCKET, const.SO_LINGER) == 0
end

-- Resets the connection as close with linger 0 does, but keeps the socket open, so that its error queue still reports which
-- sends are completed.
local nobody = layout.sockaddr_storage()
nobody.ss_family = const.AF_UNSPEC
local function reset(sock)
  sockets.reset[sock] = C.llsocket2_connect(sock.sd, nobody, ffi.sizeof(nobody)) == 0
end

sockets.before_close(function(sock, given_up)
  local state = states[sock]
  if not state then return end
  if not given_up then
    drain(sock, state)
    if state.outstanding > 0 and will_reset(sock, state) then
      reset(sock)
      drain(sock, state)
    end
  end
  if state.outstanding > 0 then keep_for_good(state.anchors) end
  states[sock], state.keeper = nil, nil
end)

-- A datagram rejected by the qdisc may have consumed a number.  Usually its completion is queued by now.  If it is not, we
-- cannot know, so this socket falls back to copying.
local function count_failed(sock, state, e)
  if not has_empty(sock.about.kind) then return end
  local was = state.next
  drain(sock, state)
  if e == ENOBUFS and state.next == was and sock:recverr() then state.copies = true end
end

local function send_copied(sock, start, len, flags)
  local n, e = c_send(sock.sd, start, min(len, MAX_LENGTH), flags), errno()
  return n, e
end

-- The next number has an anchor only where an error of a debug hook came between a send and its count.  Count that send,
-- because the kernel may have its memory.  It may also have no number: then our counter is off by one, so the socket falls
-- back to copying.
local function count_interrupted(state)
  state.next, state.outstanding, state.copies = (state.next + 1) % WORD, state.outstanding + 1, true
end

-- Set the anchor before the call: once the kernel has the memory, nothing may fail.
local function send(sock, state, buf, start, len, flags)
  local id = state.next
  if state.anchors[id] ~= nil then
    count_interrupted(state)
    return send_copied(sock, start, len, flags)
  end
  state.anchors[id] = buf -- alone: where memory runs out here, nothing must keep the socket
  state.keeper = sock
  local n, e = c_send(sock.sd, start, min(len, MAX_LENGTH), bor(flags, MSG_ZEROCOPY)), errno()
  if n > 0 then
    state.next, state.outstanding = (id + 1) % WORD, state.outstanding + 1
    return n
  end
  state.anchors[id] = nil
  if state.outstanding == 0 then state.keeper = nil end
  count_failed(sock, state, e)
  return n, e
end

--- Sends a message without copying its memory: the kernel reads it after the call has returned, until `completed` tells that
--- the send is done; see MSG_ZEROCOPY.  Do not change the memory until then.  Strings and arrays are kept alive so long; the
--- caller must keep the memory behind a pointer.  Fewer than 10,240 bytes are copied as send does.  Blocks on a blocking
--- socket, for as long as sndtimeo allows.  Never raises SIGPIPE.
---@param buf string|ffi.cdata*  an array or pointer
---@param size? integer  bytes; the default is the rest, a pointer has no default
---@param offset? integer  the byte to begin at; the default is 0
---@param flag? integer  MSG_*
---@param f2? integer  more flags, up to f8
---@return integer? len  bytes sent; no values at all when the peer has closed
---@return string? err
---@return boolean? again  true: fewer than `size` were taken, would block, or was interrupted
---@return integer? errno  ENOBUFS: too much is outstanding (call completed), or closed sockets keep more than zerocopykept's
---limit; EOPNOTSUPP: neither TCP nor UDP, or not on this system; EBUSY: other code has set SO_ZEROCOPY; else as for sendfrom
function Socket:sendzerocopy(buf, size, offset, flag, f2, f3, f4, f5, f6, f7, f8, f9)
  is_self(self, "sendzerocopy")
  local flags = check.flags(4, "sendzerocopy", flag, f2, f3, f4, f5, f6, f7, f8, f9)
  local start, len = region.lasting(buf, size, offset, 3, "sendzerocopy")
  if not (start and flags) or len == 0 and not has_empty(self.about.kind) then return not_sent(EINVAL) end
  local state, why = states[self], nil
  if not state then state, why = begin(self) end
  if not state then return not_sent(why) end
  if limit and held > limit then return not_sent(ENOBUFS) end
  flags = band(bor(flags, MSG_NOSIGNAL), ORDINARY)
  local n, e
  if len < LEAST or state.copies then
    n, e = send_copied(self, start, len, flags)
  else
    n, e = send(self, state, buf, start, len, flags)
  end
  if n < 0 then return answer.send_failed(self, e) end
  return answer.sent(self, n, n < len)
end

local function not_told(e) return nil, failure.texts[e], false, nil, e end

--- Reads from the error queue which sends of sendzerocopy are done, and releases their memory; see MSG_ZEROCOPY.  Never
--- blocks; recvable tells when there is something to read.  Also answers the other messages of the queue.
---@return integer? outstanding  sends whose memory the kernel may still read
---@return integer|string|nil done  how many sends this call released; or err
---@return boolean copied  whether the kernel copied the bytes of one of them nevertheless
---@return llsocket.queued[]? others  ICMP errors and time stamps; nil where there are none
---@return integer? errno  EBADF once closed
function Socket:completed()
  is_self(self, "completed")
  if self.sd < 0 then return not_told(EBADF) end
  local state = states[self]
  if not state then return 0, 0, false end
  local done, copied = drain(self, state)
  if not done then return not_told(copied) end
  local others = state.others
  if not others then return state.outstanding, done, copied end
  state.others = nil
  return state.outstanding, done, copied, others
end

--- Tells how much memory closed sockets keep: the kernel may still read it, and nothing will report when it is done.  May set
--- a limit, above which sendzerocopy answers ENOBUFS.
---@param bytes? integer|false  0 to 2^53; false for no limit, which is the default
---@return integer? kept  bytes, each string or array counted once
---@return string? err
---@return integer? errno  EINVAL
local function zerocopykept(bytes)
  if type(bytes) == "nil" then return held end
  if bytes ~= false then
    check.number(bytes, 1, "zerocopykept")
    if not (bytes >= 0 and bytes <= 2^53 and floor(bytes) == bytes) then return failure.failed(EINVAL) end
  end
  limit = bytes
  return held
end

---@class llsocket.queued
---@field name? llsocket.addrinfo  the destination of the send that the message is about
---@field data string  the beginning of the data that was sent
---@field control llsocket.cmsghdr[]  `exterr` tells the error
---@field flags integer  MSG_*

return { methods = Socket, states = states, release = release, zerocopykept = zerocopykept }
