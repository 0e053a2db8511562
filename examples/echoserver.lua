-- echoserver.lua [PORT [SECONDS]] -- sends every message back to its client, for ten thousand clients at once.
--
-- PORT is 7000 by default; 0 lets the kernel choose.  A client may be silent for SECONDS, 60 by default.
-- Each client is a coroutine and needs a descriptor: see ulimit -n.
local stream = require "llsocket.stream"

local PATIENCE = tonumber(arg[2] or 60)

local function echo(s)
  repeat
    s:deadline(PATIENCE)
    local msg = s:some()
  until not (msg and s:write(msg))
end

local listener = assert(stream.listen("127.0.0.1", arg[1] or 7000))
print("listening on " .. tostring(listener:getsockname()))
io.stdout:flush()
stream.serve(listener, echo)
