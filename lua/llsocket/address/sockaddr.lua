-- sockaddr.lua -- socket addresses: from bytes to text and back, without a system call.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local ipairs, require, setmetatable, unpack = ipairs, require, setmetatable, unpack
local min, concat, insert = math.min, table.concat, table.insert

local AF_INET, AF_INET6, AF_UNIX = const.AF_INET, const.AF_INET6, const.AF_UNIX
local EINVAL, ENAMETOOLONG = const.EINVAL, const.ENAMETOOLONG

local sizeof, offsetof, copy, find = ffi.sizeof, ffi.offsetof, ffi.copy, string.find
local SIZE = sizeof(layout.sockaddr_storage) -- longer than any address that a kernel writes
-- The BSDs keep the length in the first byte.  Their kernels fill it in for an address that is an argument of a call, but
-- not for one inside another struct.
local HAS_LENGTH = offsetof(layout.sockaddr_storage, "ss_len") ~= nil
local PATH_AT = offsetof(layout.sockaddr_un, "sun_path")
local PATH_MAX = sizeof(layout.sockaddr_un) - PATH_AT

local text_t = ffi.typeof "char[64]"

--- Turns a port from the order that it lies in to host order, or back.
local function in_order(row, n)
  if row.host_order or ffi.abi "be" then return n end
  return (bit.bor(bit.lshift(bit.band(n, 0xff), 8), bit.rshift(n, 8)))
end

-- The text of an in_addr or in6_addr.  The buffer is not shared: making the result may run a finaliser, which may ask for
-- another text.
local function numeric(family, addr)
  local text = text_t()
  C.llsocket2_inet_ntop(family, addr, text, 64)
  return (ffi.string(text))
end

-- Reads text into an in_addr or in6_addr; answers whether it is an address.
local function read_numeric(family, text, addr)
  if find(text, "\0", 1, true) then return false end -- plain, because a pattern would keep this from being compiled
  return C.llsocket2_inet_pton(family, text, addr) == 1
end

local function path_of(name, namelen)
  if namelen <= PATH_AT then return "" end
  local bytes = ffi.string(name.un.sun_path, min(namelen - PATH_AT, SIZE - PATH_AT))
  local ending = bytes:find("\0", 1, true) -- plain, because LuaJIT compiles no pattern
  if not ending or ending == 1 then return bytes end
  return (bytes:sub(1, ending - 1))
end

-- One row for each family that most programs use; families.lua has more.  What a family has no use for is absent.  A
-- platform without the constant or the C struct has no such row.  Fields of C are named, not reached by functions: parsing
-- 14 functions at load took 0.14 of 15 million instructions.
---@class llsocket.family
---@field family? integer  AF_*
---@field struct string  the name of the C struct
---@field member string  the name of the struct inside an address, name.in4
---@field addr? string  the struct's field that has a numeric address, as inet_pton(3) writes it
---@field text? function  where there is no such field: the text of an address, see path_of
---@field port? string  the field that has the port
---@field host_order? boolean  the port lies there in host order
---@field scope? string  the field that has the index of an interface
---@field is_path? boolean  an address has no fixed size, and libc reads it up to a NUL
---@field size? integer  bytes of an address, filled in below; nil where it is a path
---@field show string|function  what tostring answers: a format of addr() and port(), or a function of name and namelen
---@field number? function  where there is no field `port`: the port, of name and namelen
---@field fields? function  what ai:fields() answers, of name and namelen; see values.lua
local ROWS = {
  { family = AF_INET, struct = "sockaddr_in", member = "in4", addr = "sin_addr", port = "sin_port", show = "%s:%d" },
  { family = AF_INET6, struct = "sockaddr_in6", member = "in6", addr = "sin6_addr", port = "sin6_port",
    scope = "sin6_scope_id", show = "[%s]:%d" },
  { family = AF_UNIX, struct = "sockaddr_un", member = "un", text = path_of, is_path = true, show = "unix:%s" },
}

local NONE = {} -- the row of all other families

-- Looks for the row of a family in families.lua.
local function late_row(families, family)
  local row = require("llsocket.address.families").rows[family]
  if not row then return NONE end
  families[family] = row
  return row
end

---@type table<integer, llsocket.family>  by AF_*
local families = setmetatable({}, { __index = late_row })
for family = 0, 63 do families[family] = NONE end -- an array is read faster than a hash
families[const.AF_NETLINK or 64], families[const.AF_PACKET or 64], families[const.AF_VSOCK or 64] = nil, nil, nil

-- One address of any family.
local function make_type()
  local members, structs = {}, {}
  for _, row in ipairs(ROWS) do
    local struct = row.family and layout[row.struct]
    if struct then
      families[row.family], row.size = row, not row.is_path and sizeof(struct) or nil
      insert(members, "$ " .. row.member .. ";")
      insert(structs, struct)
    end
  end
  return ffi.typeof("union { $ any; " .. concat(members) .. " }", layout.sockaddr_storage, unpack(structs))
