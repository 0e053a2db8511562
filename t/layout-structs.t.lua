-- layout: size, alignment, and each field's offset, size and sign equal the output of a C program.
local ffi = require "ffi"
local layout = require "llsocket.core.layout"
local shim = require "llsocket.shim"
local facts = require "facts"
local leak = require "leak"

local total = 0
for _, struct in pairs(facts.structs) do total = total + 2 + #struct.fields * 2 end

local T = require("tap").plan(total + 4)
local before = leak.count()

-- Sets one field to zero in a struct of ones: the bytes that change are the field's.
local function clear(object, name)
  local value = object[name]
  local spelt = type(value) == "cdata" and tostring(ffi.typeof(value)) or "number"
  if spelt:find "[&%[]" then ffi.fill(value, ffi.sizeof(value)) -- a struct or an array
  elseif spelt:find "%*" then object[name] = nil
  else object[name] = 0 end
end

local function extent(ctype, name)
  local object = ctype()
  local bytes = ffi.cast("uint8_t *", object)
  ffi.fill(object, ffi.sizeof(ctype), 0xff)
  clear(object, name)
  local first, last = nil, -1
  for i = 0, ffi.sizeof(ctype) - 1 do
    if bytes[i] == 0 then first, last = first or i, i end
  end
  return first, last - (first or 0) + 1
end

local function is_signed(ctype, name)
  local object = ctype()
  ffi.fill(object, ffi.sizeof(ctype), 0xff)
  local number = tonumber(object[name])
  return number ~= nil and number < 0
end

local function has(ctype, name) return (pcall(function() return ctype()[name] end)) end

local function compare_field(name, field, ctype)
  local offset, size = extent(ctype, field.name)
  T.is(("%s %s"):format(offset, size), ("%d %d"):format(field.offset, field.size),
    ("%s.%s has %d bytes at %d"):format(name, field.name, field.size, field.offset))
  T.is(is_signed(ctype, field.name), field.signed,
    ("%s.%s is %s"):format(name, field.name, field.signed and "signed" or "not signed"))
end

local function compare(name, struct, ctype)
  T.is(ffi.sizeof(ctype), struct.size, ("struct %s has %d bytes"):format(name, struct.size))
  T.is(ffi.alignof(ctype), struct.align, ("struct %s is aligned to %d"):format(name, struct.align))
  for _, field in ipairs(struct.fields) do
    if has(ctype, field.name) then compare_field(name, field, ctype) else
      for _ = 1, 2 do T.ok(false, ("%s.%s is no row of structs.def, or its guard drops it"):format(name, field.name)) end
    end
  end
end

local function lacks(name, struct)
  for _ = 1, 2 + #struct.fields * 2 do T.ok(false, ("struct %s is no row of structs.def, or its guard drops it"):format(name)) end
end

for _, name in ipairs(facts.order) do
  local struct, ctype = facts.structs[name], layout[name]
  if ctype then compare(name, struct, ctype) else lacks(name, struct) end
end

-- The shim's own rows, so that a new one without a line in t/facts.c fails here.
local row_t = ffi.typeof "struct { const char *owner, *name, *type; uint32_t offset, size, align; } *"

local function add_rows(names, fields)
  local row, i = ffi.cast(row_t, fields), 0
  while row[i].owner ~= nil do
    names[#names + 1] = ffi.string(row[i].owner) .. (row[i].name ~= nil and "." .. ffi.string(row[i].name) or "")
    i = i + 1
  end
end

local function rows()
  local names = {}
  add_rows(names, shim.llsocket2_fields)
  table.sort(names)
  return table.concat(names, " ")
end

local function printed()
  local names = {}
  for name, struct in pairs(facts.structs) do
    names[#names + 1] = name
    for _, field in ipairs(struct.fields) do names[#names + 1] = name .. "." .. field.name end
  end
  table.sort(names)
  return table.concat(names, " ")
end

local function built()
  local names = {}
  for name in pairs(layout) do if name ~= "fields" then names[#names + 1] = name end end
  return #names
end

T.same(rows(), printed(), "the C program prints every struct and field of structs.def")
-- A row of another struct would become a field of the one that it stands below, on systems where its #ifdef holds.
local function strays()
  local file = assert(io.open(os.getenv "LLSOCKET_SOURCE" .. "/csrc/structs.def"))
  local struct, out = nil, {}
  for line in file:lines() do
    local kind, owner = line:match "^(%u+) *%(([%w_]+)[,)]"
    if kind == "STRUCT" then struct = owner elseif kind and owner ~= struct then out[#out + 1] = line end
  end
  file:close()
  return table.concat(out, "; "), struct
end

local stray, last = strays()
T.is(stray, last and "", "each row of structs.def stands below its struct")
T.is(built(), #facts.order, "every struct is built, and no other")
T.is(leak.count(), before, "no descriptor is left")
T.done()
