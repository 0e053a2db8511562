-- rarekind.lua -- kinds of options that few programs use: 64 bits, and values of more than one part.  See optionkind.lua.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local failed = require("llsocket.core.failure").failed
local interface = require "llsocket.address.interface"
local optionkind = require "llsocket.socket.optionkind"
local ipairs, tonumber, type = ipairs, tonumber, type

local errno, floor = ffi.errno, math.floor
local band, bor, lshift, rshift = bit.band, bit.bor, bit.lshift, bit.rshift
local BASE, set = optionkind.KIND, optionkind.set
local EINVAL = const.EINVAL

local size_cell = ffi.new "uint32_t[1]" -- set it just before a call, and read it in the statement of the call

local KIND = {}

-- A number of 64 bits, as a uint64_t, because a Lua number has 53 bits.  Each call makes its own cell: the answer is boxed, and
-- a finaliser that runs then could change a shared one.
local number64_t = ffi.typeof "union { uint64_t whole; uint32_t half[2]; }"
local uint64_t, int64_t = ffi.typeof "uint64_t", ffi.typeof "int64_t"

KIND.uint64 = {
  read = function(sd, level, opt)
    local cell = number64_t()
    size_cell[0] = 8
    local rc, e, n = C.llsocket2_getsockopt(sd, level, opt, cell, size_cell), errno(), size_cell[0]
    if rc ~= 0 then return failed(e) end
    return n == 4 and uint64_t(cell.half[0]) or cell.whole -- an option may be shorter
  end,
  write = function(sd, level, opt, value)
    local is_cdata = type(value) == "cdata"
    if is_cdata and ffi.istype(int64_t, value) and value < 0 then return failed(EINVAL) end
    if not is_cdata and not (value >= 0 and value <= 2^53 and floor(value) == value) then return failed(EINVAL) end
    local cell = number64_t()
    cell.whole = value
    local e = set(sd, level, opt, cell, 8)
    if e then return failed(e) end
    return value
  end,
}

-- The words of SO_MEMINFO, by the names of their constants.
local MEMINFO = {
  "backlog", "drops", "fwd_alloc", "optmem", "rcvbuf", "rmem_alloc", "sndbuf", "wmem_alloc", "wmem_queued",
}
local words_t = ffi.typeof "uint32_t[64]"

-- Answers only the words that this kernel has filled.
KIND.meminfo = {
  read = function(sd, level, opt)
    local words, info = words_t(), {}
    size_cell[0] = ffi.sizeof(words)
    local rc, e, size = C.llsocket2_getsockopt(sd, level, opt, words, size_cell), errno(), size_cell[0]
    if rc ~= 0 then return failed(e) end
    for _, name in ipairs(MEMINFO) do
      local at = const["SK_MEMINFO_" .. name:upper()]
      if at and at * 4 < size then info[name] = tonumber(words[at]) end
    end
    return info
  end,
}

-- A size of a buffer beyond the system's limit.  Linux only sets it; the size is read as that of the ordinary option.
local READ_AS = {
  [const.SO_RCVBUFFORCE or -1] = const.SO_RCVBUF, [const.SO_SNDBUFFORCE or -2] = const.SO_SNDBUF,
}
KIND.force = {
  asked = READ_AS,
  read = function(sd, level, opt) return BASE.count.read(sd, level, READ_AS[opt]) end,
  write = BASE.count.write,
}

-- Two options: sends without a checksum, and receives what has none.  Receives first: nothing is lost between the two.
local RX = const.UDP_NO_CHECK6_RX
KIND.nocheck = {
  read = function(sd, level, opt)
    local rx, err, e = BASE.boolean.read(sd, level, RX)
    if type(rx) == "nil" then return nil, err, e end
    return rx and BASE.boolean.read(sd, level, opt)
  end,
  write = function(sd, level, opt, on, position, method)
    local done, err, e = BASE.boolean.write(sd, level, RX, on, position, method)
    if type(done) == "nil" then return nil, err, e end
    return BASE.boolean.write(sd, level, opt, on, position, method)
  end,
}

