-- udp.lua -- a cosocket for datagrams, over UDP or a unix socket.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local shim = require "llsocket.shim"
local check = require "llsocket.core.check"
local const = require "llsocket.core.const"
local address = require "llsocket.cosocket.address"
local data = require "llsocket.cosocket.data"
local links = require "llsocket.cosocket.link"
local nested = require "llsocket.cosocket.nested"
local settings = require "llsocket.cosocket.settings"
local socket = require "llsocket.socket"
local unix = require "llsocket.unix"
local waiting = require "llsocket.wait"
local setmetatable, tonumber, type, min = setmetatable, tonumber, type, math.min

local now, SOCK_DGRAM = shim.llsocket2_now, const.SOCK_DGRAM
local EINTR, ETIMEDOUT = const.EINTR, const.ETIMEDOUT
local LARGEST = 8192 -- bytes of a datagram

---@class llsocket.cosocket.udp
local Udp = {}
local meta = { __index = Udp }

local M = { methods = Udp }

--- Makes a cosocket for datagrams.
---@param extra? any  raises
---@return llsocket.cosocket.udp
function M.new(extra)
  settings.no_more(extra, "expecting zero arguments, but got %d", 1)
  return setmetatable({ waiting = false }, meta)
end

-- Answers the address to bind to first; nil where there is none.
local function own_of(self, ai)
  if ai:family() == const.AF_UNIX then return unix.getaddrinfo("", SOCK_DGRAM)[1] end -- "": the kernel gives it a name
  return self.own
end

-- Answers a socket that is connected; nil, a word.
local function connected(self, ai)
  local sock, _, e = socket.new(ai, true)
  if not sock then return nil, settings.word(e, false) end
  local own, no = own_of(self, ai), nil
  if own then _, no = sock:bind(own) end
  if not no then _, _, no = sock:connect() end
  if not no then return sock end
  sock:close()
  return nil, settings.word(no, false)
end

local PEER = "ngx.socket.udp setpeername: expecting 2 or 3 arguments (including the object), but seen %d"

--- Sets the peer.
---@param host string  a name, an address, or "unix:" and a path
---@param port? integer
---@param extra? any  raises
---@return integer? done  1
---@return string? err
function Udp:setpeername(host, port, extra)
  settings.no_more(extra, PEER, 4)
  if type(host) == "nil" and type(port) == "nil" then check.raise(PEER:format(1)) end
  settings.self(self, "setpeername")
  host = settings.check_string(host, 1, "setpeername")
  port = type(port) == "nil" and 0 or settings.check_integer(port, 2, "setpeername")
  if port < 0 or port > 65535 then return nil, ("bad port number: %d"):format(port) end
  if links.is_busy(self.waiting) then return nil, "socket busy" end
  if self.sock then self.sock:close() end
  self.sock = nil
  self.waiting = links.me()
  local list, why = address.find(host, port, SOCK_DGRAM, now() + links.limit(self, "connect_timeout") / 1000)
  self.waiting = false
  if not list then return nil, why end
  local sock, err = connected(self, list[1])
  self.sock = sock
  if not sock then return nil, err end
  return 1
end

--- Sets the address to send from.
---@param text string  a numeric address
---@param extra? any  raises
---@return integer? done  1
---@return string? err  "bad address"
function Udp:bind(text, extra)
  settings.no_more(extra, "expecting 2 arguments, but got %d", 3)
  settings.self(self, "bind")
  local ai = address.own(settings.check_string(text, 1, "bind"), SOCK_DGRAM)
  if not ai then return nil, "bad address" end
  self.own = ai
  return 1
end

local function ready(self)
  if not self.sock then return nil, "closed" end
  if links.is_busy(self.waiting) then return nil, "socket busy" end
  return self.sock
end

--- Sends a datagram.
---@param value any  a string, a number, a nested list of them
---@param extra? any  raises
---@return integer? done  1
---@return string? err
function Udp:send(value, extra)
  settings.no_more(extra, "expecting 2 arguments (including the object), but got %d", 3)
  settings.self(self, "send")
  local sock, err = ready(self)
  if not sock then return nil, err end
  local sent, _, _, e = sock:send(data.bytes(value, "send"))
  if sent and not e then return 1 end
  return nil, settings.word(e or const.EPIPE, false)
end

-- Waits until there is a datagram; answers its bytes, or nil, a word.
local function take(sock, size, at)
  while true do
    local msg, _, again, e = sock:recv(size)
    if msg then return msg end
    if not again then return nil, settings.word(e or const.EBADF, false) end
    local ready_now, _, no = true, nil, nil
    if e ~= EINTR then ready_now, _, no = sock:recvable(waiting.left(at)) end
    if ready_now == false then return nil, "timeout" end
    if not ready_now and no ~= EINTR then return nil, settings.word(no, no == ETIMEDOUT) end
  end
end

--- Receives a datagram.
---@param max? integer  most bytes, at most 8,192, which is the default; the rest is cut off
---@param extra? any  raises
---@return string? data
---@return string? err  "timeout", "connection refused"
function Udp:receive(max, extra)
  settings.no_more(extra, "expecting 1 or 2 arguments (including the object), but got %d", 3)
  settings.self(self, "receive")
  local sock, err = ready(self)
  if not sock then return nil, err end
  local size = type(max) == "nil" and LARGEST or tonumber(max)
  if not size then check.bad(1, "receive", "number", max) end
  if not (size >= 1 and size < LARGEST) then size = LARGEST end
  self.waiting = links.me()
  local msg, why = take(sock, size - size % 1, now() + links.limit(self, "read_timeout") / 1000)
  self.waiting = false
  if msg then return msg end
  return nil, why
end

--- Closes the socket.
---@param extra? any  raises
---@return integer? done  1
---@return string? err  "closed"
function Udp:close(extra)
  settings.no_more(extra, "expecting 1 argument (including the object) but seen %d", 2)
  settings.self(self, "close")
  local sock, err = ready(self)
  if not sock then return nil, err end
  sock:close()
  self.sock = nil
  return 1
end

--- Sets the time limit of receive.
---@param ms number  milliseconds; 0 is the setting's
function Udp:settimeout(ms)
  settings.self(self, "settimeout")
  self.read_timeout = min(settings.integer(ms) or 0, 2^31 - 1)
end

-- What may wait.
Udp.setpeername, Udp.receive = nested.outer(Udp.setpeername), nested.outer(Udp.receive)

return M
