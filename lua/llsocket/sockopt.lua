-- sockopt.lua -- getsockopt(2) and setsockopt(2), one pair of functions per kind of value.
--
-- read(sd, level, opt) answers the value, or `nil, err, errno`.  write(sd, level, opt, value, position, method)
-- checks the value, sets it and answers it, or `nil, err, errno`.
local ffi = require "ffi"
local C = require "llsocket.libc"
local shim = require "llsocket.shim"
local const = require "llsocket.const"
local layout = require "llsocket.layout"
local check = require "llsocket.check"
local failed = require("llsocket.errno").failed

ffi.cdef "int llsocket1_ioctl(int fd, uint32_t request, void *arg);"

local errno, floor = ffi.errno, math.floor
local EINVAL, ENOPROTOOPT = const.EINVAL, const.ENOPROTOOPT

-- Scratch cells: written and read back inside one call, never held across two.
local size_cell = ffi.new "uint32_t[1]"
local int_cell = ffi.new "int[1]"
local byte_cell = ffi.new "uint8_t[1]"
local time_cell = layout.timeval()
local linger_cell = layout.linger()
local TIME_SIZE, LINGER_SIZE = ffi.sizeof(time_cell), ffi.sizeof(linger_cell)

--- Reads an option into a cell; see getsockopt(2).
---@param sd integer
---@param level integer
---@param opt integer
---@param cell ffi.cdata*
---@param size integer  of the cell, bytes
---@return integer? errno
local function get(sd, level, opt, cell, size)
  if not opt then return ENOPROTOOPT end -- the platform's headers lack it
  size_cell[0] = size
  local rc, e = C.llsocket1_getsockopt(sd, level, opt, cell, size_cell), errno()
  if rc ~= 0 then return e end
end

--- Sets an option from a cell or a string; see setsockopt(2).
---@param sd integer
---@param level integer
---@param opt integer
---@param cell ffi.cdata*|string
---@param size integer  bytes
---@return integer? errno
local function set(sd, level, opt, cell, size)
  if not opt then return ENOPROTOOPT end
  local rc, e = C.llsocket1_setsockopt(sd, level, opt, cell, size), errno()
  if rc ~= 0 then return e end
end

--- Tells how many bytes the last get wrote.
---@return integer size
local function got() return size_cell[0] end

local function read_int(sd, level, opt)
  local e = get(sd, level, opt, int_cell, 4)
  if e then return failed(e) end
  return int_cell[0]
end

local function write_int(sd, level, opt, value, n)
  int_cell[0] = n
  local e = set(sd, level, opt, int_cell, 4)
  if e then return failed(e) end
  return value
end

-- Some systems take an IPv4 multicast option as one byte only, and all take it so.
local function read_byte(sd, level, opt)
  local e = get(sd, level, opt, byte_cell, 1)
  if e then return failed(e) end
  return byte_cell[0]
end

local function write_byte(sd, level, opt, value, n)
  byte_cell[0] = n
  local e = set(sd, level, opt, byte_cell, 1)
  if e then return failed(e) end
  return value
end

-- The kinds that are a number or a truth, over an int or a byte.
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
  local e = get(sd, level, opt, time_cell, TIME_SIZE)
  if e then return failed(e) end
  return tonumber(time_cell.tv_sec) + tonumber(time_cell.tv_usec) / 1e6
end

function KIND.seconds.write(sd, level, opt, sec, position, method)
  check.number(sec, position, method)
  if not (sec >= 0 and sec < 2^31) then return failed(EINVAL) end
  local usec = floor(sec * 1e6 + 0.5) -- rounded once, so that 0.9999999 carries
  if sec > 0 and usec == 0 then usec = 1 end -- 0 would mean no limit
  local whole = floor(usec / 1e6)
  time_cell.tv_sec, time_cell.tv_usec = whole, usec - whole * 1e6
  local e = set(sd, level, opt, time_cell, TIME_SIZE)
  if e then return failed(e) end
  return sec
end

function KIND.linger.read(sd, level, opt)
  local e = get(sd, level, opt, linger_cell, LINGER_SIZE)
  if e then return failed(e) end
  return linger_cell.l_onoff ~= 0 and linger_cell.l_linger
end

function KIND.linger.write(sd, level, opt, sec, position, method)
  if sec and not check.int(sec, position, method) or sec and sec < 0 then return failed(EINVAL) end
  linger_cell.l_onoff, linger_cell.l_linger = sec and 1 or 0, sec or 0
  local e = set(sd, level, opt, linger_cell, LINGER_SIZE)
  if e then return failed(e) end
  return sec
end

local BYTES_SIZE = 65536 -- longer than any option that Linux has
local bytes_cell -- made when first used: few programs read such an option

function KIND.bytes.read(sd, level, opt)
  bytes_cell = bytes_cell or ffi.new "uint8_t[65536]"
  local e = get(sd, level, opt, bytes_cell, BYTES_SIZE)
  if e then return failed(e) end
  return ffi.string(bytes_cell, math.min(got(), BYTES_SIZE))
end

function KIND.bytes.write(sd, level, opt, bytes, position, method)
  check.string(bytes, position, method)
  local e = set(sd, level, opt, bytes, #bytes)
  if e then return failed(e) end
  return bytes
end

function KIND.string.read(sd, level, opt)
  local bytes, err, e = KIND.bytes.read(sd, level, opt)
  if not bytes then return nil, err, e end
  return bytes:match "^%Z*"
end

function KIND.string.write(sd, level, opt, text, position, method)
  check.string(text, position, method)
  if text:find "%z" then return failed(EINVAL) end
  return KIND.bytes.write(sd, level, opt, text, position, method)
end

-- What may be written signed or unsigned is read unsigned.
KIND.word = {
  read = function(sd, level, opt)
    local n, err, e = read_int(sd, level, opt)
    if not n then return nil, err, e end
    return n % 2^32
  end,
  write = KIND.int.write,
}

-- An interface's name: the kernel would cut a longer one.
KIND.ifname = {
  read = KIND.string.read,
  write = function(sd, level, opt, ifname, position, method)
    check.string(ifname, position, method)
    if #ifname >= const.IFNAMSIZ then return failed(const.ENODEV) end
    return KIND.string.write(sd, level, opt, ifname, position, method)
  end,
}

-- How many bytes wait: no option, but an ioctl(2).
KIND.queue = {
  read = function(sd, _, request)
    local rc, e = shim.llsocket1_ioctl(sd, request, int_cell), errno()
    if rc < 0 then return failed(e) end
    return int_cell[0]
  end,
}

local ucred_cell = layout.ucred and layout.ucred()

KIND.ucred = {
  read = function(sd, level, opt)
    local e = get(sd, level, opt, ucred_cell, ffi.sizeof(ucred_cell))
    if e then return failed(e) end
    return { pid = ucred_cell.pid, uid = ucred_cell.uid, gid = ucred_cell.gid }
  end,
}

-- The fields that this kernel filled, however many that are.
KIND.tcpinfo = {
  read = function(sd, level, opt)
    local bytes, err, e = KIND.bytes.read(sd, level, opt)
    if not bytes then return nil, err, e end
    local cell, info = layout.tcp_info(), {}
    ffi.copy(cell, bytes, math.min(#bytes, ffi.sizeof(cell)))
    for _, field in ipairs(layout.fields.tcp_info) do
      if field.offset + field.size <= #bytes then info[field.name:gsub("^tcpi_", "")] = tonumber(cell[field.name]) end
    end
    return info
  end,
}

return { KIND = KIND, get = get, set = set, got = got }
