-- tcpinfo.lua -- what the kernel tells about a TCP connection: its state, and what its congestion control has measured.
--
-- The fields come from csrc/tcpinfo.def.  Where they lie is worked out once for each length that this kernel answers: two
-- short loops read them then, which compile.  A function with one line a field is too long for a trace.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.core.libc"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local failed = require("llsocket.core.failure").failed
local shortage = require "llsocket.core.shortage"
local assert, ipairs, loadstring, setmetatable, type = assert, ipairs, loadstring, setmetatable, type

local errno, min, floor, band, rshift = ffi.errno, math.min, math.floor, bit.band, bit.rshift
local concat, open = table.concat, io.open

local row_t = ffi.typeof "struct { const char *owner, *name; uint32_t offset, size, shift, bits, since, before; } *"

-- Whether there are fields: csrc/tcpinfo.def has Linux's alone, and TCP_INFO of another system, such as FreeBSD, is another
-- struct.
local is_known = ffi.cast(row_t, shim.llsocket2_tcpinfo).owner ~= nil

-- Longer than any kernel's struct (280 bytes): a kernel writes no more than there is room for.
local SIZE = 512
local words_t = ffi.typeof "uint32_t[128]"
local LITTLE = ffi.abi "le"

-- Adds a field that is one word or, if `high` is given, two words.
local function add_wide(plan, name, low, high)
  plan.wide = plan.wide + 1
  plan.names[plan.wide], plan.low[plan.wide], plan.high[plan.wide] = name, low, high or false
end

-- Adds a field that is `bits` bits of a word.
local function add_narrow(plan, name, word, shift, bits)
  plan.narrow = plan.narrow + 1
  plan.parts[plan.narrow], plan.word[plan.narrow] = name, word
  plan.shift[plan.narrow], plan.mask[plan.narrow] = shift, 2^bits - 1
end

-- Adds the field of a row.  bbr's bandwidth is two fields, of which the first is the low one in both byte orders.
local function add(plan, row)
  local name, at, size = ffi.string(row.name), row.offset, row.size
  local word = floor(at / 4)
  if name == "bw_lo" then return add_wide(plan, "bw", word, word + 1) end
  if name == "bw_hi" then return end
  if size == 8 then return add_wide(plan, name, word + (LITTLE and 0 or 1), word + (LITTLE and 1 or 0)) end
  if size == 4 and row.bits == 0 then return add_wide(plan, name, word) end
  local before = at - 4 * word -- bytes of the word that stand before the integer
  local shift = 8 * (LITTLE and before or 4 - before - size) + row.shift
  add_narrow(plan, name, word, shift, row.bits > 0 and row.bits or 8 * size)
end

local function is_told(row, length, release)
  return row.offset + row.size <= length and release >= row.since and (row.before == 0 or release < row.before)
end

