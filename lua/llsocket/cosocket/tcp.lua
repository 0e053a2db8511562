-- tcp.lua -- a cosocket over TCP or a unix stream.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local shim = require "llsocket.shim"
local check = require "llsocket.core.check"
local const = require "llsocket.core.const"
local address = require "llsocket.cosocket.address"
local dialing = require "llsocket.cosocket.dialing"
local links = require "llsocket.cosocket.link"
local nested = require "llsocket.cosocket.nested"
local pool = require "llsocket.cosocket.pool"
local settings = require "llsocket.cosocket.settings"
local sending = require "llsocket.cosocket.sending"
local receiving = require "llsocket.cosocket.receiving"
local tls = require "llsocket.cosocket.tls"
local until_ = require "llsocket.cosocket.until"
local opts = require "llsocket.cosocket.options"
local ipairs, pairs, setmetatable, type = ipairs, pairs, setmetatable, type

local now, values = shim.llsocket2_now, settings.values

---@class llsocket.cosocket.tcp
local Tcp = {}
for _, module in pairs { sending, receiving, until_, tls, opts } do
  for name, method in pairs(module.methods) do Tcp[name] = method end
end

-- Fields of a cosocket:
--   link            the connection, see link.lua; nil before the first connect
--   key             the name of its pool
--   own             the address to connect from
--   connect_timeout, send_timeout, read_timeout   milliseconds, or nil
--   certificate, private_key                      see tls.lua
local meta = { __index = Tcp }

local M = { methods = Tcp }

--- Makes a cosocket that is not connected.
---@param extra? any  raises
---@return llsocket.cosocket.tcp
function M.new(extra)
  settings.no_more(extra, "expecting zero arguments, but got %d", 1)
  return setmetatable({}, meta)
end

-- connect's options ------------------------------------------------------------------------------------------

-- Answers a field of the options that must be a number; where it is none, `is_lenient` fields count as absent.
local function number_of(from, name, position, least, is_lenient)
  local value = from[name]
  local number = settings.integer(value)
  if number and number < least then
    settings.refuse(position, "connect", ('bad "%s" option value: %d'):format(name, number))
  end
  if not number and type(value) ~= "nil" and not is_lenient then
    settings.refuse(position, "connect", ('bad "%s" option type: %s'):format(name, type(value)))
  end
  return number
end

local function pool_name(from, position)
  local name = from.pool
  if type(name) == "number" then return ("%.14g"):format(name) end
  if type(name) ~= "nil" and type(name) ~= "string" then
    settings.refuse(position, "connect", ('bad "pool" option type: %s'):format(type(name)))
  end
  return name
end

-- Answers the size, the backlog and the name of the pool that the options ask for.
local function pool_of(from, position)
  if type(from) ~= "table" then return end
  local size = number_of(from, "pool_size", position, 1)
  local backlog = number_of(from, "backlog", position, 0, true)
  if backlog and not size then size = values.pool_size end
  return size, backlog, pool_name(from, position)
end

-- connect ----------------------------------------------------------------------------------------------------

-- Answers the port and the usual name of the pool; nil, a word.
local function port_of(host, port)
  local number = settings.integer(port)
  if number then
    if number < 0 or number > 65535 then return nil, ("bad port number: %d"):format(number) end
    return number, ("%s:%s"):format(host, port)
  end
  if address.is_path(host) then return 0, host end
  return nil, "missing the port number"
end

-- Answers a link that is to connect, in place of the former; nil, a word.
local function renew(sock)
  local old = sock.link
  local busy = old and links.busy(old, true, true)
  if busy then return nil, busy end
  if old then links.finish(old) end
  sock.link = links.new()
  return sock.link
end

local function fail(link, err)
  links.finish(link)
  return nil, err
end

local function make(sock, link, host, port, at)
  link.connecting = links.me()
  local s, err = dialing.connect(host, port, sock.own, at)
  link.connecting = false
  if not s then return fail(link, err) end
  if sock.link ~= link or link.read_closed then -- another coroutine has connected or closed it meanwhile
    s:close()
    return fail(link, "closed")
  end
  link.stream = s
  return 1
end

local function connect(sock, link, host, port, size, backlog)
  local ms = links.limit(sock, "connect_timeout")
  link.pool = pool.get(sock.key, size, backlog)
  if link.pool then
    link.connecting = links.me()
    local item, err = pool.enter(link.pool, link, ms / 1000)
    link.connecting = false
    if item then
      link.stream, link.reused = item.stream, item.reused + 1
      return 1
    end
    if err then return fail(link, err) end
  end
  return make(sock, link, host, port, now() + ms / 1000)
end

local CONNECT = "ngx.socket connect: expecting 2, 3, or 4 arguments (including the object), but seen %d"

