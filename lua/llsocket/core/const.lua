-- const.lua -- C constants under their C names; nil where the platform has none.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local shim = require "llsocket.shim"

ffi.cdef "extern const char llsocket2_consts[];" -- rows of an anonymous struct: a second load may declare it again

local row = ffi.cast(ffi.typeof "struct { const char *name; int64_t value; } *", shim.llsocket2_consts)
local text, number = ffi.string, tonumber

---@type table<string, integer>
local const = {}
local name = row.name
while name ~= nil do
  const[text(name)] = number(row.value)
  row = row + 1
  name = row.name
end

return const
