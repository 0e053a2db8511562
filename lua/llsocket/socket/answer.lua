-- answer.lua -- what sends and receives ask the kernel, and what they answer: flags, the longest transfer, the C functions
-- that never raise SIGPIPE, and the shapes of the results.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local bit = require "bit"
local C = require "llsocket.core.libc"
local shim = require "llsocket.shim"
local flags_of = require("llsocket.core.check").flags
local const = require "llsocket.core.const"
local texts = require("llsocket.core.failure").texts

local band = bit.band
local AGAIN = { [const.EAGAIN] = true, [const.EWOULDBLOCK] = true, [const.EINTR] = true }
local EPIPE, ECONNRESET, ECONNABORTED, EINPROGRESS =
  const.EPIPE, const.ECONNRESET, const.ECONNABORTED, const.EINPROGRESS
local MSG_ZEROCOPY, MSG_TRUNC, SOCK_STREAM = const.MSG_ZEROCOPY or 0, const.MSG_TRUNC, const.SOCK_STREAM

-- If neither a flag nor an option keeps SIGPIPE away, the shim blocks the signal around the call.
local quiet = const.MSG_NOSIGNAL or const.SO_NOSIGPIPE

local M = {
  READ = 1, WRITE = 2, -- sock.waits: what the last call would have waited for
  MAX_LENGTH = 0x7ffff000, -- the most that Linux moves in one call; longer lengths are cut to it, so every result is an int
  MSG_NOSIGNAL = const.MSG_NOSIGNAL or 0,
  quiet = quiet,
  send = quiet and C.llsocket2_send or shim.llsocket2_guarded_send,
  sendto = quiet and C.llsocket2_sendto or shim.llsocket2_guarded_sendto,
  sendmsg = quiet and C.llsocket2_sendmsg or shim.llsocket2_guarded_sendmsg,
}

local READ, WRITE = M.READ, M.WRITE

--- Tells whether sockets of this type can send 0 bytes: all types have empty messages, except streams.
---@param kind integer  SOCK_*
---@return boolean
function M.has_empty(kind) return kind ~= SOCK_STREAM end

--- Tells whether a receive with these flags would leave its buffer as it was.  With MSG_TRUNC on a stream the kernel counts
--- the bytes but writes none, so the buffer would show the bytes of another connection.
---@param sock llsocket.socket
---@param flags integer  MSG_*
---@return boolean
function M.is_blind(sock, flags) return band(flags, MSG_TRUNC) ~= 0 and sock.about.kind == SOCK_STREAM end

--- Combines `[flag, ...]` of a send as check.flags does.  Answers nil for MSG_ZEROCOPY, too: the kernel would read the memory
--- after the call, and only sendzerocopy keeps it alive.
---@param position integer  of `flag`, self not counted
---@param method string  the caller's name, for the message
---@param flag any
---@param f2? any  more flags, up to f9, which raises
---@return integer? bits
function M.send_flags(position, method, flag, f2, f3, f4, f5, f6, f7, f8, f9)
  local bits = flags_of(position, method, flag, f2, f3, f4, f5, f6, f7, f8, f9)
  if bits and band(bits, MSG_ZEROCOPY) == 0 then return bits end
end

--- Answers for a receive that got nothing: `nil, nil, true, errno` to try again, `nil, err, false, errno` otherwise.
---@param e integer  errno
---@return nil
---@return string? err
---@return boolean again
---@return integer errno
local function not_received(e)
  if AGAIN[e] then return nil, nil, true, e end
  return nil, texts[e], false, e
end

--- Answers for a send that sent nothing: `0, nil, true, errno` to try again, also when MSG_FASTOPEN has begun to connect
--- (EINPROGRESS); no values once the peer has closed; `nil, err, false, errno` otherwise.
---@param e integer  errno
---@return integer? len
---@return string? err
---@return boolean? again
---@return integer? errno
local function not_sent(e)
  if AGAIN[e] or e == EINPROGRESS then return 0, nil, true, e end
  if e == EPIPE or e == ECONNRESET then
    M.closed_by = e -- streams tell which it was
    return
  end
  return nil, texts[e], false, e
end

M.not_received, M.not_sent = not_received, not_sent

--- Answers for an accept that failed.  A connection that died in the queue is one more reason to try again.
---@param e integer  errno
---@return nil
---@return string? err
---@return boolean again
---@return integer errno
function M.not_accepted(e)
  if AGAIN[e] or e == ECONNABORTED then return nil, nil, true, e end
  return nil, texts[e], false, e
end

--- Answers for a receive that the kernel refused, and remembers that it would have waited for data: foreign loops ask for that.
---@param sock llsocket.socket
---@param e integer  errno
---@return nil
---@return string? err
---@return boolean again
---@return integer errno
function M.receive_failed(sock, e)
  sock.waits = READ
  return not_received(e)
end

--- Answers for a send that the kernel refused, and remembers that it would have waited for room.
---@param sock llsocket.socket
---@param e integer  errno
---@return integer? len
---@return string? err
---@return boolean? again
---@return integer? errno
function M.send_failed(sock, e)
  sock.waits = WRITE
  return not_sent(e)
end

--- Answers for a send that succeeded.  After a partial one the next send would block, so that is remembered, too.
---@param sock llsocket.socket
---@param n integer  bytes taken
---@param again boolean  fewer than all
---@return integer len
---@return nil
---@return boolean again
function M.sent(sock, n, again)
  if again then sock.waits = WRITE end
  return n, nil, again
end

return M
