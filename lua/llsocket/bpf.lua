-- bpf.lua -- programs of classic BPF, the language of socket filters: from assembler or from tcpdump's text to rows of
-- numbers, and the checks that Linux makes.  The kernel says only EINVAL; these checks tell the line.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local bit = require "bit"
local const = require "llsocket.core.const"
local check = require "llsocket.core.check"
local failure = require "llsocket.core.failure"
local programs = require "llsocket.socket.program"
local ipairs, pairs, tonumber, type, min = ipairs, pairs, tonumber, type, math.min
local band, bor, lshift = bit.band, bit.bor, bit.lshift

local EINVAL, ENOPROTOOPT = const.EINVAL, const.ENOPROTOOPT
local AD_OFF, MOST, CELLS = const.SKF_AD_OFF, const.BPF_MAXINSNS, const.BPF_MEMWORDS
local CODES, word = programs.CODES, programs.word

-- The readers below answer what programs.assemble does.

-- Answers a row of checked numbers, or nil where one is out of range.
local function numbers(code, jt, jf, k)
  k = word(k)
  local in_range = k and code >= 0 and code <= 0xffff and jt >= 0 and jt <= 255 and jf >= 0 and jf <= 255
  if in_range and code % 1 == 0 and jt % 1 == 0 and jf % 1 == 0 then return { code, jt, jf, k } end
end

