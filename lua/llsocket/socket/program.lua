-- program.lua -- programs of classic BPF: from assembler to rows of numbers, and from rows to what the kernel takes.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local named = require("llsocket.core.named").named
local ipairs, setmetatable, tonumber = ipairs, setmetatable, tonumber
local band, bor, tobit, byte = bit.band, bit.bor, bit.tobit, string.byte

local AD_OFF, JMP = const.SKF_AD_OFF, const.BPF_JMP
local HASH = byte "#"
local is_there = AD_OFF and layout.sock_filter and layout.sock_fprog

-- FORMS[mnemonic and form of the operand]: the parts of the opcode.
local FORMS = {
  ["ld #k"] = "LD IMM", ["ld #len"] = "LD W LEN", ["ld M[k]"] = "LD MEM",
  ["ld [k]"] = "LD W ABS", ["ldh [k]"] = "LD H ABS", ["ldb [k]"] = "LD B ABS",
  ["ld [x+k]"] = "LD W IND", ["ldh [x+k]"] = "LD H IND", ["ldb [x+k]"] = "LD B IND",
  ["ldx #k"] = "LDX IMM", ["ldx #len"] = "LDX W LEN", ["ldx M[k]"] = "LDX MEM", ["ldxb 4*([k]&0xf)"] = "LDX B MSH",
  ["st M[k]"] = "ST", ["stx M[k]"] = "STX", ["tax "] = "MISC TAX", ["txa "] = "MISC TXA", ["neg "] = "ALU NEG",
  ["ret #k"] = "RET K", ["ret a"] = "RET A", ["ja "] = "JMP JA",
}
for name in ("add sub mul div mod and or xor lsh rsh"):gmatch "%l+" do
  FORMS[name .. " #k"], FORMS[name .. " x"] = "ALU K " .. name:upper(), "ALU X " .. name:upper()
end
for name in ("jeq jgt jge jset"):gmatch "%l+" do
  FORMS[name .. " #k"], FORMS[name .. " x"] = "JMP K " .. name:upper(), "JMP X " .. name:upper()
end

-- CODES[form]: the opcode, computed on first use; false where there is no such form.
local CODES = setmetatable({}, { __index = function(codes, form)
  local parts, code = FORMS[form], 0
  if not parts then return false end
  for part in parts:gmatch "%u+" do code = bor(code, const["BPF_" .. part]) end
  codes[form] = code
  return code
end })

-- Jumps that the machine does not have: the opposite test with both ways exchanged.
local OPPOSITE = { jne = "jeq", jneq = "jeq", jlt = "jge", jle = "jgt" }

-- What the kernel knows about a packet beside its bytes: loads at offsets that no packet has.
local EXTENSIONS = {
  proto = "PROTOCOL", type = "PKTTYPE", ifidx = "IFINDEX", nla = "NLATTR", nlan = "NLATTR_NEST", mark = "MARK", queue = "QUEUE",
  hatype = "HATYPE", rxhash = "RXHASH", cpu = "CPU", vlan_tci = "VLAN_TAG", vlan_avail = "VLAN_TAG_PRESENT",
  vlan_tpid = "VLAN_TPID", poff = "PAY_OFFSET", rand = "RANDOM",
}
local PLAIN = { [""] = "", x = "x", ["%x"] = "x", a = "a", ["%a"] = "a", len = "#len", ["#len"] = "#len", ["#pktlen"] = "#len" }

--- Takes a word of 32 bits, with or without sign.
---@param n number
---@return integer? word  0 to 2^32-1; nil for any other number
local function word(n)
  local bits = tobit(n)
  if bits == n or bits < 0 and bits + 2^32 == n then return bits < 0 and bits + 2^32 or bits end
end

-- A number, or a constant by its name.  010 is refused: it is 8 for C and 10 for Lua.
local function term(text)
  if text:find "^%u" then return (named(text)) end
  if text == "0" or text:find "^[1-9]%d*$" or text:find "^0x%x+$" then return tonumber(text) end
end

-- The value of a text as "SKF_NET_OFF+12"; nil for what is none.
local function value(text)
  local total, at = 0, 1
  while at <= #text do
    local sign, name, after = text:match("^([+-]?)([%w_]+)()", at)
    local n = name and term(name)
    if not n then return nil end
    total, at = total + (sign == "-" and -n or n), after
  end
  return at > 1 and word(total) or nil
end

-- READ[first byte of an operand]: answers its form, and the text of its number.
local READ = {
  [byte "["] = function(text)
    local k = text:match "^%[%%?x([+-].+)%]$"
    if k then return "[x+k]", k end
    return "[k]", text:match "^%[(.+)%]$"
  end,
  [byte "#"] = function(text) return "#k", text:sub(2) end,
  [byte "M"] = function(text) return "M[k]", text:match "^M%[(.+)%]$" end,
  [byte "4"] = function(text) return "4*([k]&0xf)", text:match "^4%*%(%[(.+)%]&0xf%)$" end,
}

