-- const.lua -- C constants under their C names; nil where the platform has none.
local ffi = require "ffi"
local shim = require "llsocket.shim"

ffi.cdef "extern const char llsocket1_consts[];" -- rows of an anonymous struct: a second load may declare it again

---@type table<string, integer>
local const, i = {}, 0
local row = ffi.cast(ffi.typeof "struct { const char *name; int64_t value; } *", shim.llsocket1_consts)
while row[i].name ~= nil do
  const[ffi.string(row[i].name)] = tonumber(row[i].value)
  i = i + 1
end

return const
