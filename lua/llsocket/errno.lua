-- errno.lua -- error numbers as names and texts.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local check = require "llsocket.core.check"
local failure = require "llsocket.core.failure"

---@class llsocket.errno.module
local M = {}

--- Tells the text of an error number; see strerror(3).
---@param e integer  errno
---@return string? text  "Unknown error 12345" for a number that this system does not use; nil for a number that is not an
---integer
function M.text(e)
  return check.int(e, 1, "text") and failure.texts[e] or nil
end

--- Tells the name of an error number, as errno(3) spells it.
---@param e integer  errno
---@return string? name  `"ECONNREFUSED"`; nil for a number that this system does not use
function M.name(e)
  check.number(e, 1, "name")
  return failure.names[e]
end

return M
