-- cbpf.lua -- classic BPF for tests: an interpreter, and random programs.  The opcodes are typed here, apart from the library's.
local bit = require "bit"
local band, bor, bxor, lshift, rshift = bit.band, bit.bor, bit.bxor, bit.lshift, bit.rshift

local M = {}

local function unsigned(n) return n % 2^32 end

local function product(a, x)
  local high = math.floor(x / 65536)
  return unsigned(a * high % 65536 * 65536 + a * (x - high * 65536))
end

-- ALU[operation]: answers nil where the program ends with 0.
local ALU = {
  [0x00] = function(a, x) return unsigned(a + x) end, [0x10] = function(a, x) return unsigned(a - x) end, [0x20] = product,
  [0x30] = function(a, x) return x ~= 0 and math.floor(a / x) or nil end,
  [0x40] = function(a, x) return unsigned(bor(a, x)) end, [0x50] = function(a, x) return unsigned(band(a, x)) end,
  [0x60] = function(a, x) return unsigned(lshift(a, x % 32)) end, [0x70] = function(a, x) return unsigned(rshift(a, x % 32)) end,
  [0x80] = function(a) return unsigned(-a) end,
  [0x90] = function(a, x) return x ~= 0 and a % x or nil end, [0xa0] = function(a, x) return unsigned(bxor(a, x)) end,
}

local JUMP = {
  [0x10] = function(a, x) return a == x end, [0x20] = function(a, x) return a > x end,
  [0x30] = function(a, x) return a >= x end, [0x40] = function(a, x) return band(a, x) ~= 0 end,
}

local SIZE = { [0x00] = 4, [0x08] = 2, [0x10] = 1 }

-- Bytes of the packet as a number; nil outside.
local function bytes(packet, at, size)
  if at + size > #packet then return nil end
  local n = 0
  for i = 1, size do n = n * 256 + packet:byte(at + i) end
  return n
end

-- Answers what a load loads, nil outside of the packet.
local function load(vm, code, k)
  local mode = band(code, 0xe0)
  if mode == 0x00 then return k end
  if mode == 0x60 then return vm.cells[k] end
  if mode == 0x80 then return #vm.packet end
  if mode == 0xa0 then
    local n = bytes(vm.packet, k, 1)
    return n and n % 16 * 4
  end
  return bytes(vm.packet, mode == 0x40 and unsigned(vm.x + k) or k, SIZE[band(code, 0x18)])
end

-- STEP[class](vm, code, jt, jf, k): answers how many instructions to skip, or nil and the program's answer.
local STEP = {
  [0] = function(vm, code, _, _, k)
    vm.a = load(vm, code, k)
    return vm.a and 0, 0
  end,
  [1] = function(vm, code, _, _, k)
    vm.x = load(vm, code, k)
    return vm.x and 0, 0
  end,
  [2] = function(vm, _, _, _, k) vm.cells[k] = vm.a; return 0 end,
  [3] = function(vm, _, _, _, k) vm.cells[k] = vm.x; return 0 end,
  [4] = function(vm, code, _, _, k)
    vm.a = ALU[band(code, 0xf0)](vm.a, band(code, 8) ~= 0 and vm.x or k)
    return vm.a and 0, 0
  end,
  [5] = function(vm, code, jt, jf, k)
    local test = JUMP[band(code, 0xf0)]
    if not test then return k end
    return test(vm.a, band(code, 8) ~= 0 and vm.x or k) and jt or jf
  end,
  [6] = function(vm, code, _, _, k) return nil, band(code, 0x18) == 0x10 and vm.a or k end,
  [7] = function(vm, code)
    if code == 0x87 then vm.a = vm.x else vm.x = vm.a end
    return 0
  end,
}

-- Runs a valid program over a packet; answers how many bytes it lets through.
function M.run(rows, packet)
  local vm, at = { a = 0, x = 0, cells = {}, packet = packet }, 1
  repeat
    local row = rows[at]
    local skip, answer = STEP[band(row[1], 7)](vm, row[1], row[2], row[3], row[4])
    if not skip then return answer end
    at = at + 1 + skip
  until false
end

-- Random programs ---------------------------------------------------------------------------------------------

local ALU_CODES, ALU_MOST = {}, {}
for op = 0x00, 0xa0, 0x10 do
  ALU_CODES[#ALU_CODES + 1] = 0x04 + op
  if op ~= 0x80 then ALU_CODES[#ALU_CODES + 1] = 0x0c + op end
end
ALU_MOST[0x64], ALU_MOST[0x74] = 31, 31 -- shifts

local CELLS = 4 -- every program begins with so many stores, so that it may read these cells anywhere

local function number(draw)
  local kind = draw(4)
  return kind == 1 and draw(2^31) * 2 - draw(2) or kind == 2 and draw(2^16) - 1 or draw(64) - 1
end

local function offset(draw) return draw(20) == 1 and draw(2^31) - 1 or draw(40) - 1 end

-- One instruction of a kind; `left` instructions follow it.
local KINDS = {
  function(draw) return { ({ 0x20, 0x28, 0x30 })[draw(3)], 0, 0, offset(draw) } end,
  function(draw) return { ({ 0x40, 0x48, 0x50 })[draw(3)], 0, 0, draw(20) - 1 } end,
  function(draw) return { ({ 0x00, 0x01 })[draw(2)], 0, 0, number(draw) } end,
  function(draw) return { ({ 0x60, 0x61, 0x02, 0x03 })[draw(4)], 0, 0, draw(CELLS) - 1 } end,
  function(draw) return { ({ 0x80, 0x81 })[draw(2)], 0, 0, 0 } end,
  function(draw) return { 0xb1, 0, 0, offset(draw) } end,
  function(draw)
    local code = ALU_CODES[draw(#ALU_CODES)]
    return { code, 0, 0, ALU_MOST[code] and draw(32) - 1 or number(draw) + (code % 16 == 4 and 1 or 0) }
  end,
  function(draw, left)
    local most = math.min(left, 256)
    return { 0x05 + draw(4) * 16 + (draw(3) == 1 and 8 or 0), draw(most) - 1, draw(most) - 1, number(draw) }
  end,
  function(draw, left) return { 0x05, 0, 0, draw(math.min(left, 5)) - 1 } end,
  function(draw) return { ({ 0x07, 0x87 })[draw(2)], 0, 0, 0 } end,
  function(draw) return { ({ 0x06, 0x16 })[draw(2)], 0, 0, draw(100) - 1 } end,
}
local OFTEN = { 1, 1, 1, 2, 3, 4, 5, 6, 7, 7, 7, 8, 8, 8, 9, 10, 11 }

--- A random program that is valid.
---@param draw fun(n: integer): integer  of random.new
---@return integer[][] rows
function M.program(draw)
  local rows, n = {}, CELLS + draw(draw(8) == 1 and 300 or 30)
  for i = 1, CELLS do rows[i] = { draw(2) + 1, 0, 0, i - 1 } end
  for i = CELLS + 1, n do
    rows[i] = KINDS[OFTEN[draw(#OFTEN)]](draw, n - i + 1)
    rows[i][4] = unsigned(rows[i][4])
  end
  rows[n + 1] = draw(3) == 1 and { 0x16, 0, 0, 0 } or { 0x06, 0, 0, draw(3) == 1 and 0 or draw(60) }
  return rows
end

function M.packet(draw, most)
  local out = {}
  for i = 1, draw(most + 1) - 1 do out[i] = string.char(draw(3) == 1 and draw(256) - 1 or draw(40) - 1) end
  return table.concat(out)
end

return M
