-- const.lua -- the C constants under their C names.  A constant that the platform does not have is nil.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local shim = require "llsocket.shim"

local row = ffi.cast(ffi.typeof "struct { const char *name; int64_t value; } *", shim.llsocket2_consts)
local text, number = ffi.string, tonumber

-- The public table is this one; an editor has its fields from meta.lua.
---@class llsocket
local const = {}
local name = row.name
while name ~= nil do
  const[text(name)] = number(row.value)
  row = row + 1
  name = row.name
end

return const
