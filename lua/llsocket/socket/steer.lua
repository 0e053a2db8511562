-- steer.lua -- which of the sockets that share a port gets what arrives: a little classic BPF program; see bpf(4) of
-- the BSDs for the language, SO_ATTACH_REUSEPORT_CBPF in socket(7) for its use.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local check = require "llsocket.core.check"
local refused = require("llsocket.errno").refused
local sockets = require "llsocket.socket.object"
local set = require("llsocket.socket.optionkind").set
local ipairs, select = ipairs, select

local EINVAL, ENOPROTOOPT, SOL_SOCKET = const.EINVAL, const.ENOPROTOOPT, const.SOL_SOCKET
local ATTACH, DETACH = const.SO_ATTACH_REUSEPORT_CBPF, const.SO_DETACH_REUSEPORT_BPF
local is_there = ATTACH and layout.sock_fprog and layout.sock_filter

---@class llsocket.socket
local Socket = {}

-- The opcode of its parts: op("LD", "W", "ABS").
local function op(...)
  local code = 0
  for i = 1, select("#", ...) do code = bit.bor(code, const["BPF_" .. select(i, ...)]) end
  return code
end

-- Instructions are { opcode, k, jt, jf }: the accumulator is A, the index register X, `k` a number.
local function load_word(offset) return { op("LD", "W", "ABS"), offset } end

-- A is the number of the processor that this runs on, modulo n.
local function by_cpu(n) return { load_word(const.SKF_AD_OFF + const.SKF_AD_CPU), { op("ALU", "MOD", "K"), n } } end

local function append(program, instructions)
  for _, instruction in ipairs(instructions) do program[#program + 1] = instruction end
  return program
end

-- A is the exclusive or of A and the words at these offsets.
local function fold(program, offsets)
  for _, offset in ipairs(offsets) do
    append(program, { { op("MISC", "TAX"), 0 }, load_word(offset), { op("ALU", "XOR", "X"), 0 } })
  end
  return program
end

-- Both ports, as one word, lie behind the IP header; IPv4 says how long that is.
local function by_flow4(net)
  return fold({ { op("LDX", "B", "MSH"), net }, { op("LD", "W", "IND"), net } }, { net + 12 })
end

local function by_flow6(net) return fold({ load_word(net + 40) }, { net + 8, net + 12, net + 16, net + 20 }) end

local GOLDEN = 0x9e3779b1 -- 2^32 over the golden ratio: the upper half of the product depends on every bit

-- A is below n, by a hash of the sender's address and of both ports.  Not the kernel's own, which is 0 where neither the
-- network card nor TCP made one.  The upper half of the hash is scaled, 65535 * 65535 being below 2^32.  Modulo n it would be
-- uneven: Linux draws the ports of connect(2) with one parity, and the lowest bit of a product depends on nothing else.
local function by_hash(n)
  local net = const.SKF_NET_OFF
  local four, six = by_flow4(net), by_flow6(net)
  local program = { { op("LD", "B", "ABS"), net }, { op("ALU", "RSH", "K"), 4 }, { op("JMP", "JEQ", "K"), 4, 0, #four + 1 } }
  append(program, four)
  append(program, { { op("JMP", "JA"), #six } })
  append(program, six)
  return append(program, { { op("ALU", "MUL", "K"), GOLDEN }, { op("ALU", "RSH", "K"), 16 },
    { op("ALU", "MUL", "K"), n }, { op("ALU", "RSH", "K"), 16 } })
end

local MAKE = { cpu = by_cpu, hash = by_hash }

-- The kernel's form of a program, and the array that it points at.
local filters_t = is_there and ffi.typeof("$[32]", layout.sock_filter)
local function assemble(program)
  local filters, fprog = filters_t(), layout.sock_fprog()
  for i, instruction in ipairs(program) do
    local filter = filters[i - 1]
    filter.code, filter.k, filter.jt, filter.jf = instruction[1], instruction[2] % 2^32, instruction[3] or 0, instruction[4] or 0
  end
  fprog.len, fprog.filter = #program, filters
  return fprog, filters
end

local function attach(sd, how, n)
  if not is_there then return ENOPROTOOPT end
  local program = append(MAKE[how](n), { { op("RET", "A"), 0 } })
  local fprog, filters = assemble(program)
  local e = set(sd, SOL_SOCKET, ATTACH, fprog, ffi.sizeof(fprog))
  return e, filters -- the array lives until here
end

local one = ffi.new("int[1]", 1)
local function detach(sd) return set(sd, SOL_SOCKET, DETACH, one, 4) end

--- Sets which of the sockets that share a port gets a datagram or a connection; see SO_ATTACH_REUSEPORT_CBPF in
--- socket(7).  One call for all of them, on any that has reuseport, also before it is bound; the last one counts.  They
--- are numbered from 0 in the order in which they were bound (UDP) or began to listen (TCP).  Never blocks.
---@param how "cpu"|"hash"|"off"  cpu: by the number of the processor that took the packet in, modulo `n`.  hash: by
---the sender's address and the ports, so that a flow stays on one socket.  off: as the kernel likes
---@param n? integer  how many sockets, 1 to 65535; where fewer are there, the kernel chooses for those that are not.
---Needed but for off
---@return string? err
---@return integer? errno  EINVAL without reuseport, for another `how` and another `n`; ENOENT: nothing to turn off;
---ENOPROTOOPT where there is no such thing; EBADF once closed
function Socket:steer(how, n)
  sockets.self(self, "steer")
  check.string(how, 1, "steer")
  local e
  if how == "off" then
    e = detach(self.sd)
  else
    local n_ok = check.int(n, 2, "steer") and n >= 1 and n <= 65535
    e = not (MAKE[how] and n_ok) and EINVAL or attach(self.sd, how, n)
  end
  if e then return refused(e) end
end

return { methods = Socket }