-- The option Router Alert: IPv4 has it or not; IPv6 has a number of 16 bits, and -1 for none.  Both take a value of either type,
-- so that a wrong type raises whatever the socket is.  These answer the kernel's number, nil for an impossible value.
local function alert4(value)
  if type(value) == "boolean" then return value and 1 or 0 end
end

local function alert6(value)
  if value == false then return -1 end
  if type(value) == "number" and bit.band(value, 0xffff) == value then return value end
end

local function alert(read, number_of)
  return {
    read = read,
    write = function(sd, level, opt, value, position, method)
      if type(value) ~= "boolean" and type(value) ~= "number" then check.bad(position, method, "boolean or number", value) end
      local n = number_of(value)
      if not n then return failed(EINVAL) end
      return optionkind.write_int(sd, level, opt, value, n)
    end,
  }
end
KIND.alert4, KIND.alert6 = alert(BASE.boolean.read, alert4), alert(BASE.int.read, alert6)

-- Turns 32 bits into network order, or back.
local swap = ffi.abi "le" and bit.bswap or bit.tobit

-- An interface by its name, which the kernel knows by its index, in network order.
KIND.netif = {
  read = function(sd, level, opt)
    local index, err, e = BASE.int.read(sd, level, opt)
    if not index then return nil, err, e end
    if index == 0 then return "" end
    local ifname
    ifname, e = interface.name(swap(index), sd)
    if not ifname then return failed(e) end
    return ifname
  end,
  write = function(sd, level, opt, ifname, position, method)
    check.string(ifname, position, method)
    local index, e = 0, nil
    if ifname ~= "" then index, e = interface.index(ifname, sd) end
    if not index then return failed(e) end
    return optionkind.write_int(sd, level, opt, ifname, swap(index))
  end,
}

-- The numbers of groups.  A process may have 65,536 of them, four times as many as the buffer for bytes takes.
local groups_t, group_ptr = ffi.typeof "uint32_t[65536]", ffi.typeof "const uint32_t *"

local function read_many(sd, level, opt)
  local cell = groups_t()
  size_cell[0] = ffi.sizeof(cell)
  local rc, e, n = C.llsocket2_getsockopt(sd, level, opt, cell, size_cell), errno(), size_cell[0]
  if rc ~= 0 then return failed(e) end
  return (ffi.string(cell, n))
end

KIND.groups = {
  read = function(sd, level, opt)
    local bytes, err, e = BASE.bytes.read(sd, level, opt)
    if e == const.ERANGE then bytes, err, e = read_many(sd, level, opt) end
    if not bytes then return nil, err, e end
    local numbers, groups = ffi.cast(group_ptr, bytes), {}
    for i = 1, #bytes / 4 do groups[i] = numbers[i - 1] end
    return groups
  end,
}

-- Two ports in one number of 32 bits; 0 leaves that end as the system has it.
local function is_port(n) return n >= 0 and n <= 65535 and floor(n) == n end

KIND.portrange = {
  read = function(sd, level, opt)
    local n, err, e = BASE.int.read(sd, level, opt)
    if not n then return nil, err, e end
    return { band(n, 0xffff), rshift(n, 16) }
  end,
  write = function(sd, level, opt, range, position, method)
    if type(range) ~= "table" then check.bad(position, method, "array of two numbers", range) end
    local low, high = range[1], range[2] -- read each once: __index may answer another value the next time
    if type(low) ~= "number" or type(high) ~= "number" then
      if type(low) == "number" then low = high end
      check.bad(position, method, "array of two numbers", low)
    end
    if not (is_port(low) and is_port(high)) then return failed(EINVAL) end
    return optionkind.write_int(sd, level, opt, range, bor(low, lshift(high, 16)))
  end,
}

return { KIND = KIND, number64_t = number64_t }
