-- option.lua -- setoption and getoption: LuaSocket's names of options and its shapes of values.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local inet = require "llsocket.inet"
local argument = require "llsocket.luasocket.argument"
local words = require "llsocket.luasocket.words"
local tonumber, type = tonumber, type
local abs = math.abs

local SOL_SOCKET, TCP, IP, IPV6 = const.SOL_SOCKET, const.IPPROTO_TCP, const.IPPROTO_IP, const.IPPROTO_IPV6
local EBADF = const.EBADF

-- Cdata are numbers in tonumber, and none in C.
local function number_of(value)
  local kind = type(value)
  return (kind == "number" or kind == "string") and tonumber(value) or nil
end

local function set_failed() return nil, "setsockopt failed" end
local function get_failed() return nil, "getsockopt failed" end

-- Sets an option to what setsockopt takes; answers 1.
local function set(object, level, name, kind, value)
  local sock = object.sock
  local done = sock and name and sock:setsockopt(level, name, kind, value)
  if done == nil or not sock or not name then return set_failed() end
  return 1
end

local function get(object, level, name, kind)
  local sock = object.sock
  if not (sock and name) then return nil end
  return (sock:getsockopt(level, name, kind))
end

-- Kinds: how a value is set and told.
local boolean, integer, linger, interface, source, membership, membership6 = {}, {}, {}, {}, {}, {}, {}

boolean.set = function(object, value, level, name) return set(object, level, name, "boolean", argument.boolean(value, 3)) end

boolean.get = function(object, level, name)
  local on = get(object, level, name, "boolean")
  if on == nil then return get_failed() end
  return on
end

-- What is no number is 0, and what no int holds is the smallest one, as in C on x86-64.
integer.set = function(object, value, level, name)
  local n = argument.whole(number_of(value) or 0)
  return set(object, level, name, "int", abs(n) < 2^31 and n or -2^31)
end

integer.get = function(object, level, name)
  local n = get(object, level, name, "int")
  if n == nil then return get_failed() end
  return n
end

local linger_t, linger_ptr = ffi.typeof "int[2]", ffi.typeof "const int *"

linger.set = function(object, value, level, name)
  local t = argument.table(value, 3)
  local on, timeout = t.on, t.timeout
  if type(on) ~= "boolean" then argument.raise(3, "boolean 'on' field expected") end
  if not number_of(timeout) then argument.raise(3, "number 'timeout' field expected") end
  local cell = linger_t(on and 1 or 0, argument.whole(number_of(timeout)) % 65536)
  return set(object, level, name, "bytes", ffi.string(cell, 8))
end

linger.get = function(object, level, name)
  local bytes = get(object, level, name, "bytes")
  if not bytes or #bytes < 8 then return get_failed() end
  local cell = ffi.cast(linger_ptr, bytes)
  return { on = cell[0] ~= 0, timeout = cell[1] }
end

local bytes_t = ffi.typeof "uint8_t[16]"

-- Answers the bytes of a numeric IPv4 address, or nil.  "*" is the wildcard.
local function four(text)
  if text == "*" then return "\0\0\0\0" end
  if text:find(":", 1, true) then return nil end -- a mapped address is one of IPv6
  local list = inet.getaddrinfo4(text, nil, const.SOCK_DGRAM, nil, const.AI_NUMERICHOST)
  local cell = bytes_t()
  if not list or C.llsocket2_inet_pton(const.AF_INET, list[1]:addr(), cell) ~= 1 then return nil end
  return ffi.string(cell, 4)
end

local function six(text)
  local cell = bytes_t()
  return C.llsocket2_inet_pton(const.AF_INET6, text, cell) == 1 and ffi.string(cell, 16) or nil
end

interface.set = function(object, value, level, name)
  local bytes = four(argument.text(value, 3))
  if not bytes then argument.raise(3, "ip expected") end
  return set(object, level, name, "bytes", bytes)
end

interface.get = function(object, level, name)
  local bytes = get(object, level, name, "bytes")
  if not bytes or #bytes < 4 then return get_failed() end
  return ("%d.%d.%d.%d"):format(bytes:byte(1, 4))
end

-- The two addresses of a membership.
local function text_field(t, name)
  local value = t[name]
  if type(value) ~= "string" and type(value) ~= "number" then
    argument.raise(3, ("string '%s' field expected"):format(name))
  end
  return argument.text(value, 3)
end

local function invalid(name) argument.raise(3, ("invalid '%s' ip address"):format(name)) end

membership.set = function(object, value, level, name)
  local t = argument.table(value, 3)
  local text = text_field(t, "multiaddr")
  local group = text ~= "*" and four(text) or invalid "multiaddr"
  local from = four(text_field(t, "interface")) or invalid "interface"
  return set(object, level, name, "bytes", group .. from)
end

local uint_t = ffi.typeof "uint32_t[1]"

membership6.set = function(object, value, level, name)
  local t = argument.table(value, 3)
  local group = six(text_field(t, "multiaddr")) or invalid "multiaddr"
  local index = t.interface
  if type(index) ~= "nil" and not number_of(index) then argument.raise(5, "number 'interface' field expected") end
  local cell = uint_t(argument.whole(number_of(index) or 0) % 2^32)
  return set(object, level, name, "bytes", group .. ffi.string(cell, 4))
end

