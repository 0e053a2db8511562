-- bpf: the assembler makes the numbers that tcpdump makes, and what it refuses is what the kernel refuses, with the line.
local ffi = require "ffi"
local L = require "llsocket"
local cbpf = require "cbpf"
local example = require "example"
local layout = require "llsocket.core.layout"
local leak = require "leak"
local missing = require "missing"
local net = require "net"
local proc = require "proc"
local random = require "random"
local shell = require "shell"
local before = leak.count()
local assemble = L.bpf.assemble
local N = 13
local T = require("tap").plan(N)
if select(3, assemble "ret #0") == L.ENOPROTOOPT then return missing.skip_all(T, N, "no classic BPF here") end

local INVALID = require("llsocket.errno").text(L.EINVAL)

-- A program, or what is wrong with it, as one line.
local function line(program)
  local rows, err, errno = assemble(program)
  if not rows then return errno == L.EINVAL and err:gsub("^" .. INVALID .. ": ", "") or tostring(err) end
  for i, row in ipairs(rows) do rows[i] = table.concat(row, " ") end
  return table.concat(rows, ", ")
end

-- Every form, with the opcode of linux/filter.h.
local FORMS = {
  ["ld [12]"] = "32 0 0 12", ["ldh [12]"] = "40 0 0 12", ["ldb [0x17]"] = "48 0 0 23",
  ["ld [x + 4]"] = "64 0 0 4", ["ldh [%x+4]"] = "72 0 0 4", ["ldb [x - 1]"] = "80 0 0 4294967295",
  ["ld #7"] = "0 0 0 7", ["ld #len"] = "128 0 0 0", ["ld #pktlen"] = "128 0 0 0", ["ldx #len"] = "129 0 0 0",
  ["ldx #7"] = "1 0 0 7",
  ["st M[3]\nld M[3]"] = "2 0 0 3, 96 0 0 3", ["stx M[15]\nldx M[15]"] = "3 0 0 15, 97 0 0 15",
  ["ldxb 4*([14]&0xf)"] = "177 0 0 14", ["ldxb 4 * ( [ 14 ] & 0xf )"] = "177 0 0 14",
  ["add #1"] = "4 0 0 1", ["add x"] = "12 0 0 0", ["sub #1"] = "20 0 0 1", ["sub x"] = "28 0 0 0", ["mul #3"] = "36 0 0 3",
  ["mul x"] = "44 0 0 0", ["div #3"] = "52 0 0 3", ["div %x"] = "60 0 0 0", ["or #3"] = "68 0 0 3", ["or x"] = "76 0 0 0",
  ["and #0x1f"] = "84 0 0 31", ["and x"] = "92 0 0 0", ["lsh #31"] = "100 0 0 31", ["lsh x"] = "108 0 0 0",
  ["rsh #4"] = "116 0 0 4", ["rsh x"] = "124 0 0 0", ["neg"] = "132 0 0 0", ["mod #3"] = "148 0 0 3", ["mod x"] = "156 0 0 0",
  ["xor #3"] = "164 0 0 3", ["xor x"] = "172 0 0 0", ["tax"] = "7 0 0 0", ["txa"] = "135 0 0 0",
  ["ret a\nret %a"] = "22 0 0 0, 22 0 0 0",
  ["ret #-1"] = "6 0 0 4294967295", ["ret #0xffffffff"] = "6 0 0 4294967295", ["ret #-2147483648"] = "6 0 0 2147483648",
  ["ja end"] = "5 0 0 0", ["jmp end"] = "5 0 0 0", ["jeq #1, end"] = "21 0 0 1", ["jeq x, end, end"] = "29 0 0 0",
  ["jgt #1,more,end\nmore: tax"] = "37 0 1 1, 7 0 0 0", ["jge x, more, end\nmore: tax"] = "61 0 1 0, 7 0 0 0",
  ["jset #1, more , end\nmore: tax"] = "69 0 1 1, 7 0 0 0",
  ["jne #1, end\ntax"] = "21 0 1 1, 7 0 0 0", ["jneq x, end\ntax"] = "29 0 1 0, 7 0 0 0",
  ["jlt #9, end\ntax"] = "53 0 1 9, 7 0 0 0",
  ["jle #9, end, more\nmore: tax"] = "37 0 1 9, 7 0 0 0",
  ["ld #cpu"] = "32 0 0 4294963236", ["ldb #proto"] = "48 0 0 4294963200", ["ld vlan_tci"] = "32 0 0 4294963244",
  ["ld rand"] = "32 0 0 4294963256", ["ldh [SKF_AD_OFF+SKF_AD_PKTTYPE]"] = "40 0 0 4294963204",
  ["ld [SKF_NET_OFF+12]"] = "32 0 0 4293918732", ["ldb [SKF_LL_OFF]"] = "48 0 0 4292870144", ["ld #IPPROTO_UDP+1-2"] = "0 0 0 16",
  ["; a comment\n\n  \n  tax ; and: another, with #x"] = "7 0 0 0", ["one: two: tax"] = false,
  ["one:\ntwo:\n\ttax\r"] = "7 0 0 0",
}

