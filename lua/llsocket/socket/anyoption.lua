-- anyoption.lua -- the methods getsockopt and setsockopt: they take any option, by its number and kind of value.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local check = require "llsocket.core.check"
local descriptor = require "llsocket.descriptor"
local failed = require("llsocket.core.failure").failed
local fcntl = require "llsocket.socket.flags"
local sockets = require "llsocket.socket.object"
local shortage = require "llsocket.core.shortage"
local optionkind = require "llsocket.socket.optionkind"
local rarekind = require "llsocket.socket.rarekind"
local tonumber, type = tonumber, type

local errno = ffi.errno
local is_self, KIND, set = sockets.self, optionkind.KIND, optionkind.set
local read_bytes, input_size = optionkind.read_bytes, optionkind.input_size
local EINVAL, EBADF = const.EINVAL, const.EBADF

---@class llsocket.socket
local Socket = {}

local size_cell = ffi.new "uint32_t[1]" -- set it just before a call, and read it in the statement of the call

local number64_t, UINT64 = rarekind.number64_t, rarekind.KIND.uint64
local uint64_t, int64_t = ffi.typeof "uint64_t", ffi.typeof "int64_t"

local function check_uint64(value, position, method)
  if type(value) == "number" or ffi.istype(uint64_t, value) or ffi.istype(int64_t, value) then return end
  check.bad(position, method, "uint64_t or number", value)
end

