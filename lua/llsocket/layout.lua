-- layout.lua -- C structs as ctypes, built from the offsets the compiler reported.
--
-- The ctypes are anonymous: nothing enters the global C namespace, where a second
-- `struct sockaddr_in` from another module would be an error.
local ffi = require "ffi"
local shim = require "llsocket.shim"

ffi.cdef "extern const char llsocket1_fields[], llsocket1_tcpinfo[];"
local row_t = ffi.typeof "struct { const char *owner, *name, *type; uint32_t offset, size, align; } *"

-- How each kind of field is spelled in C.  `$` stands for a struct built earlier.
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
  table.sort(struct, by_offset)
  for _, f in ipairs(struct) do
    local spell = SPELL[f.type]
    pad(out, at, f.offset)
    if not spell then nested[#nested + 1] = assert(built[f.type], f.type) end
    out[#out + 1] = spell and spell(f) or ("$ %s;"):format(f.name)
    at = f.offset + f.size
  end
  pad(out, at, struct.size)
  local decl = "struct { %s } __attribute__((packed, aligned(%d)))"
  return ffi.typeof(decl:format(table.concat(out, " "), struct.align), unpack(nested))
end

-- A ctype that disagrees with the compiler would corrupt memory, so refuse to load.
local function check(struct, ctype)
  assert(ffi.sizeof(ctype) == struct.size, struct.name .. ": wrong size")
  for _, f in ipairs(struct) do
    local field = struct.name .. "." .. f.name
    assert(ffi.offsetof(ctype, f.name) == f.offset, field .. ": wrong offset")
  end
  return ctype
end

local function read_structs(table_of)
  local structs, i = {}, 0
  local rows = ffi.cast(row_t, table_of)
  while rows[i].owner ~= nil do
    local row = rows[i]
    if row.name == nil then
      structs[#structs + 1] = { name = ffi.string(row.owner), size = row.size, align = row.align }
    else
      table.insert(structs[#structs], {
        name = ffi.string(row.name), type = ffi.string(row.type),
        offset = row.offset, size = row.size,
      })
    end
    i = i + 1
  end
  return structs
end

---@type table<string, ffi.ctype*>
local layout = { fields = {} } -- `fields` has each struct's rows, in the order of their offsets

local function add(structs)
  for _, struct in ipairs(structs) do
    layout[struct.name] = check(struct, build(struct, layout))
    layout.fields[struct.name] = struct
  end
end

add(read_structs(shim.llsocket1_fields))
add(read_structs(shim.llsocket1_tcpinfo))

return layout
