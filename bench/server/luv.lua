-- luv.lua -- the echo server over lua-luv.
local uv = require "luv"

local listener = uv.new_tcp()
assert(listener:bind("127.0.0.1", 0))
local open = 0

local function take()
  local sock = uv.new_tcp()
  listener:accept(sock)
  open = open + 1
  sock:read_start(function(_, message)
    if message then return sock:write(message) end
    sock:close()
    open = open - 1
    if open == 0 then listener:close() end
  end)
end

assert(listener:listen(4096, take))
print(listener:getsockname().port)
io.stdout:flush()
uv.run()
