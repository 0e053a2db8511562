-- writing.lua -- writes all of some strings to a stream.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local check = require "llsocket.core.check"
local const = require "llsocket.core.const"
local texts = require("llsocket.core.failure").texts
local answer = require "llsocket.socket.answer"
local streams = require "llsocket.stream.object"
local select = select
local concat = table.concat

local wait, is_late, is_self = streams.wait, streams.is_late, streams.self
local EBADF, EINTR, EIO, EPIPE, ETIMEDOUT = const.EBADF, const.EINTR, const.EIO, const.EPIPE, const.ETIMEDOUT
local MOST_PARTS = 1024 -- of one writev

---@class llsocket.stream
local Stream = streams.methods

local function failed(e, taken, err) return nil, err or texts[e], e, taken end

-- Sends once, from byte `taken` on; answers as send does.
local function send(s, msg, taken)
  if taken == 0 then return s.sock:send(msg) end
  if s.direct then return s.sock:sendfrom(msg, #msg - taken, taken) end
  return s.sock:send(msg:sub(taken + 1))
end

-- Answers the errno of a send that answered no values just now.
local function closed_by(s) return s.direct and answer.closed_by or EPIPE end

-- Sends all of one string, of which `taken` bytes are sent already; answers what write answers.
local function write_all(s, msg, taken)
  if s.is_closed then return failed(EBADF, taken) end
  local more = false
  while taken < #msg do
    if more and is_late(s) then return failed(ETIMEDOUT, taken) end
    local n, err, again, e = send(s, msg, taken)
    if not (n or again) then return failed(e or err and EIO or closed_by(s), taken, err) end
    more, taken = true, taken + (n or 0)
    if (again or n == 0) and e ~= EINTR and taken < #msg then
      local ready, why, no = wait(s, "sendable")
      if not ready then return failed(no, taken, why) end
    end
  end
  return true
end

-- Sends several strings in one system call; what that leaves is joined.
local function write_parts(s, parts)
  if not s.direct or #parts > MOST_PARTS then return write_all(s, concat(parts), 0) end
  local n, err, again, e = s.sock:writev(parts)
  if n and not again then return true end
  if not n then return failed(e or closed_by(s), 0, err) end
  return write_all(s, concat(parts), n)
end

-- Answers the strings that are not empty.
local function filled(...)
  local parts = {}
  for i = 1, select("#", ...) do
    local part = select(i, ...)
    check.string(part, i, "write")
    if part ~= "" then parts[#parts + 1] = part end
  end
  return parts
end

--- Writes strings, all bytes of them, waiting as long as the peer takes them slowly.
---@param msg string
---@param ... string  more, sent in the same system call
---@return boolean? done  true
---@return string? err
---@return integer? errno  EPIPE, ECONNRESET: the peer has closed; ETIMEDOUT: the deadline has come; ECANCELED;
---EBADF once closed
---@return integer? taken  bytes that the kernel took before the error
function Stream:write(msg, ...)
  is_self(self, "write")
  check.string(msg, 1, "write")
  if select("#", ...) == 0 then return write_all(self, msg, 0) end
  local parts = filled(msg, ...)
  if #parts < 2 then return write_all(self, parts[1] or "", 0) end
  return write_parts(self, parts)
end

return { methods = Stream }
