-- optionkind.lua -- calls getsockopt(2) and setsockopt(2), with one pair of functions for each kind of value.  The kinds that few
-- programs use are in rarekind.lua.
--
-- read(sd, level, opt) answers the value, or `nil, err, errno`.  write(sd, level, opt, value, position, method)
-- checks the value, sets it and answers it, or `nil, err, errno`.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local C = require "llsocket.core.libc"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local check = require "llsocket.core.check"
local failed = require("llsocket.core.failure").failed
local require, tonumber, type, min = require, tonumber, type, math.min

local errno, floor = ffi.errno, math.floor
local EINVAL, ENOPROTOOPT = const.EINVAL, const.ENOPROTOOPT

-- Scratch cells.  Read a cell in the statement of the call that wrote it: after a branch or a boxed value, a finaliser may have
-- used the cell for another socket.
local size_cell = ffi.new "uint32_t[1]"

-- Scratch structs, each made on first use: few programs need them.
local cells = setmetatable({}, { __index = function(cells, name)
  cells[name] = layout[name]()
  return cells[name]
end })

--- Sets an option from a cell or a string; see setsockopt(2).
---@param sd integer
---@param level integer
---@param opt? integer  nil where the platform's headers lack it
---@param cell ffi.cdata*|string
---@param size integer  bytes
---@return integer? errno
local function set(sd, level, opt, cell, size)
  if not opt then return ENOPROTOOPT end
  local rc, e = C.llsocket2_setsockopt(sd, level, opt, cell, size), errno()
  if rc ~= 0 then return e end
end

-- The errors of Linux for an IPv4 option on an AF_INET6 socket that cannot have it: a raw socket, or one of another protocol.
local NO_HALF = { [ENOPROTOOPT] = true, [EINVAL] = true, [const.EOPNOTSUPP] = true }

-- Makes the two functions for a number in a cell of `size` bytes.
local function number(cell, size)
  local function read(sd, level, opt)
    if not opt then return failed(ENOPROTOOPT) end
    size_cell[0], cell[0] = size, 0
    local rc, e, n = C.llsocket2_getsockopt(sd, level, opt, cell, size_cell), errno(), cell[0]
    if rc ~= 0 then return failed(e) end
    return n
  end
  local function write(sd, level, opt, value, n)
    cell[0] = n
    local e = set(sd, level, opt, cell, size)
    if e then return failed(e) end
    return value
  end
  return read, write
end

local int_cell = ffi.new "int[1]"
local read_int, write_int = number(int_cell, 4)
-- IPv4 multicast options are passed as one byte: all systems take that, and some take nothing else.
local read_byte, write_byte = number(ffi.new "uint8_t[1]", 1)

-- These two cells are read over several statements, so a finaliser could reuse them in between: each call takes its own and
-- gives it back.
local spare_time, spare_bytes

-- Make the kinds whose value is a boolean or a number, in an int or a byte.
local function flag(read, write)
  return {
    read = function(sd, level, opt)
      local n, err, e = read(sd, level, opt)
      if not n then return nil, err, e end
      return n ~= 0
    end,
    write = function(sd, level, opt, on, position, method)
      check.boolean(on, position, method)
      return write(sd, level, opt, on, on and 1 or 0)
    end,
  }
end

local function count(read, write, most)
  return {
    read = read,
    write = function(sd, level, opt, n, position, method)
      if not check.int(n, position, method) or n < 0 or n > most then return failed(EINVAL) end
      return write(sd, level, opt, n, n)
    end,
  }
end

local KIND = {
  boolean = flag(read_int, write_int),
  count = count(read_int, write_int, 2^31 - 1),
  byteflag = flag(read_byte, write_byte),
  byte = count(read_byte, write_byte, 255),
  hops = count(read_int, write_int, 255),
  int = { read = read_int }, seconds = {}, linger = {}, string = {}, bytes = {},
}

function KIND.int.write(sd, level, opt, n, position, method)
  local word = check.word(n, position, method)
  if not word then return failed(EINVAL) end
  return write_int(sd, level, opt, n, word)
end

function KIND.seconds.read(sd, level, opt)
  local time = spare_time or layout.timeval()
  spare_time, size_cell[0], time.tv_sec, time.tv_usec = nil, ffi.sizeof(time), 0, 0 -- an option may be shorter
  local rc, e = C.llsocket2_getsockopt(sd, level, opt, time, size_cell), errno()
  local sec = tonumber(time.tv_sec) + tonumber(time.tv_usec) / 1e6
  spare_time = time
  if rc ~= 0 then return failed(e) end
  return sec
end

function KIND.seconds.write(sd, level, opt, sec, position, method)
  check.number(sec, position, method)
  if not (sec >= 0 and sec < 2^31) then return failed(EINVAL) end
  local usec = floor(sec * 1e6 + 0.5) -- rounded once, so that 0.9999999 carries
  if sec > 0 and usec == 0 then usec = 1 end -- 0 would mean no limit
  local whole, time = floor(usec / 1e6), spare_time or layout.timeval()
  spare_time, time.tv_sec, time.tv_usec = nil, whole, usec - whole * 1e6
  local e = set(sd, level, opt, time, ffi.sizeof(time))
  spare_time = time
  if e then return failed(e) end
  return sec
end

function KIND.linger.read(sd, level, opt)
  local cell = cells.linger
  size_cell[0] = ffi.sizeof(cell)
  local rc, e, on, sec = C.llsocket2_getsockopt(sd, level, opt, cell, size_cell), errno(), cell.l_onoff, cell.l_linger
  if rc ~= 0 then return failed(e) end
  return on ~= 0 and sec
