-- layout.lua -- builds ctypes for C structs from the offsets that the compiler reported.
--
-- The ctypes are anonymous because C names are global to the VM: a second `struct sockaddr_in` from another module would
-- be an error.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local shim = require "llsocket.shim"
local assert, error, ipairs, unpack, concat, sort = assert, error, ipairs, unpack, table.concat, table.sort

local row_t = ffi.typeof "struct { const char *owner, *name, *type; uint32_t offset, size, align; } *"

-- SPELL[type] writes a field's declaration in C.  A field that is itself a struct is written as `$`, see build().
local SPELL = {
  int   = function(f) return ("int%d_t %s;"):format(f.size * 8, f.name) end,
  uint  = function(f) return ("uint%d_t %s;"):format(f.size * 8, f.name) end,
  ptr   = function(f) return ("void *%s;"):format(f.name) end,
  bytes = function(f) return ("uint8_t %s[%d];"):format(f.name, f.size) end,
}

local function by_offset(a, b) return a.offset < b.offset end

local function pad(out, from, to)
  if from < to then out[#out + 1] = ("uint8_t _pad%d[%d];"):format(from, to - from) end
end

local function build(struct, built)
  local out, nested, at = {}, {}, 0
  sort(struct, by_offset)
  for _, f in ipairs(struct) do
    local spell = SPELL[f.type]
    pad(out, at, f.offset)
    if not spell then nested[#nested + 1] = assert(built[f.type], f.type) end
    out[#out + 1] = spell and spell(f) or ("$ %s;"):format(f.name)
    at = f.offset + f.size
  end
  pad(out, at, struct.size)
  local decl = "struct { %s } __attribute__((packed, aligned(%d)))"
  return ffi.typeof(decl:format(concat(out, " "), struct.align), unpack(nested))
end

-- Refuse a ctype that disagrees with the compiler: it would corrupt memory.
local function check(struct, ctype)
  if ffi.sizeof(ctype) ~= struct.size then error(struct.name .. ": wrong size") end
  for _, f in ipairs(struct) do
    if ffi.offsetof(ctype, f.name) ~= f.offset then error(struct.name .. "." .. f.name .. ": wrong offset") end
  end
  return ctype
end

-- starts[name]: first row of each struct seen so far; that row names no field.  row: where the scan stands.
local starts, row = {}, ffi.cast(row_t, shim.llsocket2_fields)

-- Scans forward until the struct is found; answers nil where there is none.  The table begins with the structs that loading
-- needs, because scanning one row costs 4,000 interpreted instructions.
local function find(name)
  while not starts[name] do
    if row.owner == nil then return nil end
    if row.name == nil then starts[ffi.string(row.owner)] = row end
    row = row + 1
  end
  return starts[name]
end

-- Reads the rows of one struct and of its fields.
local function read(at)
  local struct = { name = ffi.string(at.owner), size = at.size, align = at.align }
  at = at + 1
  local name = at.name
  while name ~= nil do
    struct[#struct + 1] = { name = ffi.string(name), type = ffi.string(at.type), offset = at.offset, size = at.size }
    at = at + 1
    name = at.name
  end
  return struct
end

---@type table<string, ffi.ctype*>
local layout = {}
local fields = {} -- the rows of each struct that was built, in the order of their offsets

-- A struct is built on first use: most programs need few, and building one takes as long as reading a file.
setmetatable(layout, { __index = function(_, name)
  local start = find(name)
  if not start then return nil end
  local struct = read(start)
  layout[name], fields[name] = check(struct, build(struct, layout)), struct
  return layout[name]
end })

layout.fields = setmetatable({}, { __index = function(_, name) return layout[name] and fields[name] end })

return layout
