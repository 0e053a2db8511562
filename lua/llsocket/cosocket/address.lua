-- address.lua -- what a cosocket connects to: a unix path, an address, a name; in nginx's words where it is none.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local inet = require "llsocket.inet"
local resolve = require "llsocket.resolve"
local unix = require "llsocket.unix"
local waiting = require "llsocket.wait"
local tonumber = tonumber

local now = shim.llsocket2_now
local EAI_NONAME, EAI_SYSTEM, ETIMEDOUT = const.EAI_NONAME, const.EAI_SYSTEM, const.ETIMEDOUT

local M = {}

--- Tells whether a host is a unix path.
---@param host string
---@return boolean
function M.is_path(host) return host:sub(1, 5):lower() == "unix:" end

-- Answers host and port of a text such as "host:80" or "[::1]:80"; nil and a word where it is none.
local function split(text, port)
  local bracketed, rest = text:match "^(%[[^%]]*%])(.*)$"
  local host = bracketed and bracketed:sub(2, -2)
  if text:sub(1, 1) == "[" and not host then return nil, "invalid host" end
  if not host then host, rest = text:match "^([^:]*)(.*)$" end
  if text:find "[/?]" then return nil, "invalid host" end
  if rest ~= "" then
    port = tonumber(rest:match "^:(%d+)$")
    if not port or port < 1 or port > 65535 then
      return nil, bracketed and rest:sub(1, 1) ~= ":" and "invalid host" or "invalid port"
    end
  end
  if host == "" then return nil, "no host" end
  if host:find "%z" then return nil, "invalid host" end
  return host, port, bracketed ~= nil
end

local function refused(text, why) return nil, ('failed to parse host name "%s": %s'):format(text, why) end

-- The words of nginx's resolver.
local function unresolved(host, code, e, is_late)
  if is_late or code == EAI_SYSTEM and e == ETIMEDOUT then
    return nil, host .. " could not be resolved (110: Operation timed out)"
  end
  if code == EAI_NONAME then return nil, host .. " could not be resolved (3: Host not found)" end
  return nil, host .. " could not be resolved (2: Server failure)"
end

local function of_path(text, socktype)
  local path = text:sub(6)
  if path == "" then return refused(text, "no path in the unix domain socket") end
  local list = unix.getaddrinfo(path, socktype)
  if not list then return refused(text, "too long path in the unix domain socket") end
  return list
end

--- Answers the addresses of a host.
---@param text string  "unix:/path", an address, a name; each but the first may have a port
---@param port integer
---@param socktype integer
---@param at? number  until when
---@return llsocket.addrinfo[]? list
---@return string? err
function M.find(text, port, socktype, at)
  if M.is_path(text) then return of_path(text, socktype) end
  local host, number, is_six = split(text, port)
  if not host then return refused(text, number) end
  local list = inet.getaddrinfo(host, number, socktype, nil, const.AI_NUMERICHOST)
  if list then return list end
  if is_six then return refused(text, "invalid IPv6 address") end
  local _, code, e
  list, _, code, e = resolve.resolve(waiting.left(at), text, port, socktype) -- nginx takes no port behind a name
  if list and list[1] then return list end
  return unresolved(text, code or EAI_NONAME, e, at and now() >= at)
end

--- Answers the address to bind to.
---@param text string  numeric
---@param socktype integer
---@return llsocket.addrinfo? ai
function M.own(text, socktype)
  local list = inet.getaddrinfo(text, 0, socktype, nil, const.AI_NUMERICHOST)
  return list and list[1]
end

return M
