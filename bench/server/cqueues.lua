-- cqueues.lua -- the echo server over lua-cqueues.
local cqueues = require "cqueues"
local socket = require "cqueues.socket"

local listener = assert(socket.listen { host = "127.0.0.1", port = 0 })
assert(listener:listen())
print((select(3, listener:localname())))
io.stdout:flush()

local loop, open = cqueues.new(), 0

local function echo(sock)
  sock:setmode("bn", "bn")
  for message in sock:lines(-4096) do sock:write(message) end
  sock:close()
  open = open - 1
  if open == 0 then os.exit(0, true) end
end

loop:wrap(function()
  for sock in listener:clients() do
    open = open + 1
    loop:wrap(echo, sock)
  end
end)
assert(loop:loop())
