-- steer.lua -- a small BPF program that chooses which of the sockets that share a port gets a packet; see
-- SO_ATTACH_REUSEPORT_CBPF in socket(7).
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local check = require "llsocket.core.check"
local const = require "llsocket.core.const"
local refused = require("llsocket.core.failure").refused
local program = require "llsocket.socket.program"
local sockets = require "llsocket.socket.object"
local set = require("llsocket.socket.optionkind").set

local EINVAL, ENOPROTOOPT, SOL_SOCKET = const.EINVAL, const.ENOPROTOOPT, const.SOL_SOCKET
local ATTACH, DETACH = const.SO_ATTACH_REUSEPORT_CBPF, const.SO_DETACH_REUSEPORT_BPF

---@class llsocket.socket
local Socket = {}

-- The programs answer the number of a socket below n, in place of the 1 in each.  By processor:
local CPU = [[
ld #cpu
mod #1
ret a
]]

-- By a hash of the sender's address and of both ports.  Both ports, as one word, lie behind the IP header; the IPv4 header tells
-- its own length.  Do not use the kernel's own hash: it is 0 where neither the network card nor TCP made one.
--
-- 0x9e3779b1 is 2^32 over the golden ratio: the upper half of the product depends on every bit.  Do not take the hash modulo n,
-- which would be uneven: Linux gives all ports of connect(2) the same parity, and the lowest bit of a product depends only on
-- the lowest bits of its factors.  So the upper half of the hash is multiplied by n and shifted, which cannot overflow:
-- 65535 * 65535 is below 2^32.
local HASH = [[
        ldb [SKF_NET_OFF]
        rsh #4
        jne #4, six
        ldxb 4*([SKF_NET_OFF]&0xf)
        ld [x+SKF_NET_OFF]
        tax
        ld [SKF_NET_OFF+12]
        xor x
        ja scale
six:    ld [SKF_NET_OFF+40]
        tax
        ld [SKF_NET_OFF+8]
        xor x
        tax
        ld [SKF_NET_OFF+12]
        xor x
        tax
        ld [SKF_NET_OFF+16]
        xor x
        tax
        ld [SKF_NET_OFF+20]
        xor x
scale:  mul #0x9e3779b1
        rsh #16
        mul #1
        rsh #16
        ret a
]]

-- PROGRAM[how]: the text, and how many instructions after the one that has n.
local PROGRAM = { cpu = { CPU, 1 }, hash = { HASH, 2 } }

-- Both programs are assembled once, on first use: that takes 0.4 million instructions.
local assembled = {}
local function rows_of(how)
  assembled[how] = assembled[how] or program.assemble(PROGRAM[how][1])
  return assembled[how]
end

local function attach(sd, how, n)
  local rows = ATTACH and program.is_there and rows_of(how)
  if not rows then return ENOPROTOOPT end
  local fprog, filters = program.pack(rows)
  filters[#rows - 1 - PROGRAM[how][2]].k = n
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
    e = not (PROGRAM[how] and n_ok) and EINVAL or attach(self.sd, how, n)
  end
  if e then return refused(e) end
end

return { methods = Socket }
