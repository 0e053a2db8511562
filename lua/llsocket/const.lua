-- const.lua -- C constants under their C names; nil where the platform has none.
local ffi = require "ffi"
local shim = require "llsocket.shim"

ffi.cdef "extern const char llsocket2_consts[];" -- rows of an anonymous struct: a second load may declare it again

local rows = ffi.cast(ffi.typeof "struct { const char *name; int64_t value; } *", shim.llsocket2_consts)
local text, number = ffi.string, tonumber

---@type table<string, integer>
local const, i = {}, 0
local row = rows[0]
while row.name ~= nil do
  const[text(row.name)] = number(row.value)
  i = i + 1
  row = rows[i]
end

return const