-- What the kernel knows beside the bytes, by the kernel's own bpf_asm, with the distance from SKF_AD_OFF.
for name, at in pairs { proto = 0, type = 4, ifidx = 8, nla = 12, nlan = 16, mark = 20, queue = 24, hatype = 28, rxhash = 32,
  cpu = 36, vlan_tci = 44, vlan_avail = 48, poff = 52, rand = 56, vlan_tpid = 60 } do
  FORMS["ld " .. name], FORMS["ld #" .. name] = ("32 0 0 %.0f"):format(2^32 - 4096 + at), ("32 0 0 %.0f"):format(2^32 - 4096 + at)
end

local wrong = {}
for text, want in pairs(FORMS) do
  local got = line(text .. "\nend: ret #0")
  if got ~= (want and want .. ", 6 0 0 0" or "line 1: no such instruction") then wrong[#wrong + 1] = text .. " is " .. got end
end
T.is(table.concat(wrong, "; "), "", "every form of the assembler makes its opcode")

-- tcpdump -d prints assembler with the numbers of lines in place of labels, and -ddd the numbers.
local EXPRESSIONS = {
  "", "ip", "udp port 53", "ip6 and udp port 53 or (tcp[13] & 2 != 0 and len > 60)", "host 192.0.2.1 and not arp",
  "vlan 5 and ip",
  "tcp portrange 80-443", "ip[ip[0] & 0xf] + 3 * tcp[2:2] / 5 % 7 - 1 << 2 >= udp[4] ^ 0xff", "ether broadcast", "icmp6",
  "ether[ether[3] % 4 + 1] = -ip[9]", "greater 100 or less 20",
}

local function relabelled(text)
  return (text:gsub("%((%d+)%)", "L%1:"):gsub(" jt (%d+)%s+jf (%d+)", function(yes, no)
    return (",L%03d,L%03d"):format(yes, no)
  end):gsub("(j[am]p?)%s+(%d+)", function(name, target) return ("%s L%03d"):format(name, target) end))
end

local function tcpdump(flag, expression) return proc.run(shell.format("tcpdump %s -y EN10MB %q 2>&1", flag, expression)) end

local differ, differ_commas, compared = {}, {}, 0
if example.has "tcpdump" and select(2, tcpdump("-d", "ip")) then
  for _, expression in ipairs(EXPRESSIONS) do
    local readable, numbers = tcpdump("-d", expression), tcpdump("-ddd", expression)
    local want = numbers:gsub("^%s*%d+\n", ""):gsub("\n$", ""):gsub("\n", ", ")
    local without = (want .. ","):gsub("%f[%d]7 0 0 %d+,", "7 0 0 0,"):sub(1, -2) -- tcpdump leaves a number in its tax
    if line(relabelled(readable)) ~= without or line(numbers) ~= want then
      differ[#differ + 1] = expression .. ": " .. line(relabelled(readable)) .. "; " .. line(numbers) .. "; want " .. want
    end
    if line((numbers:gsub("\n$", ""):gsub("\n", ","))) ~= want then differ_commas[#differ_commas + 1] = expression end
    compared = compared + 1
  end
  T.is(table.concat(differ, "\n"), "", ("%d programs that tcpdump prints both ways are one"):format(compared))
  T.is(table.concat(differ_commas, ", "), "", "commas may stand for line feeds")
else T.skip(2, "there is no tcpdump") end

-- What is wrong, and in which line.
local long, far = {}, {}
for i = 1, L.BPF_MAXINSNS do long[i] = { 0, 0, 0, 0 } end
for i = 1, 256 do far[i] = "tax" end
local ERRORS = {
  { "ret #0\nfoo #1", "line 2: no such instruction" }, { "ldh #5\nret #0", "line 1: no such instruction" },
  { "ld [1] ret #0", "line 1: no number of 32 bits" }, { "ld2 [1]", "line 1: no such instruction" },
  { "ret", "line 1: no such instruction" }, { "tax #1", "line 1: no such instruction" }, { "#1", "line 1: no count" },
  { "ret #0, a", "line 1: no such instruction" }, { "jeq #1, a, b, c", "line 1: no such instruction" },
  { "RET #0", "line 1: no such instruction" }, { "a:b: ret #0", "line 1: no such instruction" },
  { "ld [x]\nret #0", "line 1: no number of 32 bits" }, { "ld #1 2", "line 1: no such instruction" },
  { "ret #010", "line 1: no number of 32 bits" }, { "ret #4294967296", "line 1: no number of 32 bits" },
  { "ret #-2147483649", "line 1: no number of 32 bits" }, { "ret #1.5", "line 1: no number of 32 bits" },
  { "ret #", "line 1: no number of 32 bits" }, { "ret #1e3", "line 1: no number of 32 bits" },
  { "ret #1+", "line 1: no number of 32 bits" }, { "ret #NO_SUCH_NAME", "line 1: no number of 32 bits" },
  { "ld [12\nret #0", "line 1: no number of 32 bits" }, { "ldxb 4*([1]&0xe)", "line 1: no number of 32 bits" },
  { "jeq #1\nret #0", "line 1: a label is missing" }, { "\n\njeq #1, off\nret #0", "line 3: no such label: off" },
  { "ja\nret #0", "line 1: no such label: " }, { "a: tax\na: ret #0", "line 2: the label stands twice" },
  { "a: tax\nja a\nret #0", "line 2: a jump backwards" }, { "a: jeq #1, a\nret #0", "line 1: a jump backwards" },
  { "jeq #1, off\n" .. table.concat(far, "\n") .. "\noff: ret #0", "line 1: a jump over more than 255 instructions" },
  { "", "line 1: no count" }, { "; nothing", "1 to 4096 instructions are wanted" }, { "x:", "1 to 4096 instructions are wanted" },
  { "tax", "line 1: the last instruction is no ret" }, { "ja end\nend:", "line 1: a jump beyond the end" },
  { "tax\ndiv #0\nret a", "line 2: division by zero" }, { "mod #0\nret a", "line 1: division by zero" },
  { "lsh #32\nret a", "line 1: a shift by more than 31 bits" }, { "rsh #-1\nret a", "line 1: a shift by more than 31 bits" },
  { "st M[16]\nret a", "line 1: no such memory cell" }, { "ld M[16]\nret a", "line 1: no such memory cell" },
  { "ld M[0]\nret a", "line 1: memory cell 0 is not written before" },
  { "jeq #1, a, b\na: st M[2]\nb: ldx M[2]\nret a", "line 3: memory cell 2 is not written before" },
  { "ld [SKF_AD_OFF+1]\nret a", "line 1: no such extension" },
  { "ldb [-1]\nret a", "line 1: no such extension" },
  { "2\n6 0 0 0\n", "1 instructions, not 2" }, { "1\n6 0 0\n", "line 2: not four numbers in range" },
  { "1\n6 0 0 4294967296\n", "line 2: not four numbers in range" }, { "1\n6 256 0 0\n", "line 2: not four numbers in range" },
  { "6 0 0 0\n", "line 1: no count" }, { "1\n\n21 0 9 0\n", "line 3: a jump beyond the end" },
  { {}, "1 to 4096 instructions are wanted" }, { { { 6, 0, 0, 2^32 } }, "instruction 1: a number out of range" },
  { { { 6, 0, 0, 0 }, { 1.5, 0, 0, 0 } }, "instruction 2: a number out of range" },
  { { { 6, 0 / 0, 0, 0 } }, "instruction 1: a number out of range" },
  { { { 6, 0, -1, 0 } }, "instruction 1: a number out of range" },
  { { { 65536, 0, 0, 0 } }, "instruction 1: a number out of range" },
  { { { 65535, 0, 0, 0 } }, "instruction 1: no such opcode: 65535" },
  { { { 14, 0, 0, 0 } }, "instruction 1: no such opcode: 14" }, { long, "instruction 4096: the last instruction is no ret" },
}
local errors = {}
for _, case in ipairs(ERRORS) do
  local got = line(case[1])
  if not got:find(case[2] .. "$") or got:gsub("^line 1: ", ""):gsub("^instruction %d+: ", "") == "" then
    errors[#errors + 1] = ("%q: %s, not %s"):format(tostring(case[1]), got, case[2])
  end
end
T.is(table.concat(errors, "\n"), "", #ERRORS .. " faults are told with their lines")
long[4097] = { 6, 0, 0, 0 }
T.is(line(long), "1 to 4096 instructions are wanted", "4,097 instructions are too many")
table.remove(long, 1)
T.ok(assemble(long), "4,096 are not")

-- Rows are copied, and wrong types raise.
local given = { { 6, 0, 0, -1 } }
local got = assert(assemble(given))
T.is(("%d %d"):format(got[1][4], given[1][4]), "4294967295 -1", "the answer is a copy, its words have no sign")
local function raised(program) return (select(2, pcall(function() local rows = assemble(program) return rows end))) end
local HERE, LINE = debug.getinfo(1, "S").short_src, debug.getinfo(1, "l").currentline - 1
local MESSAGE = ("%s:%d: bad argument #1 to 'assemble' (array of { code, jt, jf, k } expected, got %%s)"):format(HERE, LINE)
T.is(raised { 5 }, MESSAGE:format("number"), "a row that is none raises at the caller's line")
T.is(raised { { 6, 0, 0 } }, MESSAGE:format("nil"), "so does a row that lacks a number")
T.ok(raised { { 6, 0, 0, "5" } }:find "got string", "and a number that is a string")

-- The kernel's judgement on programs with one wrong number, without the checks of the library.
local sock = assert(L.socket.pair(L.SOCK_DGRAM))[1]
local filters = ffi.typeof("$[400]", layout.sock_filter)()
local fprog = layout.sock_fprog()
local function kernel_takes(rows)
  for i, row in ipairs(rows) do
    filters[i - 1].code, filters[i - 1].jt, filters[i - 1].jf, filters[i - 1].k = row[1], row[2], row[3], row[4]
  end
  fprog.len, fprog.filter = #rows, filters
  local done, _, errno = sock:setsockopt(L.SOL_SOCKET, L.SO_ATTACH_FILTER, "bytes", ffi.string(fprog, ffi.sizeof(fprog)))
  assert(done or errno == L.EINVAL)
  return done ~= nil
end

local seed = random.seed()
local draw = random.new(seed)
print("# seed: " .. seed)

local CODES = { 0x02, 0x03, 0x05, 0x06, 0x15, 0x1d, 0x20, 0x34, 0x60, 0x61, 0x64, 0x74, 0x94 }
local function spoil(rows)
  local row, field = rows[draw(#rows)], draw(4)
  if field == 1 then row[1] = draw(2) == 1 and CODES[draw(#CODES)] or draw(300) - 1
  elseif field == 4 then row[4] = draw(4) == 1 and 2^32 - draw(5000) or draw(40) - 1
  else row[field] = draw(60) - 1 end
end

-- A newer kernel may know more extensions than the headers, so that the library leaves those to it.
local function is_newer(rows)
  for _, row in ipairs(rows) do
    if row[4] % 4 == 0 and row[1] % 32 == 0 and row[4] >= 2^32 - 4096 + L.SKF_AD_MAX then return true end
    if row[4] % 4 == 0 and (row[1] == 0x28 or row[1] == 0x30) and row[4] >= 2^32 - 4096 + L.SKF_AD_MAX then return true end
  end
end

local disputed, good, bad = {}, 0, 0
for _ = 1, 10000 do
  local rows = cbpf.program(draw)
  for _ = 1, draw(3) do spoil(rows) end
  local ours, theirs = assemble(rows) ~= nil, kernel_takes(rows)
  if theirs then good = good + 1 else bad = bad + 1 end
  if ours ~= theirs and not (ours and is_newer(rows)) then
    for i, row in ipairs(rows) do rows[i] = table.concat(row, " ") end
    disputed[#disputed + 1] = ("%s: %s"):format(table.concat(rows, ", "), tostring(select(2, assemble(rows))))
  end
end
T.is(disputed[1] or "", "", "of 10,000 programs the kernel and the library refuse the same")
T.ok(good > 2000 and bad > 2000, ("some are good, some are not"):format(good, bad))
print(("# %d good, %d bad"):format(good, bad))
sock:close()
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
