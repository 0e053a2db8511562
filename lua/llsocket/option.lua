-- option.lua -- socket options: one row each, one method made per row.
local const = require "llsocket.const"
local check = require "llsocket.check"
local failed = require("llsocket.errno").failed
local handle = require "llsocket.handle"
local KIND = require("llsocket.sockopt").KIND

local is_self = handle.self
local EINVAL, EBADF, ENOPROTOOPT = const.EINVAL, const.EBADF, const.ENOPROTOOPT

-- A platform may lack an option, or have it under another name: then two rows have one method, and the
-- first that the platform knows makes it.
local OPTIONS = {
  -- method          level          option            kind       what it does
  { "acceptconn",   "SOL_SOCKET",  "SO_ACCEPTCONN",  "boolean", "Tells whether the socket listens.", "read only" },
  { "broadcast",    "SOL_SOCKET",  "SO_BROADCAST",   "boolean", "Allows datagrams to a broadcast address." },
  { "debug",        "SOL_SOCKET",  "SO_DEBUG",       "boolean", "Records debugging information; needs CAP_NET_ADMIN." },
  { "dontroute",    "SOL_SOCKET",  "SO_DONTROUTE",   "boolean", "Sends to directly connected hosts only." },
  { "error",        "SOL_SOCKET",  "SO_ERROR",       "int",     "Tells and clears the pending error, 0 for none.", "read only" },
  { "keepalive",    "SOL_SOCKET",  "SO_KEEPALIVE",   "boolean", "Probes an idle connection." },
  { "linger",       "SOL_SOCKET",  "SO_LINGER",      "linger",  "Waits in close for unsent data, seconds; 0 resets." },
  { "oobinline",    "SOL_SOCKET",  "SO_OOBINLINE",   "boolean", "Leaves out-of-band data in the stream." },
  { "rcvbuf",       "SOL_SOCKET",  "SO_RCVBUF",      "count",   "Receive buffer, bytes; Linux doubles it." },
  { "rcvlowat",     "SOL_SOCKET",  "SO_RCVLOWAT",    "count",   "Bytes that must wait before a receive returns." },
  { "rcvtimeo",     "SOL_SOCKET",  "SO_RCVTIMEO",    "seconds", "Receive time-out, seconds; 0 is none." },
  { "reuseaddr",    "SOL_SOCKET",  "SO_REUSEADDR",   "boolean", "Binds over an address in TIME_WAIT." },
  { "reuseport",    "SOL_SOCKET",  "SO_REUSEPORT",   "boolean", "Shares an address among sockets." },
  { "sndbuf",       "SOL_SOCKET",  "SO_SNDBUF",      "count",   "Send buffer, bytes; Linux doubles it." },
  { "sndlowat",     "SOL_SOCKET",  "SO_SNDLOWAT",    "count",   "Free bytes that make it sendable; Linux only reads it." },
  { "sndtimeo",     "SOL_SOCKET",  "SO_SNDTIMEO",    "seconds", "Send and connect time-out, seconds; 0 is none." },
  { "tcpcork",      "IPPROTO_TCP", "TCP_CORK",       "boolean", "Holds back partial segments." },
  { "tcpcork",      "IPPROTO_TCP", "TCP_NOPUSH",     "boolean", "Holds back partial segments." },
  { "tcpkeepalive", "IPPROTO_TCP", "TCP_KEEPIDLE",   "count",   "Idle time before the first probe, whole seconds." },
  { "tcpkeepalive", "IPPROTO_TCP", "TCP_KEEPALIVE",  "count",   "Idle time before the first probe, whole seconds." },
  { "tcpkeepcnt",   "IPPROTO_TCP", "TCP_KEEPCNT",    "count",   "Unanswered probes that end a connection." },
  { "tcpkeepintvl", "IPPROTO_TCP", "TCP_KEEPINTVL",  "count",   "Time between two probes, whole seconds." },
  { "tcpnodelay",   "IPPROTO_TCP", "TCP_NODELAY",    "boolean", "Sends small segments at once." },
  { "timestamp",    "SOL_SOCKET",  "SO_TIMESTAMP",   "boolean", "Stamps received messages with their time." },
}

local function accessor(name, level, opt, kind, read_only)
  local read, write = kind.read, kind.write
  return function(sock, value)
    is_self(sock, name)
    if value == nil or read_only then return read(sock.sd, level, opt) end
    return write(sock.sd, level, opt, value, 1, name)
  end
end

-- The platform has no such option: answer what its kernel would.
local function absent(name)
  return function(sock)
    is_self(sock, name)
    return failed(sock.sd < 0 and EBADF or ENOPROTOOPT)
  end
end

