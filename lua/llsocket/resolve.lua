-- resolve.lua -- how the program looks up names: with getaddrinfo(3), unless it sets another way.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local check = require "llsocket.core.check"
local const = require "llsocket.core.const"
local gai = require "llsocket.gai"
local inet = require "llsocket.inet"
local type = type

local EAI_SYSTEM, EINVAL = const.EAI_SYSTEM, const.EINVAL

---@class llsocket.resolve.module
local M = {}

--- Looks up a name with getaddrinfo(3), which blocks the whole process, whatever the time limit is.
---@param sec number?  not used: getaddrinfo(3) has its own limits, see resolv.conf(5)
---@param host? string
---@param port? string|integer
---@param socktype? integer
---@param protocol? integer
---@param flag? integer  AI_*
---@return llsocket.addrinfo[]? arr
---@return string? err
---@return integer? code  EAI_NONAME, EAI_AGAIN, EAI_SYSTEM
---@return integer? errno  after EAI_SYSTEM only
function M.getaddrinfo(sec, host, port, socktype, protocol, flag) -- luacheck: ignore sec
  return inet.getaddrinfo(host, port, socktype, protocol, flag)
end

local current = M.getaddrinfo

--- Sets the function that looks up names, for the whole program.
---@param fn? function  takes and answers what resolve does; the default is getaddrinfo
---@return function previous
function M.set(fn)
  if type(fn) ~= "nil" and type(fn) ~= "function" then check.bad(1, "set", "function", fn) end
  local previous = current
  current = fn or M.getaddrinfo
  return previous
end

--- Looks up a name in the way that the program has set.
---@param sec number?  seconds, below 2^31; nil is no limit
---@param host? string
---@param port? string|integer
---@param socktype? integer  SOCK_*, 0 for all; the default is SOCK_STREAM unless a protocol is given
---@param protocol? integer  IPPROTO_*; the default is 0, any
---@param flag? integer  AI_*
---@return llsocket.addrinfo[]? arr
---@return string? err
---@return integer? code  EAI_NONAME, EAI_AGAIN, EAI_SYSTEM
---@return integer? errno  after EAI_SYSTEM only: ETIMEDOUT, ECANCELED; EINVAL
function M.resolve(sec, host, port, socktype, protocol, flag)
  if type(sec) ~= "nil" then
    check.number(sec, 1, "resolve")
    if not (sec >= 0 and sec < 2^31) then return gai.failed(EAI_SYSTEM, EINVAL) end
  end
  check.optional_string(host, 2, "resolve")
  if type(port) ~= "nil" and type(port) ~= "string" and type(port) ~= "number" then
    check.bad(3, "resolve", "string or number", port)
  end
  return current(sec, host, port, socktype, protocol, flag)
end

return M