--- Connects, or takes a connection from the pool.
---@param host string  a name, an address, or "unix:" and a path
---@param port? integer|string|table  unless it is a path; then the options
---@param options? table  pool, pool_size, backlog
---@param extra? any  raises
---@return integer? done  1
---@return string? err  "timeout", "connection refused", "too many waiting connect operations", "host could not be resolved (...)"
function Tcp:connect(host, port, options, extra)
  settings.no_more(extra, CONNECT, 5)
  if type(host) == "nil" and type(port) == "nil" then check.raise(CONNECT:format(1)) end
  settings.self(self, "connect")
  host = settings.check_string(host, 1, "connect")
  local position = type(options) == "nil" and 2 or 3
  local size, backlog, name = pool_of(position == 2 and port or options, position)
  local number, usual = port_of(host, port)
  if not number then return nil, usual end
  local link, err = renew(self)
  if not link then return nil, err end
  self.key = name or usual
  return connect(self, link, host, number, size, backlog)
end

--- Sets the address to connect from.
---@param text string  a numeric address
---@param extra? any  raises
---@return boolean? done  true
---@return string? err  "bad address"
function Tcp:bind(text, extra)
  settings.no_more(extra, "expecting 2 arguments, but got %d", 3)
  settings.self(self, "bind")
  local ai = address.own(settings.check_string(text, 1, "bind"), const.SOCK_STREAM)
  if not ai then return nil, "bad address" end
  self.own = ai
  return true
end

-- The rest ---------------------------------------------------------------------------------------------------

-- Answers the link while there is a connection, and no other coroutine uses it.
local function whole(sock)
  local link = sock.link
  if not links.is_alive(link) or link.read_closed and link.write_closed then return nil, "closed" end
  local busy = links.busy(link, true, true)
  if busy then return nil, busy end
  return link
end

--- Closes the connection.
---@param extra? any  raises
---@return integer? done  1
---@return string? err  "closed"; "socket busy reading" and its like
function Tcp:close(extra)
  settings.no_more(extra, "expecting 1 argument (including the object) but seen %d", 2)
  settings.self(self, "close")
  local link, err = whole(self)
  if not link then return nil, err end
  links.finish(link)
  return 1
end

--- Sets one time limit for connecting, sending and receiving.
---@param ms number  milliseconds, below 2^31; 0 is the setting's
---@param extra? any  raises
function Tcp:settimeout(ms, extra)
  settings.no_more(extra, "ngx.socket settimeout: expecting 2 arguments (including the object) but seen %d", 3)
  settings.self(self, "settimeout")
  ms = settings.milliseconds(ms)
  self.connect_timeout, self.send_timeout, self.read_timeout = ms, ms, ms
end

--- Sets the time limits of connecting, sending and receiving.
---@param connects number  milliseconds, below 2^31; 0 is the setting's
---@param sends number
---@param reads number
---@param extra? any  raises
function Tcp:settimeouts(connects, sends, reads, extra)
  settings.no_more(extra, "ngx.socket settimeouts: expecting 4 arguments (including the object) but seen %d", 5)
  settings.self(self, "settimeouts")
  connects, sends, reads = settings.milliseconds(connects), settings.milliseconds(sends), settings.milliseconds(reads)
  self.connect_timeout, self.send_timeout, self.read_timeout = connects, sends, reads
end

--- Tells how often the connection came from the pool.
---@param extra? any  raises
---@return integer? count
---@return string? err  "closed"
function Tcp:getreusedtimes(extra)
  settings.no_more(extra, "expecting 1 argument (including the object), but got %d", 2)
  settings.self(self, "getreusedtimes")
  local link = self.link
  if not (link and link.stream) or link.read_closed and link.write_closed then return nil, "closed" end
  return link.reused
end

-- Answers an optional number, or a default.
local function optional(value, default, position)
  if type(value) == "nil" then return default end
  return settings.check_integer(value, position, "setkeepalive")
end

-- Answers the link whose connection may go into the pool.
local function resting(sock)
  local link = sock.link
  if not links.is_alive(link) or link.read_closed or link.write_closed or link.is_ended then return nil, "closed" end
  local busy = links.busy(link, true, true)
  if busy then return nil, busy end
  local s = link.stream
  if not s then return nil, "closed" end
  if s.last > s.first then return nil, "unread data in buffer" end
  return link
end

--- Puts the connection into the pool; the cosocket is closed then.
---@param ms? number  milliseconds that it may stay there, 0 is no limit
---@param size? number  of the pool, where there is none yet
---@param extra? any  raises
---@return integer? done  1
---@return string? err  "closed", "unread data in buffer", "connection in dubious state"
function Tcp:setkeepalive(ms, size, extra)
  settings.no_more(extra, "expecting 1 to 3 arguments (including the object), but got %d", 4)
  settings.self(self, "setkeepalive")
  ms, size = optional(ms, values.keepalive_timeout, 1), optional(size, values.pool_size, 2)
  local link, err = resting(self)
  if not link then return nil, err end
  if size <= 0 and not pool.get(self.key) then
    settings.refuse(2, "setkeepalive", ('bad "pool_size" option value: %d'):format(size))
  end
  local kept, why = pool.keep(self.key, link, ms, size)
  if why == "closed" then return nil, why end
  links.finish(link)
  if not kept then return nil, why end
  return 1
end

-- What may wait.
for _, name in ipairs { "connect", "receive", "receiveany", "send", "sslhandshake" } do Tcp[name] = nested.outer(Tcp[name]) end

return M