-- The methods that the rows make: the value, or nil, err and errno: EINVAL, ENOPROTOOPT, EOPNOTSUPP; EBADF once
-- closed.  None blocks or allocates; see socket(7), tcp(7).
---@class llsocket.socket
---@field acceptconn fun(self: llsocket.socket): boolean?, string?, integer?
---@field broadcast fun(self: llsocket.socket, enable?: boolean): boolean?, string?, integer?
---@field debug fun(self: llsocket.socket, enable?: boolean): boolean?, string?, integer?
---@field dontroute fun(self: llsocket.socket, enable?: boolean): boolean?, string?, integer?
---@field error fun(self: llsocket.socket): integer?, string?, integer?
---@field keepalive fun(self: llsocket.socket, enable?: boolean): boolean?, string?, integer?
---@field linger fun(self: llsocket.socket, sec?: integer|false): integer|false|nil, string?, integer?
---@field oobinline fun(self: llsocket.socket, enable?: boolean): boolean?, string?, integer?
---@field rcvbuf fun(self: llsocket.socket, sz?: integer): integer?, string?, integer?
---@field rcvlowat fun(self: llsocket.socket, sz?: integer): integer?, string?, integer?
---@field rcvtimeo fun(self: llsocket.socket, sec?: number): number?, string?, integer?
---@field reuseaddr fun(self: llsocket.socket, enable?: boolean): boolean?, string?, integer?
---@field reuseport fun(self: llsocket.socket, enable?: boolean): boolean?, string?, integer?
---@field sndbuf fun(self: llsocket.socket, sz?: integer): integer?, string?, integer?
---@field sndlowat fun(self: llsocket.socket, sz?: integer): integer?, string?, integer?
---@field sndtimeo fun(self: llsocket.socket, sec?: number): number?, string?, integer?
---@field tcpcork fun(self: llsocket.socket, enable?: boolean): boolean?, string?, integer?
---@field tcpkeepalive fun(self: llsocket.socket, sec?: integer): integer?, string?, integer?
---@field tcpkeepcnt fun(self: llsocket.socket, cnt?: integer): integer?, string?, integer?
---@field tcpkeepintvl fun(self: llsocket.socket, sec?: integer): integer?, string?, integer?
---@field tcpnodelay fun(self: llsocket.socket, enable?: boolean): boolean?, string?, integer?
---@field timestamp fun(self: llsocket.socket, enable?: boolean): boolean?, string?, integer?
local Socket = {}

for _, row in ipairs(OPTIONS) do
  local name, level, opt, kind = row[1], const[row[2]], const[row[3]], KIND[row[4]]
  Socket[name] = Socket[name] or opt and accessor(name, level, opt, kind, row[6])
end
for _, row in ipairs(OPTIONS) do Socket[row[1]] = Socket[row[1]] or absent(row[1]) end

local PUBLIC = { int = KIND.int, boolean = KIND.boolean, seconds = KIND.seconds, string = KIND.string, bytes = KIND.bytes }

local LUA_TYPE = { int = "number", boolean = "boolean", seconds = "number", string = "string", bytes = "string" }

-- Raises on wrong types; answers the kind, or nil where a value is impossible.
local function kind_of(level, name, kind, method)
  local level_ok, name_ok = check.int(level, 1, method), check.int(name, 2, method)
  check.string(kind, 3, method)
  return level_ok and name_ok and PUBLIC[kind]
end

--- Reads any option; see getsockopt(2).  Never blocks; allocates only the string that it answers.
---@param level integer  SOL_* or IPPROTO_*
---@param name integer  SO_*, TCP_*, IP_*, IPV6_*, ...
---@param kind "int"|"boolean"|"seconds"|"string"|"bytes"  seconds is a struct timeval, string ends at a NUL
---@return integer|boolean|number|string|nil value
---@return string? err
---@return integer? errno  ENOPROTOOPT, EOPNOTSUPP; EINVAL for an unknown kind or a number out of range; EBADF once closed
function Socket:getsockopt(level, name, kind)
  is_self(self, "getsockopt")
  local k = kind_of(level, name, kind, "getsockopt")
  if not k then return failed(EINVAL) end
  return k.read(self.sd, level, name)
end

--- Sets any option; see setsockopt(2).  Never blocks, allocates nothing.
---@param level integer  SOL_* or IPPROTO_*
---@param name integer  SO_*, TCP_*, IP_*, IPV6_*, ...
---@param kind "int"|"boolean"|"seconds"|"string"|"bytes"  of the value
---@param value integer|boolean|number|string  an int is 32 bits, signed or unsigned; seconds are 0 to below 2^31
---@return integer|boolean|number|string|nil value  as given
---@return string? err
---@return integer? errno  ENOPROTOOPT, EOPNOTSUPP, EPERM; EINVAL for an unknown kind or an impossible value; EBADF once closed
function Socket:setsockopt(level, name, kind, value)
  is_self(self, "setsockopt")
  local k, expected = kind_of(level, name, kind, "setsockopt"), LUA_TYPE[kind]
  if expected and type(value) ~= expected then check.bad(4, "setsockopt", expected, value) end
  if not k then return failed(EINVAL) end
  return k.write(self.sd, level, name, value, 4, "setsockopt")
end

return { methods = Socket, OPTIONS = OPTIONS }
