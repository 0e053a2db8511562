-- activated.lua -- the descriptors that systemd, or who speaks as it does, passed to this process.
package.loaded[...] = nil -- see core/lazy.lua
setfenv(1, require "llsocket.core.lazy")
local C = require "llsocket.core.libc"
local fcntl = require "llsocket.socket.flags"
local wraps = require "llsocket.socket.wrap"
local descriptor = require "llsocket.descriptor"
local ipairs, tonumber = ipairs, tonumber

local getenv = os.getenv

local FIRST = 3 -- the first number after stdin, stdout and stderr, as sd_listen_fds(3) has it
local VARIABLES = { "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID" }

-- A count or a process, which is written in decimal digits and nothing else.
local function number(text) return text and tonumber(text:match "^%d+$") end

local function split(text)
  local names = {}
  for name in text:gmatch "([^:]*):" do names[#names + 1] = name end
  return names
end

-- How many are announced, and their names.  The environment forgets them first: whatever happens then, no second call
-- and no child finds them there.
local function announced()
  local pid, count, names = number(getenv "LISTEN_PID"), number(getenv "LISTEN_FDS"), getenv "LISTEN_FDNAMES"
  for _, variable in ipairs(VARIABLES) do C.llsocket2_unsetenv(variable) end
  if pid ~= C.llsocket2_getpid() or not count then return 0 end
  names = names and split(names .. ":")
  return count, names and #names == count and names or {} -- of a wrong number, none can be told to belong to any
end

-- Whether a number came through exec.  What is close-on-exec cannot have: it was opened since, and is somebody's.
local function is_passed(fd) return fcntl.is_cloexec(fd) == false end

-- The object is there before it owns the number.
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
--- LISTEN_FDNAMES; see sd_listen_fds(3).  A second call answers nothing more.  Never blocks.  Allocates the objects.
---@return table<integer|string, llsocket.socket|llsocket.descriptor> socks  an array, in the order in which they were
---passed; each is also found under its name, where several share one the first.  What is no socket is a descriptor
---@return string[] names  likewise an array; "unknown" where none came
local function activated()
  local count, given = announced()
  local socks, names = {}, {}
  for i = 1, count do
    local fd = FIRST - 1 + i
    if not is_passed(fd) then break end -- the announcement is wrong, and may be any number
    local name = given[i] or "unknown"
    socks[i], names[i] = own(fd), name
    socks[name] = socks[name] or socks[i]
  end
  return socks, names
end

return { activated = activated }
