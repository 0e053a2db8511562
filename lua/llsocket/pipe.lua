-- pipe.lua -- the pipe that splice moves bytes through: it holds both ends, and counts the bytes in the pipe.
--
-- No other code has the ends, so the count is right.  Only an error of a debug hook can come between splice(2) and the count:
-- `moving` is true meanwhile, and where it is found true the kernel is asked.  A drain that asked for bytes that have gone would
-- wait for ever.  The ends are blocking.  No call waits for them, only for what is at the other side: bytes go in only where
-- there is room, and no more are asked for than the pipe holds.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local C = require "llsocket.core.libc"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local failure = require "llsocket.core.failure"
local descriptor = require "llsocket.descriptor"
local fcntl = require "llsocket.socket.flags"
local shortage = require "llsocket.core.shortage"
local layout = require "llsocket.core.layout"
local answer = require "llsocket.socket.answer"
local ended = require "llsocket.socket.ended"
local region = require "llsocket.message.region"
local ipairs, setmetatable, type = ipairs, setmetatable, type

local errno, failed, refused, not_sent = ffi.errno, failure.failed, failure.refused, answer.not_sent
local min, huge, floor, remove = math.min, math.huge, math.floor, table.remove
local MAX_LENGTH = answer.MAX_LENGTH
local EINVAL, ENOSYS, EBADF, EAGAIN, EWOULDBLOCK = const.EINVAL, const.ENOSYS, const.EBADF, const.EAGAIN, const.EWOULDBLOCK

---@class llsocket.pipe
local Pipe = {}
local meta = { __index = Pipe }

local is_self, arg = check.object(meta, "llsocket.pipe")

-- One for each call: a debug hook that makes a pipe, too, would leave its numbers in a shared one.
local two_t = ffi.typeof "int[2]"

-- Give the numbers to their owners right after the call: a debug hook that raises before would leave two descriptors that
-- nobody owns.
local function open_pipe(pipe)
  local from, to, cell = pipe.output, pipe.input, two_t()
  local rc, e
  if const.SPLICE_F_MOVE then -- every system with this constant also has pipe2(2)
    rc, e = C.llsocket2_pipe2(cell, const.O_CLOEXEC), errno()
  else
    rc, e = C.llsocket2_pipe(cell), errno()
  end
  if rc < 0 then
    if shortage.collected(e) then return open_pipe(pipe) end
    return e
  end
  from.sd, to.sd = cell[0], cell[1]
  shortage.made = shortage.made + 2
  if not const.SPLICE_F_MOVE then return fcntl.set_cloexec(from.sd, true) or fcntl.set_cloexec(to.sd, true) end
end

local function set_size(pipe, size)
  if not const.F_SETPIPE_SZ then return ENOSYS end
  local rc, e = shim.llsocket2_fcntl(pipe.input.sd, const.F_SETPIPE_SZ, size), errno()
  if rc < 0 then return e end
end

---@class llsocket.pipe.module
local M = {}

--- Makes a pipe for splice, close-on-exec; see pipe(7).
---@param size? integer  bytes that it can hold, 1 to 2^31-1, which the kernel rounds up; the default is the system's
---@return llsocket.pipe? pipe
---@return string? err
---@return integer? errno  EMFILE, ENFILE; EINVAL; EPERM: larger than an unprivileged user may have; ENOSYS: this system has
---only one size
function M.new(size)
  if type(size) ~= "nil" and (not check.int(size, 1, "new") or size < 1) then return failed(EINVAL) end
  local pipe = setmetatable({
    input = descriptor.new(), output = descriptor.new(),
    bytes = 0, gone = 0, -- what it holds, and what has left it since it was made
    moving = false, lent = false, -- lent: see fill
  }, meta)
  local e = open_pipe(pipe) or size and set_size(pipe, size)
  if not e then return pipe end
  pipe:close()
  return failed(e)
end