-- Reads what tcpdump -ddd prints; iptables' bpf match wants the same with commas in place of line feeds.
local function read_decimal(source)
  local rows, lines, count, number = {}, {}, nil, 0
  for line in source:gsub(",", "\n"):gmatch "([^\n]*)\n?" do
    number = number + 1
    local code, jt, jf, k = line:match "^%s*(%d+)%s+(%d+)%s+(%d+)%s+(%d+)%s*$"
    if not count then
      count = tonumber(line:match "^%s*(%d+)%s*$")
    elseif code then
      rows[#rows + 1], lines[#rows + 1] = numbers(tonumber(code), tonumber(jt), tonumber(jf), tonumber(k)), number
    end
    local is_good = count and #lines == #rows and (code or number == 1 or line:find "^%s*$")
    if not is_good then return nil, number == 1 and "no count" or "not four numbers in range", number end
  end
  if not count then return nil, "no count", 1 end
  if count ~= #rows then return nil, ("%d instructions, not %d"):format(#rows, count), 1 end
  return rows, lines
end

local ROWS = "array of { code, jt, jf, k }"

-- Copies the caller's rows: they may change, or answer differently the second time.
local function read_rows(source, position, method)
  local rows = {}
  for i = 1, min(#source, MOST + 1) do
    local row = source[i]
    if type(row) ~= "table" then check.bad(position, method, ROWS, row) end
    local copy = { row[1], row[2], row[3], row[4] }
    for field = 1, 4 do
      if type(copy[field]) ~= "number" then check.bad(position, method, ROWS, copy[field]) end
    end
    rows[i] = numbers(copy[1], copy[2], copy[3], copy[4])
    if not rows[i] then return nil, "a number out of range", i end
  end
  return rows
end

-- What the kernel checks of an instruction, by the form.  Each answers what is wrong; `left` instructions follow.
local function divisor(row) return row[4] == 0 and "division by zero" end
local function shift(row) return row[4] > 31 and "a shift by more than 31 bits" end
local function cell(row) return row[4] >= CELLS and "no such memory cell" end
local function far(row, left) return row[4] >= left and "a jump beyond the end" end
local function near(row, left) return (row[2] >= left or row[3] >= left) and "a jump beyond the end" end
local function none() return false end

-- Every extension is a multiple of 4.  A newer kernel may know some at and above SKF_AD_MAX, so these are left to it.
local function offset(row)
  local extension = row[4] - word(AD_OFF)
  if extension >= 0 and extension % 4 ~= 0 then return "no such extension" end
end

local SPECIAL = {
  ["div #k"] = divisor, ["mod #k"] = divisor, ["lsh #k"] = shift, ["rsh #k"] = shift, ["ja "] = far,
  ["ld [k]"] = offset, ["ldh [k]"] = offset, ["ldb [k]"] = offset,
  ["ld M[k]"] = cell, ["ldx M[k]"] = cell, ["st M[k]"] = cell, ["stx M[k]"] = cell,
}

-- tests[opcode]: the check; nil for an opcode that the kernel refuses.
local tests
local function make_tests()
  local made = {}
  for form in pairs(programs.FORMS) do made[CODES[form]] = SPECIAL[form] or form:find "^j" and near or none end
  return made
end

-- Answers a word with a bit for each cell that is written on the way that falls through; `masks` has those of jumps.
local function written(row, at, cells, masks)
  local code, class = row[1], band(row[1], 7)
  if class == const.BPF_ST or class == const.BPF_STX then return bor(cells, lshift(1, row[4])) end
  if class ~= const.BPF_JMP then return cells end
  local first, second = row[2], row[3]
  if code == CODES["ja "] then first, second = row[4], row[4] end
  for _, target in ipairs { at + 1 + first, at + 1 + second } do masks[target] = band(masks[target] or -1, cells) end
  return -1 -- only jumps come to the next instruction
end

-- Like the kernel, refuses a program in which some way reads a memory cell that was not written before.
local function unwritten(rows)
  local cells, masks = 0, {}
  for at, row in ipairs(rows) do
    cells = band(cells, masks[at] or -1)
    if (row[1] == CODES["ld M[k]"] or row[1] == CODES["ldx M[k]"]) and band(cells, lshift(1, row[4])) == 0 then
      return ("memory cell %d is not written before"):format(row[4]), at
    end
    cells = written(row, at, cells, masks)
  end
end

-- Answers what the kernel would not take in a program, and the number of the instruction if it is one.
local function wrong(rows)
  local n = #rows
  if n == 0 or n > MOST then return ("%d to %d instructions are wanted"):format(1, MOST) end
  tests = tests or make_tests()
  for at, row in ipairs(rows) do
    local test = tests[row[1]]
    if not test then return ("no such opcode: %d"):format(row[1]), at end
    local why = test(row, n - at)
    if why then return why, at end
  end
  local last = rows[n][1]
  if last ~= CODES["ret #k"] and last ~= CODES["ret a"] then return "the last instruction is no ret", n end
  return unwritten(rows)
end

local function refuse(why, unit, number)
  local place = number and ("%s %d: "):format(unit, number) or ""
  return nil, ("%s: %s%s"):format(failure.texts[EINVAL], place, why), EINVAL
end

--- Makes the rows of a program and checks them; raises at the caller's line for a wrong type.
---@param source any
---@param position integer  of the argument, self not counted
---@param method string  the caller's name, for the message
---@return integer[][]? rows
---@return string|integer[]|nil lines  the number of each row's line, nil where `source` is a table; or err
---@return integer? errno  EINVAL, ENOPROTOOPT
local function make(source, position, method)
  local kind = type(source)
  if kind ~= "string" and kind ~= "table" then check.bad(position, method, "string or table", source) end
  if not programs.is_there then return failure.failed(ENOPROTOOPT) end
  local read = kind == "table" and read_rows or source:find "%a" and programs.assemble or read_decimal
  local unit = kind == "table" and "instruction" or "line"
  local rows, lines, number = read(source, position, method)
  if not rows then return refuse(lines, unit, number) end
  local why, at = wrong(rows)
  if why then return refuse(why, unit, lines and lines[at] or at) end
  return rows, lines
end

-- Answers why the kernel says EINVAL to a program that has passed the checks: it knows no such extension.
local function blame(rows, lines)
  for at, row in ipairs(rows) do
    local is_unknown = tests[row[1]] == offset and row[4] >= word(AD_OFF) + const.SKF_AD_MAX
    if is_unknown then return refuse("no such extension", lines and "line" or "instruction", lines and lines[at] or at) end
  end
  return failure.failed(EINVAL)
end

---@class llsocket.bpf.module
local M = {}

--- Makes the rows of a program, as sock:filter takes them too, and checks them as Linux does.  Makes no system call; allocates
--- the rows.  See linux/filter.h and, for the assembler, the kernel's bpf_asm.
---@param program string|integer[][]  assembler; what tcpdump -ddd prints; or rows { code, jt, jf, k }, k a word of 32 bits
---@return integer[][]? rows  an array of { code, jt, jf, k }, k from 0 to 2^32-1
---@return string? err  names the line, or of rows the instruction
---@return integer? errno  EINVAL: no program that Linux takes; ENOPROTOOPT where the system has no such filters
function M.assemble(program)
  local rows, err, e = make(program, 1, "assemble")
  if not rows then return nil, err, e end
  return rows
end

M.make, M.blame = make, blame

return require("llsocket.core.lazy").keep("llsocket.bpf", M)
