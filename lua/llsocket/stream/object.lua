-- object.lua -- a stream: a socket, the bytes that arrived and were not read yet, and a time limit.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local shim = require "llsocket.shim"
local check = require "llsocket.core.check"
local const = require "llsocket.core.const"
local failure = require "llsocket.core.failure"
local sockets = require "llsocket.socket.object"
local waiting = require "llsocket.wait"
require "llsocket.socket" -- the methods of sockets
local error, ipairs, pcall, setmetatable, tostring, type = error, ipairs, pcall, setmetatable, tostring, type

local now = shim.llsocket2_now
local failed, refused = failure.failed, failure.refused
local EBADF, EINVAL, EINTR, ETIMEDOUT = const.EBADF, const.EINVAL, const.EINTR, const.ETIMEDOUT
local is_socket = check.is(sockets.type)

---@class llsocket.stream
---@field sock any  the socket, or what was wrapped
local Stream = {}

-- Fields beside `sock`:
--   direct      whether sock is a socket of llsocket, which receives into memory and sends from it
--   at          the time of the deadline, or nil
--   block, size the memory of what arrived, or nil while nothing is held; see inbox.lua
--   is_closed   every call answers EBADF, whatever is held
--   secured     the stream over TLS that took the socket over
--   first, last the bytes that are not read yet: those of block from first up to, not including, last
local meta = {
  __index = Stream,
  __tostring = function(s) return "llsocket.stream: " .. tostring(s.sock) end,
}

local is_self, arg = check.object(meta, "llsocket.stream")

local NEEDED = { "recv", "send", "recvable", "sendable", "close" }

-- Raises where x cannot be indexed: some pointers, for example.
local function has_each(x)
  for _, name in ipairs(NEEDED) do
    if type(x[name]) ~= "function" then return false end
  end
  return true
end

local function has_all(x)
  local indexed, answer = pcall(has_each, x)
  return indexed and answer and type(x) ~= "string"
end

local M = { methods = Stream, self = is_self, arg = arg }

--- Makes a stream of a socket, which becomes non-blocking and belongs to the stream, or of any object with the methods recv,
--- send, recvable, sendable and close in their shapes, such as a TLS connection.
---@param x llsocket.socket|any
---@return llsocket.stream? s
---@return string? err
---@return integer? errno  EBADF: the socket is closed
function M.wrap(x)
  local direct = is_socket(x)
  if not direct and not has_all(x) then check.bad(1, "wrap", "socket", x) end
  if direct then
    local done, err, e = x:nonblock(true)
    if done == nil then return nil, err, e end
  end
  return setmetatable({ sock = x, direct = direct, first = 0, last = 0, size = 0 }, meta)
end

--- Raises unless the arguments are a host and a port.
---@param host any
---@param port any
---@param method string
function M.check_name(host, port, method)
  check.optional_string(host, 1, method)
  if type(port) ~= "string" and type(port) ~= "number" then check.bad(2, method, "string or number", port) end
end

--- Answers for a name that has no address, as getaddrinfo did.
---@param err string
---@param code integer  EAI_*, or of a unix path the errno
---@param e? integer  errno, after EAI_SYSTEM only
---@return nil
---@return string err
---@return integer code
---@return integer? errno
function M.unnamed(err, code, e)
  if e then return nil, err, code, e end
  return nil, err, code
end

--- Sets the time limit of all calls that follow, together.
---@param sec? number  seconds from now, below 2^31; nil lifts the limit
---@return string? err
---@return integer? errno  EINVAL
function Stream:deadline(sec)
  is_self(self, "deadline")
  if not waiting.milliseconds(sec, 1, "deadline") then return refused(EINVAL) end
  self.at = sec and now() + sec
end

--- Tells whether the time has run out.
---@param s llsocket.stream
---@return boolean
function M.is_late(s) return s.at ~= nil and now() >= s.at end

--- Waits until the socket can be read or written.
---@param s llsocket.stream
---@param way "recvable"|"sendable"
---@return boolean? ready
---@return string? err
---@return integer? errno  ETIMEDOUT: the deadline has come; ECANCELED, EBADF
function M.wait(s, way)
  local sock = s.sock
  local ready, err, e = sock[way](sock, waiting.left(s.at))
  if ready or e == EINTR then return true end
  if ready == false then return failed(ETIMEDOUT) end
  if err or e then return nil, err, e or const.EIO end
  error(("'%s' of %s answered nothing"):format(way, tostring(sock)), 0)
end

--- Shuts the connection down, by default for writing, so that the peer sees the end; see shutdown(2).
---@param how? integer  SHUT_WR (the default), SHUT_RD, SHUT_RDWR
---@return string? err
---@return integer? errno  ENOTCONN, EINVAL; EBADF once closed; EOPNOTSUPP: what was wrapped has no shutdown
function Stream:shutdown(how)
  is_self(self, "shutdown")
  if type(how) == "nil" then how = const.SHUT_WR end
  check.number(how, 1, "shutdown")
  if self.is_closed then return refused(EBADF) end
  local sock = self.sock
  if not self.direct and type(sock.shutdown) ~= "function" then return refused(const.EOPNOTSUPP) end
  return sock:shutdown(how)
end

--- Closes the socket.  What arrived and was not read is dropped.  A second close does nothing.
---@return string? err
---@return integer? errno  EIO, EINTR
function Stream:close()
  is_self(self, "close")
  if self.is_closed and not self.direct then return end -- a close of its own may not be called twice
  self.is_closed = true -- leave the bytes: a finaliser or another coroutine may close in the middle of a read
  return self.sock:close()
end

return M
