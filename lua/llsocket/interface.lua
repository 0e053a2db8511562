-- interface.lua -- network interfaces: name to index and back.
package.loaded[...] = nil -- see later.lua
setfenv(1, require "llsocket.later")
local ffi = require "ffi"
local C = require "llsocket.libc"
local shim = require "llsocket.shim"
local const = require "llsocket.const"
local layout = require "llsocket.layout"

ffi.cdef "int llsocket2_ioctl(int fd, uint32_t request, void *arg);"

local errno, ioctl = ffi.errno, shim.llsocket2_ioctl
local ENODEV, ENXIO, ENOENT, EMFILE = const.ENODEV, const.ENXIO, const.ENOENT, const.EMFILE
local IFNAMSIZ, SIOCGIFINDEX, SIOCGIFNAME = const.IFNAMSIZ, const.SIOCGIFINDEX, const.SIOCGIFNAME

local name_t = ffi.typeof "char[64]" -- IFNAMSIZ is 16 everywhere

-- libc opens a socket of its own to ask the kernel by, which fails when no descriptor is left.  Linux answers every
-- socket, so one that is at hand is asked.
local function index_by(sd, ifname)
  local request = layout.ifreq()
  ffi.copy(request.ifr_name, ifname)
  local rc, e = ioctl(sd, SIOCGIFINDEX, request), errno()
  if rc ~= 0 then return nil, e end
  return request.ifr_ifindex
end

local function name_by(sd, index)
  local request = layout.ifreq()
  request.ifr_ifindex = index
  local rc, e = ioctl(sd, SIOCGIFNAME, request), errno()
  if rc ~= 0 then return nil, e == ENODEV and ENXIO or e end
  return ffi.string(request.ifr_name)
end

local M = {}

--- Tells an interface's index; see if_nametoindex(3).
---@param ifname string
---@param sd? integer  a socket, by which Linux is asked
---@return integer? index
---@return integer? errno  ENODEV, also for a name that the kernel would cut: at a NUL, and at the colon of an alias; EMFILE
function M.index(ifname, sd)
  if #ifname >= IFNAMSIZ or ifname:find "[%z:]" then return nil, ENODEV end
  if sd and SIOCGIFNAME then return index_by(sd, ifname) end
  local index, e = C.llsocket2_if_nametoindex(ifname), errno()
  if index == 0 then return nil, e == ENOENT and EMFILE or e end -- glibc's word for no socket
  return index
end

--- Tells an interface's name; see if_indextoname(3).
---@param index integer
---@param sd? integer  a socket, by which Linux is asked
---@return string? ifname  nil when there is none of that index
---@return integer? errno  ENXIO, EMFILE
function M.name(index, sd)
  if sd and SIOCGIFNAME then return name_by(sd, index) end
  local name = name_t()
  C.llsocket2_if_indextoname(index, name)
  local e = errno()
  if name[0] == 0 then return nil, e == ENOENT and EMFILE or e end
  return ffi.string(name)
end

return M