end

local name_t = make_type()
local M = { type = name_t, SIZE = SIZE, families = families }

--- Writes a numeric IPv4 or IPv6 address from text, without port; see inet_pton(3).
---@param name ffi.cdata*  of the type of this module
---@param family integer  AF_INET, AF_INET6
---@param text string
---@param port? integer  0 to 65535; the default is to leave it as it is
---@return integer? namelen  nil when `text` is no address of `family`
function M.from_text(name, family, text, port)
  name.any.ss_family = family
  local row = families[family]
  if not read_numeric(family, text, name[row.member][row.addr]) then return nil end
  if port then name[row.member][row.port] = in_order(row, port) end
  if HAS_LENGTH then name.any.ss_len = row.size end
  return row.size
end

--- Writes the address of a unix socket; see unix(7).  The length is exact: no byte is padded.
---@param name ffi.cdata*  of the type of this module
---@param path string  "" is autobind, a leading NUL an abstract name
---@return integer? namelen
---@return integer? errno  ENAMETOOLONG, EINVAL for a NUL inside
function M.from_path(name, path)
  if #path > PATH_MAX then return nil, ENAMETOOLONG end
  if (find(path, "\0", 1, true) or 1) > 1 then return nil, EINVAL end
  copy(name.un.sun_path, path, #path)
  local namelen = PATH_AT + #path
  name.any.ss_family = AF_UNIX
  if HAS_LENGTH then name.any.ss_len = namelen end
  return namelen
end

--- Answers the length of an address that the kernel wrote, without the NUL that Linux puts after a path: so an address has
--- one spelling.  Where a path fills sun_path that NUL does not fit, and Linux refuses the length that it told itself.
--- No row decides this: it runs for each message that is received.
---@param name ffi.cdata*
---@param namelen integer
---@param family integer  AF_*
---@return integer namelen
function M.length(name, namelen, family)
  namelen = min(namelen, SIZE)
  if family ~= AF_UNIX or namelen <= PATH_AT or name.un.sun_path[0] == 0 then return namelen end
  if name.un.sun_path[namelen - PATH_AT - 1] == 0 then return namelen - 1 end
  return namelen
end

--- Answers the length of an address that a program made: a path ends at its first NUL, as connect(2) reads it.
---@param name ffi.cdata*
---@param namelen integer
---@param family integer  AF_*
---@return integer? namelen  nil for a path that goes on after a NUL
function M.cut(name, namelen, family)
  if family ~= AF_UNIX or namelen <= PATH_AT or name.un.sun_path[0] == 0 then return namelen end
  local bytes = ffi.string(name.un.sun_path, namelen - PATH_AT)
  if bytes:find "%z+%Z" then return nil end
  return PATH_AT + #bytes:match "^%Z*"
end

--- Tells the numeric address, without scope, or the unix path.
---@param name ffi.cdata*
---@param namelen integer
---@param family integer  AF_*
---@return string? text  nil for other families
function M.text(name, namelen, family)
  local row = families[family]
  if row.addr then return (numeric(family, name[row.member][row.addr])) end
  return row.text and (row.text(name, namelen))
end

--- Tells the port in host order.
---@param name ffi.cdata*
---@param namelen integer
---@param family integer  AF_*
---@return integer? port  nil for families without ports
function M.port(name, namelen, family)
  local row = families[family]
  if row.port then return (in_order(row, name[row.member][row.port])) end
  return row.number and (row.number(name, namelen))
end

--- Tells the IPv6 scope, an interface's index.
---@param name ffi.cdata*
---@param family integer  AF_*
---@return integer index  0 where there is none
function M.scope(name, family)
  local row = families[family]
  return row.scope and name[row.member][row.scope] or 0
end

--- Writes the scope of an IPv6 address; does nothing to others.
---@param name ffi.cdata*
---@param family integer  AF_*
---@param index integer  0 to 2^32-1
function M.set_scope(name, family, index)
  local row = families[family]
  if row.scope then name[row.member][row.scope] = index end
end

--- Answers where the numeric address lies inside a socket address.  The reference does not keep `name` alive.
---@param name ffi.cdata*
---@param family integer  AF_INET or AF_INET6
---@return ffi.cdata* place  an in_addr or in6_addr
function M.place(name, family)
  local row = families[family]
  return name[row.member][row.addr]
end

--- Tells whether an IPv6 address belongs to one link: fe80::/10, or a group of that scope.  Only for these does the resolver
--- take the name of an interface as scope; for others it takes the number alone.
---@param name ffi.cdata*
---@return boolean
function M.is_of_link(name)
  local bytes = name.in6.sin6_addr.s6_addr
  return bytes[0] == 0xfe and bit.band(bytes[1], 0xc0) == 0x80 or bytes[0] == 0xff and bit.band(bytes[1], 0x0f) == 2
end

return M
