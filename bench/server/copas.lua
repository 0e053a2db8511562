-- copas.lua -- the echo server over Copas and lua-socket, with a coroutine for each connection.
local socket = require "socket"
local copas = require "copas"

local listener = assert(socket.bind("127.0.0.1", 0, 4096))
local _, port = listener:getsockname()
print(port)
io.stdout:flush()

local receive, send = copas.receivePartial or copas.receivepartial, copas.send
local open = 0

-- As many bytes as there are: a short message is the third value.
local function echo(sock)
  open = open + 1
  repeat
    local message, err, part = receive(sock, 4096)
    message = message or part
    if message and message ~= "" then send(sock, message) end
  until err == "closed"
  sock:close()
  open = open - 1
  if open == 0 then os.exit(0, true) end
end

copas.addserver(listener, echo)
copas.loop()