-- Makes a function that answers a new table with all fields: one that grows while it is filled takes 20,000 instructions more.
local function maker(plan)
  local fields = {}
  for _, names in ipairs { plan.names, plan.parts } do
    for _, name in ipairs(names) do fields[#fields + 1] = name .. " = 0" end
  end
  return assert(loadstring("return function() return { " .. concat(fields, ", ") .. " } end"))()
end

--- Plans how the fields are read that a kernel tells.
---@param owner string  "info", "bbr", "dctcp" or "vegas"
---@param length integer  bytes that the kernel wrote
---@param release integer  as llsocket2_kernel tells it
---@return table plan  for `read`
local function plan_of(owner, length, release)
  local row = ffi.cast(row_t, shim.llsocket2_tcpinfo)
  local plan = { wide = 0, names = {}, low = {}, high = {}, narrow = 0, parts = {}, word = {}, shift = {}, mask = {} }
  while row.owner ~= nil do
    if ffi.string(row.owner) == owner and is_told(row, length, release) then add(plan, row) end
    row = row + 1
  end
  plan.new = maker(plan)
  return plan
end

-- plans[owner][length], of the running kernel
local plans = setmetatable({}, { __index = function(plans, owner)
  plans[owner] = setmetatable({}, { __index = function(by_length, length)
    by_length[length] = plan_of(owner, length, shim.llsocket2_kernel())
    return by_length[length]
  end })
  return plans[owner]
end })

--- Reads the fields into a table.  A 64-bit integer is read in two halves: as one it would be boxed.
---@param plan table
---@param w ffi.cdata*  words, as the kernel wrote them
---@param into table
---@return table into
local function read(plan, w, into)
  local names, low, high = plan.names, plan.low, plan.high
  for i = 1, plan.wide do
    local upper = high[i]
    into[names[i]] = upper and w[low[i]] + w[upper] * 2^32 or w[low[i]]
  end
  local parts, word, shift, mask = plan.parts, plan.word, plan.shift, plan.mask
  for i = 1, plan.narrow do into[parts[i]] = band(rshift(w[word[i]], shift[i]), mask[i]) end
  return into
end

-- The cell is read over several statements, and a finaliser or the caller's __newindex may call in between: each call takes
-- its own and gives it back.
local spare
local size_cell = ffi.new "uint32_t[1]"

-- Reads an option; answers the errno, or nil and the length.
local function get(sd, level, opt, cell)
  size_cell[0] = SIZE
  local rc, e, n = C.llsocket2_getsockopt(sd, level, opt, cell, size_cell), errno(), size_cell[0]
  if rc ~= 0 then return e end
  return nil, min(n, SIZE)
end

local M = { plan_of = plan_of, read_fields = read }

--- Reads struct tcp_info: the fields that this kernel has filled.
---@param sd integer
---@param level integer
---@param opt integer
---@param into? table  the table to fill; the default is a new one
---@param method string  the caller's name, for the message
---@return table<string, integer>? info
---@return string? err
---@return integer? errno
function M.read(sd, level, opt, into, method)
  if type(into) ~= "nil" and type(into) ~= "table" then check.bad(1, method, "table", into) end
  if not is_known then return failed(sd < 0 and const.EBADF or const.ENOPROTOOPT) end
  local cell = spare or words_t()
  spare = nil
  local e, n = get(sd, level, opt, cell)
  local plan = not e and plans.info[n]
  if plan then into = read(plan, cell, into or plan.new()) end
  spare = cell
  if e then return failed(e) end
  return into
end

-- Which struct each congestion control answers; the others answer none.
local OWNERS = {
  bbr = "bbr", dctcp = "dctcp", ["dctcp-reno"] = "dctcp",
  vegas = "vegas", illinois = "vegas", nv = "vegas", westwood = "vegas", yeah = "vegas",
}

-- Reads the name first, because the answer does not tell which struct it is.
local function read_cc(sd, level, opt, cell)
  local e, n = get(sd, level, const.TCP_CONGESTION, cell)
  if e then return nil, e end
  local name = ffi.string(cell, n):match "^%Z*"
  e, n = get(sd, level, opt, cell)
  if e then return nil, e end
  local owner, info = OWNERS[name], { congestion = name }
  if owner then read(plans[owner][n], cell, info) end
  return info
end

--- Reads union tcp_cc_info: the name of the congestion control, and what it tells.
---@param sd integer
---@param level integer
---@param opt integer
---@return table<string, string|integer>? info
---@return string? err
---@return integer? errno
function M.read_cc(sd, level, opt)
  local cell = spare or words_t()
  spare = nil
  local info, e = read_cc(sd, level, opt, cell)
  spare = cell
  if e then return failed(e) end
  return info
end

local PATH = "/proc/sys/net/ipv4/tcp_available_congestion_control"

--- Lists the congestion controls that tcpcongestion takes: those that are in the kernel now; see tcp(7).
---@return string[]? names
---@return string? err
---@return integer? errno  ENOENT: no Linux, or no /proc; EACCES; EMFILE
local function congestions()
  local file, _, e = open(PATH, "re") -- close-on-exec
  if not file then
    if shortage.collected(e) then return congestions() end
    return failed(e)
  end
  local text = file:read "*a"
  file:close()
  if not text then return failed(const.EIO) end -- the io library reads errno late
  local names = {}
  for name in text:gmatch "%S+" do names[#names + 1] = name end
  return names
end

M.congestions = congestions

return M
