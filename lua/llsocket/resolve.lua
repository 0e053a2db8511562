-- resolve.lua -- how the program looks up names: with getaddrinfo(3), unless it sets another way.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local check = require "llsocket.core.check"
local const = require "llsocket.core.const"
local gai = require "llsocket.gai"
local inet = require "llsocket.inet"
local waiting = require "llsocket.wait"
local error, type = error, type

local EAI_SYSTEM, EINVAL = const.EAI_SYSTEM, const.EINVAL

---@class llsocket.resolve.module
local M = {}

-- Raises for wrong types; answers whether the time is possible.
local function check_all(sec, host, port, socktype, protocol, flag, method)
  local milliseconds = waiting.milliseconds(sec, 1, method)
  check.optional_string(host, 2, method)
  if type(port) ~= "nil" and type(port) ~= "string" and type(port) ~= "number" then
    check.bad(3, method, "string or number", port)
  end
  if type(socktype) ~= "nil" then check.number(socktype, 4, method) end
  if type(protocol) ~= "nil" then check.number(protocol, 5, method) end
  if type(flag) ~= "nil" then check.number(flag, 6, method) end
  return milliseconds ~= nil
end

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
function M.getaddrinfo(sec, host, port, socktype, protocol, flag)
  if not check_all(sec, host, port, socktype, protocol, flag, "getaddrinfo") then return gai.failed(EAI_SYSTEM, EINVAL) end
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

-- A function of the program's that forgets to return would look like an error without a text.
local function answered(arr, err, code, e)
  if type(arr) == "table" then return arr end
  if type(arr) == "nil" and err then
    if type(e) == "nil" then return nil, err, code end
    return nil, err, code, e
  end
  error("the function that resolve.set got answered neither a list nor an error", 0)
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
  if not check_all(sec, host, port, socktype, protocol, flag, "resolve") then return gai.failed(EAI_SYSTEM, EINVAL) end
  return answered(current(sec, host, port, socktype, protocol, flag))
end

return M
