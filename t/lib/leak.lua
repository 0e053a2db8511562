-- leak.lua -- counts this process's descriptors, in the process: a popen'd `ls` would sometimes see its own pipe.
local shim = require "llsocket.shim"

local F_GETFD, TOP = 1, 4096 -- F_GETFD is 1 everywhere

-- Up to `top`, for a test that has more than usual.
local function count(top)
  collectgarbage(); collectgarbage()
  local n = 0
  for fd = 0, top or TOP do
    if shim.llsocket2_fcntl(fd, F_GETFD, 0) >= 0 then n = n + 1 end
  end
  return n
end

return { count = count }
