-- activated.lua -- the descriptors that systemd, or another service manager with the same protocol, passed to this process.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local C = require "llsocket.core.libc"
local fcntl = require "llsocket.socket.flags"
local wraps = require "llsocket.socket.wrap"
local descriptor = require "llsocket.descriptor"
local ipairs, tonumber = ipairs, tonumber

local getenv = os.getenv

local FIRST = 3 -- the first number after stdin, stdout and stderr; see sd_listen_fds(3)
local VARIABLES = { "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID" }

-- Reads a count or a process number, which must be decimal digits only.
local function number(text) return text and tonumber(text:match "^%d+$") end

local function split(text)
  local names = {}
  for name in text:gmatch "([^:]*):" do names[#names + 1] = name end
  return names
end

-- Answers how many descriptors are announced, and their names.  Clear the environment first: even if an error follows, no
-- second call and no child process must find the variables.
local function announced()
  local pid, count, names = number(getenv "LISTEN_PID"), number(getenv "LISTEN_FDS"), getenv "LISTEN_FDNAMES"
  for _, variable in ipairs(VARIABLES) do C.llsocket2_unsetenv(variable) end
  if pid ~= C.llsocket2_getpid() or not count then return 0 end
  names = names and split(names .. ":")
  return count, names and #names == count and names or {} -- if the numbers differ, no name can be assigned
end

-- Whether a descriptor was passed through exec.  One that is close-on-exec was opened later, and belongs to other code.
local function is_passed(fd) return fcntl.is_cloexec(fd) == false end

-- Makes the object first, and then gives it the number to own.
local function own(fd)
  local object = wraps.shell(fd)
  if not object then
    object = descriptor.new()
    fcntl.set_cloexec(fd, true)
  end
  object.sd = fd
  return object
end

--- Takes over the descriptors that the service manager passed, close-on-exec, and clears LISTEN_PID, LISTEN_FDS and
--- LISTEN_FDNAMES; see sd_listen_fds(3).  A second call answers empty tables.  Never blocks.  Allocates the objects.
---@return table<integer|string, llsocket.socket|llsocket.descriptor> socks  an array in the order of passing.  Each object
---also stands under its name; where several share a name, the first stands there.  A non-socket is an llsocket.descriptor
---@return string[] names  an array in the same order; "unknown" where no name was passed
local function activated()
  local count, given = announced()
  local socks, names = {}, {}
  for i = 1, count do
    local fd = FIRST - 1 + i
    if not is_passed(fd) then break end -- the announced count is wrong, and may be very large
    local name = given[i] or "unknown"
    socks[i], names[i] = own(fd), name
    socks[name] = socks[name] or socks[i]
  end
  return socks, names
end

return { activated = activated }
