-- splice.lua -- moves bytes from socket to socket through a pipe, without a copy to user space.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local C = require "llsocket.core.libc"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local answer = require "llsocket.socket.answer"
local sockets = require "llsocket.socket.object"
local pipes = require "llsocket.pipe"

local errno, min, type, floor = ffi.errno, math.min, type, math.floor
local is_self, not_sent = sockets.self, answer.not_sent
local EINVAL, EBADF, ENOSYS, SOCK_STREAM = const.EINVAL, const.EBADF, const.ENOSYS, const.SOCK_STREAM
local EAGAIN, EWOULDBLOCK = const.EAGAIN, const.EWOULDBLOCK
local INTERNET = { [const.AF_INET] = true, [const.AF_INET6] = true } -- streams with an urgent mark that stops splice(2)

---@class llsocket.socket
local Socket = {}

-- Answers the errno where these sockets cannot be spliced, or nil.  Both must be streams: the bounds of messages would be lost.
local function objection(from, to, pipe)
  if from.sd < 0 or to.sd < 0 or pipe.input.sd < 0 then return EBADF end
  if from.about.kind ~= SOCK_STREAM or to.about.kind ~= SOCK_STREAM then return EINVAL end
  if not const.SPLICE_F_MOVE then return ENOSYS end
end

-- Count the bytes at once: they have left the socket.  Splice fills only an empty pipe, so a mark's byte has room.
local function fill(from, pipe, bytes)
  pipe.moving = true
  local n, e = C.llsocket2_splice(from.sd, nil, pipe.input.sd, nil, bytes, 0), errno()
  if n == 0 or n < 0 and (e == EAGAIN or e == EWOULDBLOCK) then
    if INTERNET[from.home] then n, e = pipes.pass_mark(from.sd, pipe) end
  end
  if n > 0 then pipe.bytes = pipe.bytes + n end
  pipe.moving = false
  return n, e
end

local function not_filled(from, e)
  local _, err, again = answer.receive_failed(from, e)
  if again then return 0, nil, true, e end
  return nil, err, false, e
end

-- Never ask for more bytes than the pipe holds: splice(2) would wait for an empty pipe.
local function drain(pipe, to, bytes)
  pipe.moving = true
  local n, e = shim.llsocket2_guarded_splice(pipe.output.sd, to.sd, bytes), errno()
  if n > 0 then pipes.left(pipe, n) end
  pipe.moving = false
  if n < 0 then return answer.send_failed(to, e) end
  return answer.sent(to, n, n < bytes)
end

--- Moves received bytes to another socket through a pipe, without a copy to user space; see splice(2).  Blocks on a blocking
--- socket, for as long as its rcvtimeo or sndtimeo allows.  Allocates nothing.  Never raises SIGPIPE.  If the pipe already
--- holds bytes, the call sends only those.  When it answers `again` and the pipe is empty, this socket has nothing to read;
--- when the pipe is not empty, `to` takes no more.
---@param to llsocket.socket  a stream, as this one must be
---@param pipe llsocket.pipe  one for each direction
---@param bytes? integer  most to move, from 1; the default is the capacity of the pipe
---@return integer? len  bytes that `to` took, 0 at the end of this stream; no values at all when `to` is closed
---@return string? err
---@return boolean? again  true: one of the two would block, or the call was interrupted
---@return integer? errno  EAGAIN, EINTR, ECONNRESET of this socket, ENOTCONN; EINVAL where one is not a stream; EBADF where
---one is closed; ENOSYS where the system has no splice
function Socket:splice(to, pipe, bytes)
  is_self(self, "splice")
  sockets.arg(to, 1, "splice")
  pipes.arg(pipe, 2, "splice")
  if type(bytes) == "nil" then bytes = answer.MAX_LENGTH end
  check.number(bytes, 3, "splice")
  if not (bytes >= 1 and bytes <= 2^53 and floor(bytes) == bytes) then return not_sent(EINVAL) end
  local e = objection(self, to, pipe)
  if e then return not_sent(e) end
  if pipes.count(pipe) == 0 then
    local n, why = fill(self, pipe, min(bytes, answer.MAX_LENGTH))
    if n < 0 then return not_filled(self, why) end
    if n == 0 then return 0, nil, false end
  end
  return drain(pipe, to, min(bytes, pipe.bytes))
end

return { methods = Socket }
