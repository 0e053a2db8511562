-- interface.lua -- network interfaces: name to index and back.
local ffi = require "ffi"
local C = require "llsocket.libc"
local const = require "llsocket.const"

local errno = ffi.errno
local ENODEV, IFNAMSIZ = const.ENODEV, const.IFNAMSIZ

local name_t = ffi.typeof "char[64]" -- IFNAMSIZ is 16 everywhere

local M = {}

--- Tells an interface's index; see if_nametoindex(3).
---@param ifname string
---@return integer? index
---@return integer? errno  ENODEV, also for a name that the kernel would cut: at a NUL, and at the colon of an alias
function M.index(ifname)
  if #ifname >= IFNAMSIZ or ifname:find "[%z:]" then return nil, ENODEV end
  local index, e = C.llsocket1_if_nametoindex(ifname), errno()
  if index == 0 then return nil, e end
  return index
end

--- Tells an interface's name; see if_indextoname(3).
---@param index integer
---@return string? ifname  nil when there is none of that index
---@return integer? errno  ENXIO
function M.name(index)
  local name = name_t()
  C.llsocket1_if_indextoname(index, name)
  local e = errno()
  if name[0] == 0 then return nil, e end
  return ffi.string(name)
end

return M
