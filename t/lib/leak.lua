-- leak.lua -- counts this process's descriptors, in the process: a popen'd `ls` would sometimes see its own pipe.
local shim = require "llsocket.shim"

local F_GETFD, TOP = 1, 4096 -- F_GETFD is 1 everywhere

-- Up to `top`, for a test that has more than usual.
local function open(top)
  collectgarbage(); collectgarbage()
  local set, n = {}, 0
  for fd = 0, top or TOP do
    if shim.llsocket2_fcntl(fd, F_GETFD, 0) >= 0 then set[fd], n = true, n + 1 end
  end
  return set, n
end

local first

local function count(top)
  local set, n = open(top)
  first = first or set
  return n
end

-- What the kernel tells of an open descriptor; of a socket with its line in /proc/net.
local function describe(pid, fd)
  local script = ([[target=$(readlink /proc/%d/fd/%d); inode=${target#socket:[}; inode=${inode%%%%]}; echo "$target"
    [ "$inode" = "$target" ] || grep -w "$inode" /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6 /proc/net/unix]])
  local pipe = io.popen(script:format(pid, fd) .. " 2>/dev/null")
  local text = pipe:read "*a"
  pipe:close()
  return (text:gsub("%s+", " "))
end

-- Prints the descriptors that are open and were not at the first count; t/lib/tap.lua does so where a count is not as wanted.
local function tell(pid)
  for fd in pairs(first and open() or {}) do
    if not first[fd] then print(("# descriptor %d is open, and was not at first: %s"):format(fd, describe(pid, fd))) end
  end
end

return { count = count, tell = tell }
