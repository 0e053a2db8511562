-- gai.lua -- the texts of the resolver's error numbers.  They need their own table, because the numbers overlap with errno's.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local C = require "llsocket.core.libc"
local check = require "llsocket.core.check"
local const = require "llsocket.core.const"
local errno = require "llsocket.errno"

local EAI_SYSTEM = const.EAI_SYSTEM

local NONE = 2^31 - 1 -- no system has an error with this number

-- texts[code]: the text of an error.  Other numbers are not kept, or a program could fill the table with them.
local texts = setmetatable({}, { __index = function(self, code)
  local text = ffi.string(C.llsocket2_gai_strerror(code))
  if text ~= ffi.string(C.llsocket2_gai_strerror(NONE)) then self[code] = text end
  return text
end })

---@class llsocket.gai.module
local M = {}

--- Tells the text of a resolver error; see gai_strerror(3).
---@param code integer  EAI_*
---@return string? text  "Unknown error" for an integer that is not an error; nil for any other number
function M.text(code)
  return check.int(code, 1, "text") and texts[code] or nil
end

--- Answers as a failed resolver call must: `nil, err, EAI_*`, and after them the errno if the code is EAI_SYSTEM.
---@param code integer  EAI_*
---@param e? integer  errno, used only when code is EAI_SYSTEM
---@return nil
---@return string err
---@return integer code
---@return integer? errno
function M.failed(code, e)
  if code == EAI_SYSTEM then return nil, errno.text(e), code, e end
  return nil, texts[code], code
end

return M