-- Answers an operand's form and number: no form where it is no operand, and no number where it has a wrong one.
local function operand(text)
  if PLAIN[text] then return PLAIN[text], 0 end
  local extension = EXTENSIONS[text] or byte(text) == HASH and EXTENSIONS[text:sub(2)]
  if extension then return "[k]", word(AD_OFF + const["SKF_AD_" .. extension]) end
  local read = READ[byte(text)]
  if not read then return nil end
  local form, k = read(text)
  return form, k and value(k)
end

local function split(text)
  if not text:find(",", 1, true) then return text end
  return text:match "^([^,]*),([^,]*),?([^,]*)$"
end

-- Answers an instruction and the labels that it jumps to, or nil and the reason.
local function encode(name, text)
  if name == "ja" or name == "jmp" then return { CODES["ja "], 0, 0, 0 }, { at = 4, text } end
  local first, yes, no = split(text)
  local form, k = operand(first or "?")
  local code = form and CODES[(OPPOSITE[name] or name) .. " " .. form]
  if not code then return nil, "no such instruction" end
  if not k then return nil, "no number of 32 bits" end
  if (band(code, 7) == JMP) ~= (yes ~= nil) then return nil, yes and "no such instruction" or "a label is missing" end
  if not yes then return { code, 0, 0, k } end
  if no == "" then no = nil end
  if OPPOSITE[name] then yes, no = no, yes end
  return { code, 0, 0, k }, { at = 2, yes or false, no or false }
end

-- Answers a line's label, mnemonic and operands without blanks, or nil where it is no line of assembler.
local function dissect(line)
  local label
  if line:find(":", 1, true) then
    local name, rest = line:match "^%s*([%a_][%w_]*)%s*:(.*)$"
    if name then label, line = name, rest end
  end
  local name, operands = line:match "^%s*(%l*)([^;]*)"
  if not name or operands:find "^%w" or operands:find "%w%s+%w" then return nil end
  return label, name, (operands:gsub("%s+", ""))
end

-- Assembles one line; answers the reason where that cannot be.
local function add_line(program, line, number)
  local label, name, operands = dissect(line)
  if not name then return "no such instruction" end
  local at = #program.rows + 1
  if label then
    if program.labels[label] then return "the label stands twice" end
    program.labels[label] = at
  end
  if name == "" then return operands ~= "" and "no such instruction" or nil end
  local row, more = encode(name, operands)
  if not row then return more end
  program.rows[at], program.lines[at], program.jumps[at] = row, number, more
end

-- Sets the distance of a jump: field 2 or 3 of a conditional one, 4 of the other.  Answers the reason where that cannot be.
local function link(program, at, field, label)
  local target = program.labels[label]
  if not target then return "no such label: " .. label end
  local distance = target - at - 1
  if distance < 0 then return "a jump backwards" end
  if field ~= 4 and distance > 255 then return "a jump over more than 255 instructions" end
  program.rows[at][field] = distance
end

local function link_all(program, at)
  local jump = program.jumps[at]
  for i = 1, jump and 2 or 0 do
    local why = jump[i] and link(program, at, jump.at + i - 1, jump[i])
    if why then return why end
  end
end

--- Assembles a program.
---@param source string
---@return integer[][]? rows  { code, jt, jf, k } each, not checked yet; nil where a line is none of assembler
---@return integer[]|string lines  the number of each row's line; or what is wrong
---@return integer? line  of what is wrong
local function assemble(source)
  local program, number = { rows = {}, lines = {}, labels = {}, jumps = {} }, 0
  for line in source:gmatch "([^\n]*)\n?" do
    number = number + 1
    local why = add_line(program, line, number)
    if why then return nil, why, number end
  end
  for at = 1, #program.rows do
    local why = link_all(program, at)
    if why then return nil, why, program.lines[at] end
  end
  return program.rows, program.lines
end

local SIZES = { 32, 256, const.BPF_MAXINSNS }
local arrays = {} -- arrays[i]: the type of an array of SIZES[i] instructions
for i = 1, is_there and #SIZES or 0 do arrays[i] = ffi.typeof("$[$]", layout.sock_filter, SIZES[i]) end

-- Answers an array with room for n instructions.
local function array(n)
  for i, size in ipairs(SIZES) do
    if n <= size then return arrays[i]() end
  end
end

--- Makes the kernel's form of a program.
---@param rows integer[][]  checked, of bpf.make
---@return ffi.cdata* fprog
---@return ffi.cdata* filters  the array that fprog points at, which the caller must keep
local function pack(rows)
  local filters, fprog = array(#rows), layout.sock_fprog()
  for i, row in ipairs(rows) do
    local filter = filters[i - 1]
    filter.code, filter.jt, filter.jf, filter.k = row[1], row[2], row[3], row[4]
  end
  fprog.len, fprog.filter = #rows, filters
  return fprog, filters
end

return { CODES = CODES, FORMS = FORMS, is_there = is_there, word = word, assemble = assemble, pack = pack }
