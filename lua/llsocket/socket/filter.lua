-- filter.lua -- the method filter: a program that decides which packets a socket receives; see SO_ATTACH_FILTER in socket(7).
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bpf = require "llsocket.bpf"
local check = require "llsocket.core.check"
local const = require "llsocket.core.const"
local descriptor = require "llsocket.descriptor"
local failed = require("llsocket.core.failure").failed
local layout = require "llsocket.core.layout"
local optionkind = require "llsocket.socket.optionkind"
local programs = require "llsocket.socket.program"
local sockets = require "llsocket.socket.object"
local require, type = require, type

local set = optionkind.set
local EBADF, EINVAL, ENOPROTOOPT, SOL_SOCKET = const.EBADF, const.EINVAL, const.ENOPROTOOPT, const.SOL_SOCKET
local ATTACH, DETACH = const.SO_ATTACH_FILTER, const.SO_DETACH_FILTER
local ATTACH_BPF = const.SO_ATTACH_BPF
local GET = const.SO_GET_FILTER or ATTACH -- Linux: one number for both
local is_there = programs.is_there

---@class llsocket.socket
local Socket = {}

local function attach(sd, rows)
  local fprog, filters = programs.pack(rows)
  local e = set(sd, SOL_SOCKET, ATTACH, fprog, ffi.sizeof(fprog))
  return e, filters -- answered only to keep the array alive until here
end

local function read(sd)
  if not (is_there and GET) then return failed(ENOPROTOOPT) end
  local bytes, err, e = optionkind.KIND.filter.read(sd, SOL_SOCKET, GET)
  if not bytes then return nil, err, e end
  local rows, size, filter = {}, ffi.sizeof(layout.sock_filter), layout.sock_filter()
  for at = 1, #bytes, size do
    ffi.copy(filter, bytes:sub(at, at + size - 1), size)
    rows[#rows + 1] = { filter.code, filter.jt, filter.jf, filter.k }
  end
  return rows[1] and rows or false
end

local one = ffi.new("int[1]", 1)
local function detach(sd) return set(sd, SOL_SOCKET, DETACH, one, 4) end

-- Attaches a program of eBPF, which bpf(2) has made.
local function attach_descriptor(sock, object)
  if not ATTACH_BPF then return failed(sock.sd < 0 and EBADF or ENOPROTOOPT) end
  return require("llsocket.socket.anyoption").methods.setsockopt(sock, SOL_SOCKET, ATTACH_BPF, "descriptor", object)
end

local function attach_classic(sock, source)
  local rows, lines, e = bpf.make(source, 1, "filter")
  if not rows then return nil, lines, e end
  e = attach(sock.sd, rows)
  if e == EINVAL then return bpf.blame(rows, lines) end
  if e then return failed(e) end
  return source
end

local is_descriptor = check.is(descriptor.type)

local function is_program(value)
  local kind = type(value)
  return kind == "string" or kind == "table" or kind == "number" or is_descriptor(value)
end

--- Sets, removes or reads the socket's filter: a program that Linux runs for each packet that arrives.  It answers how many
--- bytes of the packet the socket receives; 0 drops the packet.  A new filter replaces the old one.  Never blocks; allocates.
---@param program? string|integer[][]|integer|llsocket.descriptor|false  classic BPF, as bpf.assemble takes it; the descriptor of
---a program of eBPF, which remains the caller's; false: none.  Left out: reads
---@return string|integer[][]|integer|llsocket.descriptor|false|nil program  as given; read: rows { code, jt, jf, k }, or false
---where there is none
---@return string? err  names the line of a wrong program
---@return integer? errno  EINVAL: a program that Linux does not take; ENOMEM: more than net.core.optmem_max; EPERM: filterlock;
---ENOENT: none to remove; EACCES: reads one of eBPF; EBADF: no such descriptor, and once closed; ENOPROTOOPT
function Socket:filter(program)
  sockets.self(self, "filter")
  if type(program) == "nil" then return read(self.sd) end
  if program == false then
    local e = detach(self.sd)
    if e then return failed(e) end
    return false
  end
  if not is_program(program) then check.bad(1, "filter", "string, table, false, number or descriptor", program) end
  if type(program) == "string" or type(program) == "table" then return attach_classic(self, program) end
  return attach_descriptor(self, program)
end

return { methods = Socket }
