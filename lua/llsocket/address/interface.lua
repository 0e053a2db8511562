-- interface.lua -- network interfaces: name to index and back, and the zones of IPv6 addresses.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local ffi = require "ffi"
local bit = require "bit"
local C = require "llsocket.core.libc"
local shim = require "llsocket.shim"
local const = require "llsocket.core.const"
local layout = require "llsocket.core.layout"
local shortage = require "llsocket.core.shortage"
local tonumber = tonumber

local errno, ioctl, finalize = ffi.errno, shim.llsocket2_ioctl, shim.llsocket2_finalize
local ENODEV, ENXIO, ENOENT = const.ENODEV, const.ENXIO, const.ENOENT
local IFNAMSIZ, SIOCGIFINDEX, SIOCGIFNAME = const.IFNAMSIZ, const.SIOCGIFINDEX, const.SIOCGIFNAME
local SOCKTYPE = bit.bor(const.SOCK_DGRAM, const.SOCK_CLOEXEC or 0)

-- A socket of any family can ask.  There are several, because a sandbox may refuse some families.
local FAMILIES = { const.AF_UNIX, const.AF_INET, const.AF_INET6 }
local REFUSED = { [const.EAFNOSUPPORT] = true, [const.EACCES] = true, [const.EPERM] = true }

local name_t = ffi.typeof "char[64]" -- IFNAMSIZ is 16 everywhere
local owner_t = ffi.typeof "int[1]"

-- Opens a socket for asking; answers nil, or the errno: the first one, where all families are refused.
local function open(owner)
  local first, e
  for i = 1, #FAMILIES do
    owner[0], e = C.llsocket2_socket(FAMILIES[i], SOCKTYPE, 0), errno()
    if owner[0] >= 0 then return nil end
    if shortage.collected(e) then return open(owner) end
    if not REFUSED[e] then return e end
    first = first or e
  end
  return first
end

-- Asks Linux through the given socket, or else through a new one.  Not through libc's functions: they open a socket, too, and
-- glibc does not tell why that failed.
local function ask(sd, what, request)
  local owner = not sd and ffi.gc(owner_t(-1), finalize)
  local refusal = owner and open(owner)
  if refusal then return refusal end
  local rc, e = ioctl(sd or owner[0], what, request), errno()
  if owner then finalize(owner) end
  if rc ~= 0 then return e end
end

local function index_by(sd, ifname)
  local request = layout.ifreq()
  ffi.copy(request.ifr_name, ifname)
  local e = ask(sd, SIOCGIFINDEX, request)
  if e then return nil, e end
  return request.ifr_ifindex
end

local function name_by(sd, index)
  local request = layout.ifreq()
  request.ifr_ifindex = index
  local e = ask(sd, SIOCGIFNAME, request)
  if e then return nil, e == ENODEV and ENXIO or e end
  return ffi.string(request.ifr_name)
end

-- glibc reports ENOENT where its functions could not open a socket.  Opening one ourselves tells the true reason.
local function reason(e)
  if e ~= ENOENT then return e end
  local owner = ffi.gc(owner_t(-1), finalize)
  local refusal = open(owner)
  finalize(owner)
  return refusal or e
end

local M = {}

--- Tells an interface's index; see if_nametoindex(3).
---@param ifname string
---@param sd? integer  a socket, by which Linux is asked without a new descriptor
---@return integer? index
---@return integer? errno  ENODEV, also for a name that the kernel would cut: at a NUL, and at the colon of an alias; EMFILE
function M.index(ifname, sd)
  if #ifname >= IFNAMSIZ or ifname:find "[%z:]" then return nil, ENODEV end
  if SIOCGIFNAME then return index_by(sd, ifname) end
  local index, e = C.llsocket2_if_nametoindex(ifname), errno()
  if index == 0 then return nil, e == ENXIO and ENODEV or reason(e) end -- ENXIO is the BSDs' word for it
  return index
end

--- Tells an interface's name; see if_indextoname(3).
---@param index integer  0 to 2^32-1
---@param sd? integer  a socket, by which Linux is asked without a new descriptor
---@return string? ifname  nil when there is none of that index
---@return integer? errno  ENXIO, EMFILE
function M.name(index, sd)
  if index == 0 or index >= 2^31 then return nil, ENXIO end
  if SIOCGIFNAME then return name_by(sd, index) end
  local name = name_t()
  local _, e = C.llsocket2_if_indextoname(index, name), errno() -- it is declared void: nothing is boxed
  if name[0] == 0 then return nil, reason(e) end
  return ffi.string(name)
end

--- Reads the zone of an IPv6 address: an interface's name, or else a decimal number.  An interface may be called "7", so
--- names come first; where nobody can be asked, a number is one.
---@param zone string  what stands behind the %
---@param sd? integer  a socket, by which Linux is asked without a new descriptor
---@return integer? index  0 to 2^32-1; a number need not be an interface's
---@return integer? errno  ENODEV, EMFILE
function M.zone(zone, sd)
  local index, e = M.index(zone, sd)
  if index then return index end
  local number = zone:find "^%d+$" and tonumber(zone)
  if not number then return nil, e end
  if number >= 2^32 then return nil, ENODEV end
  return number
end

--- Writes the zone of an IPv6 address so that `zone` reads it back: the interface's name for an address of one link; the
--- number for others, of which other programs' resolvers take no name, unless another interface is called so.
---@param index integer
---@param of_link boolean
---@return string zone
function M.zone_text(index, of_link)
  local number = ("%d"):format(index)
  local other = not of_link and M.index(number) or index
  if not of_link and other == index then return number end
  return M.name(index) or number
end

return M
