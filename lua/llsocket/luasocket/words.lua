-- words.lua -- LuaSocket's words for the numbers of errors.  Programs compare them: "timeout", "closed", "connection refused".
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local const = require "llsocket.core.const"
local gai = require "llsocket.gai"
local texts = require("llsocket.core.failure").texts
local pairs = pairs

local WORDS = {
  [const.EADDRINUSE] = "address already in use", [const.EISCONN] = "already connected", [const.EACCES] = "permission denied",
  [const.ECONNREFUSED] = "connection refused", [const.ECONNABORTED] = "closed", [const.ECONNRESET] = "closed",
  [const.EPIPE] = "closed", [const.ETIMEDOUT] = "timeout",
}

-- By the name of the constant, because not every system has all of them.
local NAMES = {
  EAI_AGAIN = "temporary failure in name resolution", EAI_BADFLAGS = "invalid value for ai_flags",
  EAI_FAIL = "non-recoverable failure in name resolution", EAI_FAMILY = "ai_family not supported",
  EAI_MEMORY = "memory allocation failure", EAI_NONAME = "host or service not provided, or not known",
  EAI_OVERFLOW = "argument buffer overflow", EAI_SERVICE = "service not supported for socket type",
  EAI_SOCKTYPE = "ai_socktype not supported",
}
local GAI = {}
for name, word in pairs(NAMES) do
  if const[name] then GAI[const[name]] = word end
end

local M = {}

--- Tells the word for an errno.
---@param e integer
---@return string
function M.of(e) return WORDS[e] or texts[e] end

--- Tells the word for an error of the resolver.
---@param code integer  EAI_*
---@param e? integer  the errno after EAI_SYSTEM
---@return string
function M.resolver(code, e)
  if e then return M.of(e) end
  return GAI[code] or gai.text(code)
end

return M
