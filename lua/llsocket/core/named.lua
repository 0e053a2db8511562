-- named.lua -- a constant by its name, also one of csrc/protocols.def, which core/const.lua does not have.
--
-- Modules must not look for those in the table of constants: it has them only once the program has required "llsocket" itself.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local const = require "llsocket.core.const"
local protocol = require("llsocket.shim").llsocket2_protocol
local rawget = rawget

--- Finds a constant.
---@param name string
---@return number? value  nil where the system has none of that name
local function named(name)
  local value = rawget(const, name)
  if value then return value end
  if name:find("\0", 1, true) then return nil end -- C would read as far as that
  value = protocol(name)
  if value == value then return value end -- NaN: there is none
end

return { named = named }
