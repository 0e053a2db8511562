-- dns.lua -- the table dns: names and addresses.  Names go through llsocket.resolve; addresses are looked up with
-- getnameinfo(3), which blocks.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local C = require "llsocket.core.libc"
local const = require "llsocket.core.const"
local argument = require "llsocket.luasocket.argument"
local names = require "llsocket.luasocket.names"
local words = require "llsocket.luasocket.words"
local ipairs, type = ipairs, type

local AF_UNSPEC, AF_INET, SOCK_STREAM = const.AF_UNSPEC, const.AF_INET, const.SOCK_STREAM
local EAI_AGAIN, EAI_FAIL, NI_NAMEREQD = const.EAI_AGAIN, const.EAI_FAIL, const.NI_NAMEREQD

-- The texts of libc's older functions, which LuaSocket calls.
local OLDER = { [EAI_AGAIN] = "Host name lookup failure", [EAI_FAIL] = "Unknown server error" }

local function not_found(code, e)
  if e then return nil, words.of(e) end
  return nil, OLDER[code] or "host not found"
end

local function texts(list)
  local out = {}
  for i, ai in ipairs(list) do out[i] = ai:addr() end
  return out
end

-- Answers a host's name and what is known of it, or nil and the word.
local function host_of(address)
  local list = names.numeric(address, nil, SOCK_STREAM, AF_INET, 0)
  if list then
    local ni, _, why, no = list[1]:nameinfo(NI_NAMEREQD)
    if not ni then return not_found(why, no) end
    return ni.host, { name = ni.host, alias = {}, ip = texts(list) }
  end
  local found, _, code, e = names.addresses(address, nil, SOCK_STREAM, AF_INET, const.AI_CANONNAME)
  if not found then return not_found(code, e) end
  local name = found[1]:canonname() or address
  return name, { name = name, alias = {}, ip = texts(found) }
end

local M = {}

--- Tells the IPv4 address of a host.
---@param address string  a name or an address
---@return string? ip
---@return table|string known  { name =, alias = {}, ip = {} }, or the word of an error
function M.toip(address)
  local name, known = host_of(argument.text(address, 1))
  if not name then return nil, known end
  return known.ip[1], known
end

--- Tells the name of a host.
---@param address string  a name or an address
---@return string? name
---@return table|string known  { name =, alias = {}, ip = {} }, or the word of an error
function M.tohostname(address)
  local name, known = host_of(argument.text(address, 1))
  return name, known
end

--- Lists the addresses of a host.
---@param address string
---@return table? list  of { family = "inet" or "inet6", addr = }
---@return string? err
function M.getaddrinfo(address)
  local list, _, code, e = names.addresses(argument.text(address, 1), nil, SOCK_STREAM, AF_UNSPEC, 0)
  if not list then return nil, words.resolver(code, e) end
  local out = {}
  for i, ai in ipairs(list) do out[i] = { family = names.FAMILY[ai:family()], addr = ai:addr() } end
  return out
end

local function optional_text(value, position)
  if type(value) == "nil" then return nil end
  return argument.text(value, position)
end

--- Lists the names of a host's addresses, and the name of a service.
---@param host? string
---@param serv? string
---@return table? list
---@return string? serv_or_err
function M.getnameinfo(host, serv)
  host, serv = optional_text(host, 1), optional_text(serv, 2)
  if not (host or serv) then argument.complain "host and serv cannot be both nil" end
  local list, _, code, e = names.addresses(host, serv, SOCK_STREAM, AF_UNSPEC, 0)
  if not list then return nil, words.resolver(code, e) end
  local out, service = {}, nil
  for i, ai in ipairs(list) do
    local ni = ai:nameinfo()
    out[i] = host and (ni and ni.host or ai:addr()) or nil
    service = ni and ni.serv or service
  end
  if serv then return out, service end
  return out
end

local name_t = ffi.typeof "char[257]"

--- Tells the name of this machine; see gethostname(2).
---@return string? name
---@return string? err
function M.gethostname()
  local cell = name_t()
  local rc, e = C.llsocket2_gethostname(cell, 256), ffi.errno()
  if rc ~= 0 then return nil, words.of(e) end
  return (ffi.string(cell))
end

return M
