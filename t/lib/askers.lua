-- askers.lua -- a client of each face of the library, with a time limit, for servers that t/lib/hostile.lua has.
local stream = require "llsocket.stream"

local REQUEST = "GET / HTTP/1.0\r\n\r\n"

local M = { FACES = { "stream", "luasocket", "cosocket" } }

-- Each answers what the server said in its body, or nil and an error.
M.CLIENTS = {}

function M.CLIENTS.stream(port, sec)
  local s, err = stream.connect("127.0.0.1", port, sec)
  if not s then return nil, err end
  s:deadline(sec)
  local line, body
  line, err = s:write(REQUEST)
  for _ = 1, 100 do
    if line then line, err = s:line(1000) end
    if line == "" then break end
  end
  if line == "" then body, err = s:exactly(5) end
  s:close()
  return body, err or "the end"
end

-- What both faces do alike.
local function ask(sock, port)
  local line, err = sock:connect("127.0.0.1", port)
  if line then line, err = sock:send(REQUEST) end
  for _ = 1, 100 do
    if line then line, err = sock:receive "*l" end
    if line == "" then break end
  end
  local body
  if line == "" then body, err = sock:receive(5) end
  sock:close()
  return body, err or "the end"
end

function M.CLIENTS.luasocket(port, sec)
  local sock = require("llsocket.luasocket").tcp()
  sock:settimeout(sec, "t")
  return ask(sock, port)
end

function M.CLIENTS.cosocket(port, sec)
  local sock = require("llsocket.cosocket").ngx().socket.tcp()
  sock:settimeout(sec * 1000)
  return ask(sock, port)
end

-- Each sends more than the deaf server takes; answers nil and an error.
M.SENDERS = {}
local bulk = ("x"):rep(2 ^ 24)

function M.SENDERS.stream(port, sec)
  local s = assert(stream.connect("127.0.0.1", port, sec))
  s:deadline(sec)
  local done, err = s:write(bulk)
  s:close()
  return done, err
end

function M.SENDERS.luasocket(port, sec)
  local sock = require("llsocket.luasocket").tcp()
  sock:settimeout(sec, "t")
  assert(sock:connect("127.0.0.1", port))
  local done, err = sock:send(bulk)
  sock:close()
  return done, err
end

function M.SENDERS.cosocket(port, sec)
  local sock = require("llsocket.cosocket").ngx().socket.tcp()
  sock:settimeout(sec * 1000)
  assert(sock:connect("127.0.0.1", port))
  local done, err = sock:send(bulk)
  sock:close()
  return done, err
end

return M
