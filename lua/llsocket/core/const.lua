-- const.lua -- the C constants under their C names.  A constant that the platform does not have is nil.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local shim = require "llsocket.shim"
local package, require = package, require

-- A table that has room at once: growing to 2,048 names cost 0.29 of 15 million instructions.  LuaJIT's table.new puts itself
-- into the program's table library, so take it out again.
local function roomy()
  local loaded = package.loaded
  local library, known = loaded.table, loaded["table.new"]
  if not library then return {} end
  local before = library.new
  local new = require "table.new"
  loaded["table.new"], library.new = known, before
  return new(0, 1025)
end

local row = ffi.cast(ffi.typeof "struct { const char *name; int64_t value; } *", shim.llsocket2_consts)
local text, number = ffi.string, tonumber

-- The public table is this one; an editor has its fields from meta.lua.
---@class llsocket
local const = roomy()
local name = row.name
while name ~= nil do
  const[text(name)] = number(row.value)
  row = row + 1
  name = row.name
end

return const