-- The error that is pending, as a word; none is nil.
source.get = function(object)
  local sock = object.sock
  local e, _, why = nil, nil, EBADF
  if sock then e, _, why = sock:error() end
  if not e or why then return get_failed() end
  return e ~= 0 and words.of(e) or nil
end

-- name = { kind, level, option }
local ALL = {
  broadcast = { boolean, SOL_SOCKET, const.SO_BROADCAST }, dontroute = { boolean, SOL_SOCKET, const.SO_DONTROUTE },
  error = { source }, keepalive = { boolean, SOL_SOCKET, const.SO_KEEPALIVE }, linger = { linger, SOL_SOCKET, const.SO_LINGER },
  reuseaddr = { boolean, SOL_SOCKET, const.SO_REUSEADDR }, reuseport = { boolean, SOL_SOCKET, const.SO_REUSEPORT },
  ["recv-buffer-size"] = { integer, SOL_SOCKET, const.SO_RCVBUF },
  ["send-buffer-size"] = { integer, SOL_SOCKET, const.SO_SNDBUF },
  ["tcp-nodelay"] = { boolean, TCP, const.TCP_NODELAY }, ["tcp-keepidle"] = { integer, TCP, const.TCP_KEEPIDLE },
  ["tcp-keepcnt"] = { integer, TCP, const.TCP_KEEPCNT }, ["tcp-keepintvl"] = { integer, TCP, const.TCP_KEEPINTVL },
  ["tcp-defer-accept"] = { integer, TCP, const.TCP_DEFER_ACCEPT }, ["tcp-fastopen"] = { integer, TCP, const.TCP_FASTOPEN },
  ["tcp-fastopen-connect"] = { integer, TCP, const.TCP_FASTOPEN_CONNECT },
  ["ip-multicast-if"] = { interface, IP, const.IP_MULTICAST_IF }, ["ip-multicast-ttl"] = { integer, IP, const.IP_MULTICAST_TTL },
  ["ip-multicast-loop"] = { boolean, IP, const.IP_MULTICAST_LOOP },
  ["ip-add-membership"] = { membership, IP, const.IP_ADD_MEMBERSHIP },
  ["ip-drop-membership"] = { membership, IP, const.IP_DROP_MEMBERSHIP },
  ["ipv6-unicast-hops"] = { integer, IPV6, const.IPV6_UNICAST_HOPS },
  ["ipv6-multicast-hops"] = { integer, IPV6, const.IPV6_MULTICAST_HOPS },
  ["ipv6-multicast-loop"] = { boolean, IPV6, const.IPV6_MULTICAST_LOOP }, ["ipv6-v6only"] = { boolean, IPV6, const.IPV6_V6ONLY },
  ["ipv6-add-membership"] = { membership6, IPV6, const.IPV6_JOIN_GROUP },
  ["ipv6-drop-membership"] = { membership6, IPV6, const.IPV6_LEAVE_GROUP },
}

--- Answers the rows of some options.
---@param names string
---@return table rows  by name
local function chosen(names)
  local out = {}
  for name in names:gmatch "%S+" do out[name] = ALL[name] end
  return out
end

-- Which of them each kind of object has.
local M = {}
M.TCP_READ = chosen("keepalive reuseaddr reuseport tcp-nodelay tcp-keepidle tcp-keepcnt tcp-keepintvl linger error "
  .. "recv-buffer-size send-buffer-size")
M.TCP_WRITE = chosen("keepalive reuseaddr reuseport tcp-nodelay tcp-keepidle tcp-keepcnt tcp-keepintvl linger ipv6-v6only "
  .. "recv-buffer-size send-buffer-size tcp-defer-accept tcp-fastopen tcp-fastopen-connect")
M.UDP_READ = chosen("dontroute broadcast reuseaddr reuseport ip-multicast-if ip-multicast-loop error ipv6-unicast-hops "
  .. "ipv6-multicast-hops ipv6-multicast-loop ipv6-v6only recv-buffer-size send-buffer-size")
M.UDP_WRITE = chosen("dontroute broadcast reuseaddr reuseport ip-multicast-if ip-multicast-ttl ip-multicast-loop "
  .. "ip-add-membership ip-drop-membership ipv6-unicast-hops ipv6-multicast-hops ipv6-multicast-loop "
  .. "ipv6-add-membership ipv6-drop-membership ipv6-v6only recv-buffer-size send-buffer-size")
M.UNIX_WRITE = chosen "keepalive reuseaddr linger"
M.DGRAM_WRITE = chosen "reuseaddr"

local function row_of(list, name)
  local text = argument.text(name, 2)
  local row = list[text]
  if not row then argument.raise(2, ("unsupported option `%s'"):format(text:sub(1, 35))) end
  return row
end

--- Makes the methods of a kind of objects.
---@param is_any function  the check of self
---@param readable? table  the options to read; nil: it has no getoption
---@param writable table  the options to set
---@return table<string, function> methods  setoption, getoption
function M.methods(is_any, readable, writable)
  local methods = {}

  --- Sets an option.
  function methods.setoption(object, name, value)
    is_any(object)
    local row = row_of(writable, name)
    return row[1].set(object, value, row[2], row[3])
  end

  if not readable then return methods end

  --- Reads an option.
  function methods.getoption(object, name)
    is_any(object)
    local row = row_of(readable, name)
    return row[1].get(object, row[2], row[3])
  end

  return methods
end

return M