-- Makes the reader of a kind with a fixed size, which the input must have.  It reads bytes first and converts them.
local function sized(ctype, tell)
  return function(sd, level, opt, input)
    local cell = ctype()
    if input_size(input) ~= ffi.sizeof(cell) then return failed(EINVAL) end
    local bytes, err, e = read_bytes(sd, level, opt, 1, input, true)
    if not bytes then return nil, err, e end
    ffi.copy(cell, bytes, #bytes)
    return tell(cell)
  end
end

local int_t = ffi.typeof "int[1]"

-- READ_INPUT[kind]: reads an option with an input.  The kind descriptor takes no input.
local READ_INPUT = {
  int = sized(int_t, function(cell) return cell[0] end),
  boolean = sized(int_t, function(cell) return cell[0] ~= 0 end),
  seconds = sized(layout.timeval, function(time) return tonumber(time.tv_sec) + tonumber(time.tv_usec) / 1e6 end),
  uint64 = sized(number64_t, function(cell) return cell.whole end),
  string = KIND.string.read, bytes = KIND.bytes.read,
}

local fd_cell = ffi.new "int[1]"

-- Reads an option that makes a descriptor, as SO_PEERPIDFD does.  The kernel writes the number into the object, whose first
-- field it is: a debug hook that raises after the call would lose a number that stands elsewhere.
local function read_descriptor(sd, level, opt)
  local object = descriptor.new()
  size_cell[0] = 4
  local rc, e = C.llsocket2_getsockopt(sd, level, opt, object, size_cell), errno()
  if rc ~= 0 then
    if shortage.collected(e) then return read_descriptor(sd, level, opt) end
    return failed(e)
  end
  if object.sd < 0 then return failed(EBADF) end
  shortage.made = shortage.made + 1
  fcntl.set_cloexec(object.sd, true)
  return object
end

-- Answers the number of a value that may be set as a descriptor; or nil and the errno.
local function number_of(value)
  if type(value) ~= "number" then return value.sd >= 0 and value.sd or nil, EBADF end
  local fd = check.fd(value)
  if not fd then return nil, EINVAL end
  return fd >= 0 and fd or nil, EBADF
end

local function write_descriptor(sd, level, opt, value)
  local fd, e = number_of(value)
  if sd < 0 or not fd then return failed(sd < 0 and EBADF or e) end
  fd_cell[0] = fd
  e = set(sd, level, opt, fd_cell, 4)
  if e then return failed(e) end
  return value
end

local is_socket, is_descriptor = check.is(sockets.type), check.is(descriptor.type)

local function check_descriptor(value, position, method)
  if type(value) == "number" or is_socket(value) or is_descriptor(value) then return end
  check.bad(position, method, "number, socket or descriptor", value)
end

local PUBLIC = {
  int = KIND.int, boolean = KIND.boolean, seconds = KIND.seconds, string = KIND.string, bytes = KIND.bytes,
  uint64 = UINT64, descriptor = { read = read_descriptor, write = write_descriptor },
}
local SOL_SOCKET, SO_GET_FILTER = const.SOL_SOCKET, const.SO_GET_FILTER or const.SO_ATTACH_FILTER -- Linux: one number for both

local LUA_TYPE = { int = "number", boolean = "boolean", seconds = "number", string = "string", bytes = "string" }
local CHECK = { uint64 = check_uint64, descriptor = check_descriptor }

-- Raises for wrong types; answers the kind, or a false value for an impossible number or an unknown kind.
local function kind_of(level, name, kind, method)
  local level_ok, name_ok = check.int(level, 1, method), check.int(name, 2, method)
  check.string(kind, 3, method)
  return level_ok and name_ok and PUBLIC[kind]
end

--- Reads any option; see getsockopt(2).  Never blocks.  Allocates only where it answers a string, a number of 64 bits or an
--- object.
---@param level integer  SOL_* or IPPROTO_*
---@param name integer  SO_*, TCP_*, IP_*, IPV6_*, ...
---@param kind "int"|"boolean"|"seconds"|"string"|"bytes"|"uint64"|"descriptor"  seconds: a struct timeval.  string: ends at
---a NUL.  descriptor: a number, answered as an object that owns it
---@param input? string|integer  a string: the bytes that the kernel finds in the buffer, which has the string's length.  A
---number, 0 to 65536: the size of a buffer of zeroes.  The default is the kind's size, and 65536 for string and
---bytes.  For a kind with a fixed size the input must have that size; descriptor takes no input
---@return integer|boolean|number|string|ffi.cdata*|llsocket.descriptor|nil value
---@return string? err
---@return integer? errno  ENOPROTOOPT, EOPNOTSUPP; EMFILE: a descriptor; EINVAL for an unknown kind, an impossible input or a
---number out of range; EBADF once closed
function Socket:getsockopt(level, name, kind, input)
  is_self(self, "getsockopt")
  local k, given = kind_of(level, name, kind, "getsockopt"), type(input)
  if given ~= "nil" and given ~= "string" and given ~= "number" then check.bad(4, "getsockopt", "string or number", input) end
  local read = k and (given == "nil" and k.read or given ~= "nil" and READ_INPUT[kind])
  if name == SO_GET_FILTER and level == SOL_SOCKET then read = kind == "bytes" and KIND.filter.read end
  if not read then return failed(EINVAL) end
  return read(self.sd, level, name, input)
end

--- Sets any option; see setsockopt(2).  Never blocks.  Allocates only for a number of 64 bits.
---@param level integer  SOL_* or IPPROTO_*
---@param name integer  SO_*, TCP_*, IP_*, IPV6_*, ...
---@param kind "int"|"boolean"|"seconds"|"string"|"bytes"|"uint64"|"descriptor"  of the value
---@param value integer|boolean|number|string|ffi.cdata*|llsocket.socket|llsocket.descriptor  an int is 32 bits, signed or
---unsigned; seconds are 0 to below 2^31; a uint64 is a uint64_t, or a number of 0 to 2^53; a descriptor remains the caller's
---@return integer|boolean|number|string|ffi.cdata*|llsocket.socket|llsocket.descriptor|nil value  as given
---@return string? err
---@return integer? errno  ENOPROTOOPT, EOPNOTSUPP, EPERM; EINVAL for an unknown kind or an impossible value; EBADF for a closed
---descriptor, and once closed
function Socket:setsockopt(level, name, kind, value)
  is_self(self, "setsockopt")
  local k, expected = kind_of(level, name, kind, "setsockopt"), LUA_TYPE[kind]
  if expected and type(value) ~= expected then check.bad(4, "setsockopt", expected, value) end
  if CHECK[kind] then CHECK[kind](value, 4, "setsockopt") end
  if not k then return failed(EINVAL) end
  return k.write(self.sd, level, name, value, 4, "setsockopt")
end

--- Tells the process that connected, or made the pair, as a descriptor; see SO_PEERPIDFD in unix(7).  It is readable once
--- that process has ended, and refers to it even if its number belongs to another process by then.
---@return llsocket.descriptor? pidfd
---@return string? err
---@return integer? errno  ENODATA: no such peer; ENOPROTOOPT: the kernel has no such option; EOPNOTSUPP, EMFILE; ESRCH, EINVAL:
---older kernels, where the process has been collected; EBADF once closed
function Socket:peerpidfd()
  is_self(self, "peerpidfd")
  if not const.SO_PEERPIDFD then return failed(self.sd < 0 and EBADF or const.ENOPROTOOPT) end
  return read_descriptor(self.sd, SOL_SOCKET, const.SO_PEERPIDFD)
end

return { methods = Socket }