end

function KIND.linger.write(sd, level, opt, sec, position, method)
  if sec and not check.int(sec, position, method) or sec and sec < 0 then return failed(EINVAL) end
  local cell = cells.linger
  cell.l_onoff, cell.l_linger = sec and 1 or 0, sec or 0
  local e = set(sd, level, opt, cell, ffi.sizeof(cell))
  if e then return failed(e) end
  return sec
end

local BYTES_SIZE = 65536 -- longer than any option of Linux
local bytes_t = ffi.typeof "uint8_t[65536]"

--- Tells the size of the buffer for an input.
---@param input? string|integer  the bytes, or the size
---@return integer? size  nil for an impossible size
local function input_size(input)
  local size = type(input) == "string" and #input or input or BYTES_SIZE
  if size >= 0 and size <= BYTES_SIZE and floor(size) == size then return size end
end

--- Reads an option as bytes.  Clears the buffer first: many options read it, and must not find the bytes of an earlier call.
---@param sd integer
---@param level integer
---@param opt integer
---@param unit integer  how many bytes the kernel counts as one
---@param input? string|integer  the bytes that the kernel finds in the buffer, or only the buffer's size; the default is 65536
---@param whole? boolean  answers the whole buffer, even if the kernel says that it wrote less
---@return string? bytes
---@return string? err
---@return integer? errno
local function read_bytes(sd, level, opt, unit, input, whole)
  local size = input_size(input)
  if not size then return failed(EINVAL) end
  local cell = spare_bytes or bytes_t() -- made on first use: few programs read such an option
  spare_bytes, size_cell[0] = nil, floor(size / unit)
  ffi.fill(cell, size)
  if type(input) == "string" then ffi.copy(cell, input, size) end
  local rc, e, n = C.llsocket2_getsockopt(sd, level, opt, cell, size_cell), errno(), size_cell[0]
  local bytes = rc == 0 and ffi.string(cell, whole and size or min(n * unit, size))
  spare_bytes = cell
  if not bytes then return failed(e) end
  return bytes
end

function KIND.bytes.read(sd, level, opt, input) return read_bytes(sd, level, opt, 1, input) end

-- SO_GET_FILTER counts in instructions of a socket filter, which have 8 bytes: the cells of the other kinds do not fit.
KIND.filter = {
  read = function(sd, level, opt, input) return read_bytes(sd, level, opt, 8, input) end,
}

function KIND.bytes.write(sd, level, opt, bytes, position, method)
  check.string(bytes, position, method)
  local e = set(sd, level, opt, bytes, #bytes)
  if e then return failed(e) end
  return bytes
end

function KIND.string.read(sd, level, opt, input)
  local bytes, err, e = KIND.bytes.read(sd, level, opt, input)
  if not bytes then return nil, err, e end
  return bytes:match "^%Z*"
end

function KIND.string.write(sd, level, opt, text, position, method)
  check.string(text, position, method)
  if text:find "%z" then return failed(EINVAL) end
  return KIND.bytes.write(sd, level, opt, text, position, method)
end

-- A word is written signed or unsigned, and read unsigned.  Do not use `% 2^32` for that: compiled on PowerPC it makes -0 of 0.
KIND.word = {
  read = function(sd, level, opt)
    local n, err, e = read_int(sd, level, opt)
    if not n then return nil, err, e end
    return n < 0 and n + 2^32 or n
  end,
  write = KIND.int.write,
}

KIND.unsigned = {
  read = KIND.word.read,
  write = function(sd, level, opt, n, position, method)
    local word = check.word(n, position, method)
    if not word or n < 0 then return failed(EINVAL) end
    return write_int(sd, level, opt, n, word)
  end,
}

-- An interface's name.  Refuse a longer one here: the kernel would cut it.
KIND.ifname = {
  read = KIND.string.read,
  write = function(sd, level, opt, ifname, position, method)
    check.string(ifname, position, method)
    if #ifname >= const.IFNAMSIZ then return failed(const.ENODEV) end
    return KIND.string.write(sd, level, opt, ifname, position, method)
  end,
}

-- The number of bytes that wait.  It is read with ioctl(2), not with getsockopt(2).
KIND.queue = {
  read = function(sd, _, request)
    local rc, e, n = shim.llsocket2_ioctl(sd, request, int_cell), errno(), int_cell[0]
    if rc < 0 then return failed(e) end
    return n
  end,
}

KIND.ucred = {
  read = function(sd, level, opt)
    local cell = cells.ucred
    size_cell[0] = ffi.sizeof(cell)
    local rc, e, pid, uid, gid = C.llsocket2_getsockopt(sd, level, opt, cell, size_cell), errno(), cell.pid, cell.uid, cell.gid
    if rc ~= 0 then return failed(e) end
    return { pid = pid, uid = uid, gid = gid }
  end,
}

local tcpinfo -- required on first use, and once: LuaJIT compiles no call of require

local function info()
  tcpinfo = tcpinfo or require "llsocket.socket.tcpinfo"
  return tcpinfo
end

-- `takes`: what is read goes into an argument, so reading has that and the method's name as further parameters.
KIND.tcpinfo = {
  takes = true,
  read = function(sd, level, opt, into, method) return info().read(sd, level, opt, into, method) end,
}

KIND.ccinfo = {
  read = function(sd, level, opt) return info().read_cc(sd, level, opt) end,
}

return { KIND = KIND, NO_HALF = NO_HALF, set = set, write_int = write_int, read_bytes = read_bytes, input_size = input_size }
