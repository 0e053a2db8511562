-- hostile.lua -- servers that treat their clients badly, each on a port of its own in one child process; and what the clients of
-- askers.lua must answer.
--
-- A server that would go on for ever ends after 1 s or 8 MiB: a client's time limit may be between two arrivals.
local L = require "llsocket"
local askers = require "askers"
local loop = require "llsocket.wait.coroutine"
local stream = require "llsocket.stream"
local proc = require "proc"
local sys = require "sys"

local LONG, MUCH = 1, 2 ^ 23 -- seconds; bytes
local SHORT, AMPLE = 0.3, 10 -- seconds: the limit of a client, and of one that is served well
local HEAD = "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n"

local M = {}

-- Servers --------------------------------------------------------------------------------------------------------------

local function reset(s)
  s.sock:linger(0)
  s.sock:close()
end

-- Says the same again and again.
local function without_end(s, text, pause)
  local stop_at, sent = sys.clock() + LONG, 0
  s:deadline(LONG)
  while sys.clock() < stop_at and sent < MUCH and s:write(text) do
    sent = sent + #text
    if pause then loop.sleep(pause) end
  end
end

--- By way: what a server does with a client; the first is the good one.
M.WAYS = {
  { "serves well", function(s) if s:line() then s:write(HEAD, "hello") end end },
  { "resets at once", reset },
  { "resets in the midst of its answer", function(s)
    s:line()
    s:write "HTTP/1.0 200 OK\r\nContent-Le"
    loop.sleep(0.01)
    reset(s)
  end },
  { "closes in the midst of its answer", function(s) s:write(HEAD, "hel") end },
  { "says a byte each 10 ms", function(s) without_end(s, "x", 0.01) end },
  { "says a line without end", function(s) without_end(s, ("x"):rep(65536)) end },
  { "says headers without end", function(s) without_end(s, ("X-More: of these\r\n"):rep(4000)) end },
  { "says noise", function(s) without_end(s, ("\0\255\n\r\27%s"):rep(1000), 0.01) end },
  { "says nothing", function() loop.sleep(LONG) end },
  { "closes half, and says nothing", function(s)
    s:shutdown(L.SHUT_WR)
    loop.sleep(LONG)
  end },
  { "sends urgent bytes", function(s)
    for _ = 1, 20 do
      s.sock:send("!", L.MSG_OOB)
      s.sock:send "x"
      loop.sleep(0.02)
    end
  end },
}

-- Reads nothing.
local function ignore() loop.sleep(LONG + 1) end

--- Starts the servers; answers the port of each way by its name, that of one who never reads as `deaf`, and a function that ends
--- them.
function M.start()
  local listeners, ports = {}, {}
  for _, way in ipairs(M.WAYS) do listeners[way[1]] = assert(stream.listen("127.0.0.1", 0)) end
  listeners.deaf = assert(stream.listen("127.0.0.1", 0))
  listeners.deaf:rcvbuf(4096)
  for name, listener in pairs(listeners) do ports[name] = listener:getsockname():port() end
  local pid = proc.fork(function()
    for _, way in ipairs(M.WAYS) do loop.spawn(stream.serve, listeners[way[1]], way[2]) end
    loop.spawn(stream.serve, listeners.deaf, ignore)
    loop.run()
  end)
  for _, listener in pairs(listeners) do listener:close() end
  return ports, function()
    proc.kill(pid, proc.SIGKILL)
    proc.reap(pid)
  end
end

-- Judgement ------------------------------------------------------------------------------------------------------------

--- Lets a client ask a server; answers what is wrong.
---@param client fun(port: integer, sec: number): string?, string?
---@param port integer
---@param is_good boolean  whether it serves well
---@return string? fault
function M.judge(client, port, is_good)
  local start = sys.clock()
  local called, body, err = pcall(client, port, is_good and AMPLE or SHORT)
  local took = sys.clock() - start
  if not called then return "it raises " .. tostring(body) end
  if is_good and body ~= "hello" then return ("it gets %s, %s"):format(tostring(body), tostring(err)) end
  local is_error = not body and type(err) == "string"
  if not (is_good or is_error) then return ("it answers %s, %s"):format(tostring(body), tostring(err)) end
  if took > LONG + 8 then return ("it takes %.1f s"):format(took) end
end

--- All that can be judged: { title =, client =, port =, is_good = }.
---@param ports table  of start
---@param face string
---@return table[] cases
function M.cases(ports, face)
  local cases = { { title = face .. ", a server that reads nothing", client = askers.SENDERS[face], port = ports.deaf } }
  for i, way in ipairs(M.WAYS) do
    local title = ("%s, a server that %s"):format(face, way[1])
    cases[#cases + 1] = { title = title, client = askers.CLIENTS[face], port = ports[way[1]], is_good = i == 1 }
  end
  return cases
end

return M
