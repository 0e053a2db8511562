-- steer.lua -- a small classic BPF program that chooses which of the sockets that share a port gets a packet.  See bpf(4) of
-- the BSDs for the language, SO_ATTACH_REUSEPORT_CBPF in socket(7) for its use.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local check = require "llsocket.core.check"
local refused = require("llsocket.core.failure").refused
local sockets = require "llsocket.socket.object"
local set = require("llsocket.socket.optionkind").set
local ipairs, select = ipairs, select

local EINVAL, ENOPROTOOPT, SOL_SOCKET = const.EINVAL, const.ENOPROTOOPT, const.SOL_SOCKET
local ATTACH, DETACH = const.SO_ATTACH_REUSEPORT_CBPF, const.SO_DETACH_REUSEPORT_BPF
local is_there = ATTACH and layout.sock_fprog and layout.sock_filter

---@class llsocket.socket
local Socket = {}

-- Combines an opcode from the names of its parts, as in op("LD", "W", "ABS").
local function op(...)
  local code = 0
  for i = 1, select("#", ...) do code = bit.bor(code, const["BPF_" .. select(i, ...)]) end
  return code
end

-- An instruction is { opcode, k, jt, jf }; k is a number.  The comments below call the accumulator A and the index register X.
local function load_word(offset) return { op("LD", "W", "ABS"), offset } end

-- Sets A to the number of the processor that runs the program, modulo n.
local function by_cpu(n) return { load_word(const.SKF_AD_OFF + const.SKF_AD_CPU), { op("ALU", "MOD", "K"), n } } end

local function append(program, instructions)
  for _, instruction in ipairs(instructions) do program[#program + 1] = instruction end
  return program
end

-- Sets A to the exclusive or of A and the words at these offsets.
local function fold(program, offsets)
  for _, offset in ipairs(offsets) do
    append(program, { { op("MISC", "TAX"), 0 }, load_word(offset), { op("ALU", "XOR", "X"), 0 } })
  end
  return program
end

-- Both ports, as one word, lie behind the IP header.  The IPv4 header tells its own length.
local function by_flow4(net)
  return fold({ { op("LDX", "B", "MSH"), net }, { op("LD", "W", "IND"), net } }, { net + 12 })
end

local function by_flow6(net) return fold({ load_word(net + 40) }, { net + 8, net + 12, net + 16, net + 20 }) end

local GOLDEN = 0x9e3779b1 -- 2^32 over the golden ratio: the upper half of the product depends on every bit

-- Sets A to a number below n, by a hash of the sender's address and of both ports.  Do not use the kernel's own hash: it is 0
-- where neither the network card nor TCP made one.  Do not take the hash modulo n, which would be uneven: Linux gives all ports
-- of connect(2) the same parity, and the lowest bit of a product depends only on the lowest bits of its factors.  So the upper
-- half of the hash is multiplied by n and shifted, which cannot overflow: 65535 * 65535 is below 2^32.
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

-- Answers the kernel's form of a program, and the array that it points at, which the caller must keep.
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
  return e, filters -- answered only to keep the array alive until here
end

local one = ffi.new("int[1]", 1)
local function detach(sd) return set(sd, SOL_SOCKET, DETACH, one, 4) end

--- Sets which of the sockets that share a port gets a datagram or a connection; see SO_ATTACH_REUSEPORT_CBPF in
--- socket(7).  One call on any of them that has reuseport sets it for all, even before the socket is bound; the last call
--- counts.  The sockets are numbered from 0 in the order in which they were bound (UDP) or began to listen (TCP).  Never blocks.
---@param how "cpu"|"hash"|"off"  cpu: by the number of the processor that received the packet, modulo `n`.  hash: by
---the sender's address and the ports, so that a flow stays on one socket.  off: the kernel chooses
---@param n? integer  how many sockets, 1 to 65535; if there are fewer, the kernel chooses in place of the missing ones.
---Required except for off
---@return string? err
---@return integer? errno  EINVAL without reuseport, for another `how` and another `n`; ENOENT: nothing to turn off;
---ENOPROTOOPT where the system has no such option; EBADF once closed
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
