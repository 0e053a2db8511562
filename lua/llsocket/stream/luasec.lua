-- luasec.lua -- a stream over TLS, which LuaSec does.
--
-- LuaSec writes with write(2), so a peer that has closed raises SIGPIPE: the program must ignore that signal, see doc/tls.md.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ssl = require "ssl"
local check = require "llsocket.core.check"
local const = require "llsocket.core.const"
local pton = require("llsocket.inet").pton
local socket = require "llsocket.socket"
local streams = require "llsocket.stream.object"
local left = require("llsocket.wait").left
local pcall, setmetatable, tostring, type = pcall, setmetatable, tostring, type

local EAGAIN, EINTR, EPROTO = const.EAGAIN, const.EINTR, const.EPROTO

-- A TLS connection with the methods of a socket, so that stream.wrap takes it.
--   conn       LuaSec's object, which owns the descriptor
--   sock       a socket that borrows it: closing that one wakes who waits
--   direction  the method that waits for what TLS needs: a read may have to write first
--   failed     the error that ended it.  LuaSec must not be called again: its receive then loops for ever (LuaSec 1.2 with
--              OpenSSL 3, after a peer that closed without close_notify)
local Tls = {}
local meta = { __index = Tls, __tostring = function(tls) return tls.name end }

local DIRECTION = { wantread = "recvable", wantwrite = "sendable" }

-- Remembers what LuaSec told beside the bytes that it moved, or instead of them.
local function note(tls, err)
  tls.direction = DIRECTION[err] or tls.direction
  if err and not DIRECTION[err] and err ~= "timeout" then tls.failed = err end
end

-- OpenSSL has no text for some errors, mostly where memory has run out, and LuaSec answers nil then.
local UNKNOWN = "TLS failed"

-- Answers for a call that moved nothing: again, no values at the end, or an error.
local function not_moved(tls)
  local err = tls.failed
  if not err then return nil, nil, true, EAGAIN end
  if err == "closed" then return end
  return nil, err, false, EPROTO
end

--- Receives what is there; see SSL_read(3).
---@param size integer  most bytes
---@return string? msg  no values at all when the peer has closed
---@return string? err
---@return boolean? again
---@return integer? errno  EAGAIN; EPROTO: TLS failed
function Tls:recv(size)
  if self.failed then return not_moved(self) end
  local data, err, part = self.conn:receive(size)
  note(self, err or not data and UNKNOWN or nil)
  data = data or part
  if data and data ~= "" then return data, nil, false end
  return not_moved(self)
end

--- Sends; see SSL_write(3).
---@param msg string
---@return integer? len  no values at all when the peer has closed
---@return string? err
---@return boolean? again
---@return integer? errno  EAGAIN; EPROTO: TLS failed
function Tls:send(msg)
  if self.failed then return not_moved(self) end
  local n, err, sent = self.conn:send(msg)
  note(self, err or not n and UNKNOWN or nil)
  n = n or sent
  if n and n > 0 then
    self.direction = DIRECTION[err] or "sendable" -- not what an earlier read waited for
    return n, nil, n < #msg
  end
  return not_moved(self)
end

--- Waits for what TLS waits for.
---@param sec? number  seconds
---@return boolean? ready
---@return string? err
---@return integer? errno
function Tls:recvable(sec)
  local sock = self.sock
  return sock[self.direction](sock, sec)
end

Tls.sendable = Tls.recvable

--- Closes the connection; a second close does nothing.
function Tls:close()
  self.sock:close() -- first, while the number is this connection's
  if not self.is_closed then self.conn:close() end
  self.is_closed = true
end

-- Waits for the handshake until the deadline of the plain stream; answers true, or nil, text, errno.
local function shake(tls, at)
  while true do
    local done, err = tls.conn:dohandshake()
    if done then return true end
    if not DIRECTION[err] then return nil, err or UNKNOWN, EPROTO end
    tls.direction = DIRECTION[err]
    local ready, why, e = tls:recvable(left(at))
    if ready == false then return nil, "the TLS handshake has timed out", const.ETIMEDOUT end
    if not ready and e ~= EINTR then return nil, why, e end
  end
end

-- Has LuaSec take the socket over; answers the connection, or nil and a text.
local function take_over(s, context)
  local called, conn, err = pcall(ssl.wrap, s.sock, context)
  if not called and type(context) ~= "table" then check.bad(2, "secure", "context of LuaSec", context) end
  if not called then return nil, tostring(conn) end
  return conn, err
end

-- Answers an object with the methods of a socket, or nil, text, errno.
local function new_tls(s, context)
  local conn, why = take_over(s, context)
  if not conn then return nil, why or UNKNOWN, EPROTO end
  local sock, err, e = socket.wrap(conn:getfd(), { own = false })
  if sock then
    return setmetatable({ conn = conn, sock = sock, direction = "recvable", name = "TLS: " .. tostring(conn) }, meta)
  end
  conn:close()
  return nil, err, e
end

local M = {}

--- Makes a stream over TLS of a plain one, with LuaSec: takes the socket over, and does the handshake within the stream's
--- deadline, which holds on.
---@param s llsocket.stream  of a socket; it is closed where this fails
---@param context any  what ssl.newcontext answers, or its table of parameters
---@param name? string  the host's name for a client's SNI; a numeric address is not sent
---@return llsocket.stream? s  its sock has LuaSec's object as `conn`
---@return string? err
---@return integer? errno  EPROTO: TLS failed, or bytes came before the handshake; ETIMEDOUT, ECANCELED; EBADF once closed
function M.secure(s, context, name)
  streams.arg(s, 1, "secure")
  check.optional_string(name, 3, "secure")
  if not s.direct then check.bad(1, "secure", "stream of a socket", s) end
  if s.sock:fd() < 0 then return nil, "Bad file descriptor", const.EBADF end
  local tls, err, no = new_tls(s, context)
  if not tls then
    s:close()
    return nil, err, no
  end
  tls.conn:settimeout(0)
  if name and not pton(name) then tls.conn:sni(name) end -- RFC 6066: an address is no name
  local is_clean = s.first >= s.last -- bytes before the handshake would be taken for the peer's: STARTTLS injection
  local done, why, e = is_clean, "bytes came before the TLS handshake", EPROTO
  if is_clean then done, why, e = shake(tls, s.at) end
  s:close()
  if not done then
    tls:close()
    return nil, why, e
  end
  local secured = streams.wrap(tls)
  s.secured, secured.at = secured, s.at
  return secured
end

return M