-- Memory that fill has lent to the pipe: lent[i] is { buffer, the count of bytes gone by which it has left the pipe }.
local function release(pipe)
  local lent = pipe.lent
  while lent[1] and lent[1][2] <= pipe.gone do remove(lent, 1) end
  if not lent[1] or pipe.bytes == 0 then pipe.lent = false end
end

-- Nobody knows how much went out when a debug hook broke in.  All that is lent lies within what the pipe holds.
local function recount(pipe)
  for _, loan in ipairs(pipe.lent) do loan[2] = min(loan[2], pipe.gone + pipe.bytes) end
  if pipe.bytes == 0 then pipe.lent = false end
end

-- Adds a loan before the call that hands the memory over: after that nothing may fail.
local function lend(pipe, buffer)
  local loan = { buffer, huge }
  pipe.lent = pipe.lent or {}
  pipe.lent[#pipe.lent + 1] = loan
  return loan
end

-- Ends the last loans where nothing went in; otherwise notes when they end.
local function settle(pipe, is_lent, loans)
  local lent = pipe.lent
  for i = #lent, #lent - loans + 1, -1 do
    if is_lent then lent[i][2] = pipe.gone + pipe.bytes else lent[i] = nil end
  end
  if not lent[1] then pipe.lent = false end
end

-- Counts what a call has put into the pipe, for which so many loans were made.
local function entered(pipe, n, loans)
  if n > 0 then pipe.bytes = pipe.bytes + n end
  pipe.moving = false
  if loans > 0 then settle(pipe, n > 0, loans) end
end

local bytes_cell = ffi.new "int[1]"

--- Tells how many bytes wait.
---@param pipe llsocket.pipe
---@return integer bytes
function M.count(pipe)
  if pipe.moving then
    local rc, n = shim.llsocket2_ioctl(pipe.output.sd, const.FIONREAD, bytes_cell), bytes_cell[0]
    if rc == 0 then pipe.bytes, pipe.moving = n, false end
    if rc == 0 and pipe.lent then recount(pipe) end
  end
  return pipe.bytes
end

--- Counts bytes that have left the pipe.
---@param pipe llsocket.pipe
---@param n integer
function M.left(pipe, n)
  pipe.bytes, pipe.gone = pipe.bytes - n, pipe.gone + n
  if pipe.lent then release(pipe) end
end

local byte_cell = ffi.new "uint8_t[1]"

--- Passes an urgent mark of TCP as recv does, by moving the byte behind it.  The pipe must have room: the write would block.
---@param sd integer
---@param pipe llsocket.pipe
---@return integer n  1; 0 at the end, -1 for an error
---@return integer errno
function M.pass_mark(sd, pipe)
  local n, e, byte = ended.next_byte(sd)
  if n <= 0 then return n, e end
  byte_cell[0] = byte
  local done, why = C.llsocket2_write(pipe.input.sd, byte_cell, 1), errno()
  return done, why
end

--- Tells how many bytes wait in the pipe to be sent.
---@return integer bytes
function Pipe:held()
  is_self(self, "held")
  return M.count(self)
end

-- Doubles are exact up to 2^53.
local function is_count(n, least) return n >= least and n <= 2^53 and floor(n) == n end

-- Answers the errno where a pipe, or one of two, cannot move bytes, or nil.
local function objection(pipe, other)
  if pipe.input.sd < 0 or other and other.input.sd < 0 then return EBADF end
  if not const.SPLICE_F_MOVE then return ENOSYS end
end

local poll_cell -- made on first use

-- Answers whether a byte can go in now.
local function has_room(pipe)
  if M.count(pipe) == 0 then return true end
  poll_cell = poll_cell or layout.pollfd()
  poll_cell.fd, poll_cell.events, poll_cell.revents = pipe.input.sd, const.POLLOUT, 0
  return C.llsocket2_poll(poll_cell, 1, 0) > 0
end

local size_cell, protocol_cell = ffi.new "uint32_t[1]", ffi.new "int[1]"
local TCP = { [const.IPPROTO_TCP] = true, [const.IPPROTO_MPTCP or const.IPPROTO_TCP] = true }

local function is_tcp(fd)
  size_cell[0], protocol_cell[0] = 4, 0
  local rc, protocol = C.llsocket2_getsockopt(fd, const.SOL_SOCKET, const.SO_PROTOCOL, protocol_cell, size_cell), protocol_cell[0]
  return rc == 0 and TCP[protocol]
end

local offset_cell = ffi.new "int64_t[1]"

local function take(pipe, fd, bytes, offset)
  if not has_room(pipe) then return -1, EAGAIN end
  if offset then offset_cell[0] = offset end
  pipe.moving = true
  local n, e = C.llsocket2_splice(fd, offset and offset_cell or nil, pipe.input.sd, nil, bytes, 0), errno()
  if (n == 0 or n < 0 and (e == EAGAIN or e == EWOULDBLOCK)) and is_tcp(fd) then n, e = M.pass_mark(fd, pipe) end
  entered(pipe, n, 0)
  return n, e
end

-- Checks the arguments that `from` and `to` have in common; answers the descriptor, or nil and the errno.
local function place(pipe, fd, bytes, offset, method)
  local file, why = check.file(fd, 1, method)
  check.number(bytes, 2, method)
  if type(offset) ~= "nil" then check.number(offset, 3, method) end
  if not is_count(bytes, 1) or type(offset) ~= "nil" and not is_count(offset, 0) then return nil, EINVAL end
  local e = objection(pipe)
  if not file and e ~= EBADF then return nil, why end
  if e then return nil, e end
  return file
end

--- Moves bytes from a file or another descriptor into the pipe, without a copy to user space; see splice(2).  Blocks on a
--- blocking descriptor that has nothing, never for the pipe.  Allocates nothing.
---@param fd integer|file*  a file, a pipe, a socket, ...
---@param bytes integer  most to move, 1 to 2^53
---@param offset? integer  where in the file to begin, 0 to 2^53; the default is its own position, which then moves
---@return integer? len  bytes moved; 0 at the end
---@return string? err
---@return boolean? again  true: fewer than asked for, the pipe is full, the descriptor would block, or was interrupted
---@return integer? errno  EAGAIN, EINTR, ECONNRESET, EIO; EBADF: closed, or not open for reading; ESPIPE: an offset in a
---pipe; EINVAL out of range, an offset in a socket, or the descriptor has no splice; ENOSYS where the system has no splice
function Pipe:from(fd, bytes, offset)
  is_self(self, "from")
  local file, e = place(self, fd, bytes, offset, "from")
  if not file then return not_sent(e) end
  local n, why = take(self, file, min(bytes, MAX_LENGTH), offset)
  if n >= 0 then return n, nil, n > 0 and n < bytes end
  local _, err, again = answer.not_received(why)
  if again then return 0, nil, true, why end
  return nil, err, false, why
end

--- Moves bytes from the pipe into a file or another descriptor, without a copy to user space; see splice(2).  Blocks on a
--- blocking descriptor that takes no more.  Allocates nothing.  Never raises SIGPIPE.
---@param fd integer|file*  a file, a pipe, a socket, ...
---@param bytes integer  most to move, 1 to 2^53
---@param offset? integer  where in the file to begin, 0 to 2^53; the default is its own position, which then moves
---@return integer? len  bytes moved, 0 when the pipe is empty; no values at all when nobody reads the descriptor any more
---@return string? err
---@return boolean? again  true: fewer than asked for and held, the descriptor would block, or was interrupted
---@return integer? errno  EAGAIN, EINTR, EIO, ENOSPC, EFBIG; EBADF: closed, or not open for writing; ESPIPE: an offset in a
---pipe; EINVAL out of range, an offset in a socket, or a file open for appending; ENOSYS where the system has no splice
function Pipe:to(fd, bytes, offset)
  is_self(self, "to")
  local file, e = place(self, fd, bytes, offset, "to")
  if not file then return not_sent(e) end
  local size = min(bytes, M.count(self), MAX_LENGTH)
  if size == 0 then return 0, nil, false end -- splice(2) would wait for an empty pipe
  self.moving = true
  local n, why = shim.llsocket2_guarded_splice_to(self.output.sd, file, offset or -1, size), errno()
  if n > 0 then M.left(self, n) end
  self.moving = false
  if n < 0 then return not_sent(why) end
  return n, nil, n < size
end

-- Lends what the first pipe has borrowed to the other one, too; answers the number of loans.
local function lend_all(pipe, other)
  if not pipe.lent then return 0 end
  for _, loan in ipairs(pipe.lent) do lend(other, loan[1]) end
  return #pipe.lent
end

--- Copies the bytes that the pipe holds into another pipe, where they then are, too; see tee(2).  The kernel shares the
--- memory.  Copies from the first byte each time.  Never blocks.  Allocates nothing, unless fill has lent memory.
---@param other llsocket.pipe  not this one
---@param bytes? integer  most to copy, from 1; the default is all that the pipe holds
---@return integer? len  bytes copied
---@return string? err
---@return boolean? again  true: fewer than asked for and held, or this pipe is empty, or the other one full
---@return integer? errno  EAGAIN; EINVAL out of range or the same pipe; EBADF where one is closed; ENOSYS where the system has
---no splice
function Pipe:tee(other, bytes)
  is_self(self, "tee")
  arg(other, 1, "tee")
  if type(bytes) == "nil" then bytes = MAX_LENGTH end
  check.number(bytes, 2, "tee")
  if not is_count(bytes, 1) or other == self then return not_sent(EINVAL) end
  local e = objection(self, other)
  if e then return not_sent(e) end
  local size = min(bytes, M.count(self), MAX_LENGTH)
  if size == 0 then return not_sent(EAGAIN) end
  M.count(other)
  local loans = lend_all(self, other)
  other.moving = true
  local n, why = C.llsocket2_tee(self.output.sd, other.input.sd, size, const.SPLICE_F_NONBLOCK), errno()
  entered(other, n, loans)
  if n < 0 then return not_sent(why) end
  return n, nil, n < size
end

local part -- an iovec, made on first use

--- Puts memory into the pipe without copying it; see vmsplice(2).  DANGER: the memory must neither change nor be used for
--- anything else until its last byte was read at the far end, behind the pipe and any socket that it went on to.  The pipe
--- keeps an array alive while it may hold bytes of it.  Never blocks.
---@param buffer ffi.cdata*  an array that is no part of another object, or a pointer, whose memory the caller must keep
---@param size? integer  bytes; the default is the rest, a pointer has no default
---@param offset? integer  the byte to begin at; the default is 0
---@return integer? len  bytes that the pipe took
---@return string? err
---@return boolean? again  true: fewer than `size` were taken, or the pipe is full
---@return integer? errno  EAGAIN; EINVAL out of range; EFAULT; ENOMEM; EBADF once closed; ENOSYS where the system has no splice
function Pipe:fill(buffer, size, offset)
  is_self(self, "fill")
  local start, len = region.lent(buffer, size, offset, 3, "fill")
  if not start or len == 0 then return not_sent(EINVAL) end
  local e = objection(self)
  if e then return not_sent(e) end
  M.count(self)
  part = part or layout.iovec()
  lend(self, buffer)
  part.iov_base, part.iov_len = start, min(len, MAX_LENGTH)
  self.moving = true
  local n, why = C.llsocket2_vmsplice(self.input.sd, part, 1, const.SPLICE_F_NONBLOCK), errno()
  entered(self, n, 1)
  if n < 0 then return not_sent(why) end
  return n, nil, n < len
end

--- Closes both ends; the bytes in the pipe are lost.  Closing twice is harmless.  A collected pipe is closed, too.
---@return string? err
---@return integer? errno  EIO
function Pipe:close()
  is_self(self, "close")
  local _, first = self.input:close()
  local _, second = self.output:close()
  self.bytes, self.moving, self.lent = 0, false, false
  if first or second then return refused(first or second) end
end

M.methods, M.arg = Pipe, arg

return require("llsocket.core.lazy").keep("llsocket.pipe", M)
