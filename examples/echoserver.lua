-- echoserver.lua [PORT [SECONDS]] -- sends every message back to its client, for ten thousand clients at once.
--
-- PORT is 7000 by default; 0 lets the kernel choose.  A client may be silent for SECONDS, 60 by default.
-- Each client is a coroutine, and one poller tells which may run.  Each needs a descriptor: see ulimit -n.
local L = require "llsocket"

local PATIENCE = tonumber(arg[2] or 60)
local poller = assert(L.poll.new())
local tasks, current, now = {}, nil, os.time()
local listener, is_open

-- recvable and sendable wait with this: the coroutine yields to the others until the poller reports its socket.
L.wait.set(function(_, direction, seconds)
  local task = current
  if direction ~= task.direction then
    task.direction = direction
    poller:modify(task.sock, direction)
  end
  task.deadline = now + seconds
  return coroutine.yield()
end)

local function echo(sock)
  while sock:recvable(PATIENCE) do
    local msg, _, again = sock:recv(65536)
    if not (msg or again) then return end -- the end, or a reset
    while msg and msg ~= "" do
      local n, _, more = sock:send(msg)
      if not n or more and not sock:sendable(PATIENCE) then return end
      msg = msg:sub(n + 1)
    end
  end
end

-- If the poller has no memory for the listener, the next round tries again.
local function listen(yes)
  if yes and not is_open then is_open = poller:add(listener, "r") end
  if is_open and not yes then is_open = not poller:remove(listener) end
end

local function advance(task, ...)
  current = task
  local ok, err = coroutine.resume(task.co, ...)
  if not ok then io.stderr:write(debug.traceback(task.co, err), "\n") end
  if coroutine.status(task.co) ~= "dead" then return end
  tasks[task] = nil
  task.sock:close() -- this also removes it from the poller
  listen(true)
end

-- Accepts the clients that wait.  If no descriptor is free, it accepts none until a client leaves.
local function admit()
  while true do
    local sock, _, again = listener:accept(true)
    if not sock then return listen(again) end
    local task = { sock = sock, co = coroutine.create(echo), direction = "r" }
    tasks[task] = poller:add(sock, "r", task)
    if tasks[task] then advance(task, sock) else sock:close() end
  end
end

listener = assert(L.socket.new(assert(L.inet.getaddrinfo("127.0.0.1", arg[1] or "7000"))[1], true))
listener:reuseaddr(true)
local err = listener:bind() or listener:listen()
if err then error(err) end
listen(true)
print("listening on " .. tostring(listener:getsockname()))
io.stdout:flush()
while true do
  for i = 1, poller:wait(1) or 0 do -- nil after a signal
    local task = poller:event(i)
    if task == listener then admit() elseif task then advance(task, true) end
  end
  local late = os.time() > now and os.time()
  for task in pairs(late and tasks or {}) do if task.deadline < late then advance(task, false) end end
  if late then now = late; listen(true) end -- the cause of a failed accept may be over
end
