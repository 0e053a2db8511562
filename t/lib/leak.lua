-- leak.lua -- counts this process's descriptors, in the process: a popen'd `ls` would sometimes see its own pipe.
local shim = require "llsocket.shim"

local F_GETFD, TOP = 1, 4096 -- F_GETFD is 1 everywhere

local function walk(top)
  collectgarbage(); collectgarbage()
  local set, n = {}, 0
  for fd = 0, top or TOP do
    if shim.llsocket2_fcntl(fd, F_GETFD, 0) >= 0 then set[fd], n = true, n + 1 end
  end
  return set, n
end

local first, least

-- Up to `top`, for a test that has more than usual.
--
-- A trace keeps the closures that it calls, and so the sockets that these hold, for as long as the code lives in which it began:
-- which traces there are depends on chance, and a socket that only a trace holds is not lost.  So where more is open than at
-- first, all traces are thrown away, and what they alone held is collected.
local function open(top)
  local set, n = walk(top)
  if first and n > least and pcall(jit.flush) then set, n = walk(top) end
  return set, n
end

local function count(top)
  local set, n = open(top)
  if not first then first, least = set, n end
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
