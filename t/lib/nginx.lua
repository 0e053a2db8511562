-- nginx.lua -- Debian's nginx with its Lua, which t/nginx/ unpacks and runs as an unprivileged user.
local L = require "llsocket"
local net = require "net"
local proc = require "proc"

local tools = os.getenv "LLSOCKET_SOURCE" .. "/t/nginx/"
local prefix = os.getenv "LLSOCKET_NGINX"
local M = { prefix = prefix }

-- What every http block begins with.
M.HTTP = [[
  access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
]]

-- Unpacks nginx, or the packages named; answers the reason where they cannot be had.
function M.missing(packages)
  if not prefix then return "LLSOCKET_NGINX names no folder to unpack nginx in" end
  local out, ok = proc.run(("'%s/fetch' '%s' %s"):format(tools, prefix, packages or ""))
  if not ok then return (out:gsub("%s+$", ""):gsub("\n", "; ")) end
end

function M.write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

-- Asks over DIR/socket; answers the socket, or nothing when nobody listens.
function M.ask(server, uri)
  local sock = assert(L.socket.new(L.unix.getaddrinfo(server.dir .. "/socket")[1]))
  if sock:connect() then return sock:close() end
  sock:rcvtimeo(20)
  sock:send(("GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n"):format(uri))
  return sock
end

-- What is answered, without the headers.
function M.body(sock)
  local parts = {}
  for part in function() return sock:recv() end do parts[#parts + 1] = part end
  sock:close()
  return (table.concat(parts):gsub("^.-\r\n\r\n", ""))
end

function M.get(server, uri) return M.body(assert(M.ask(server, uri))) end

-- The error log.
function M.errors(server)
  local file = assert(io.open(server.dir .. "/errors"))
  local text = file:read "*a"
  file:close()
  return text
end

-- Whether the process is there, and no zombie.
function M.is_alive(pid)
  local file = io.open("/proc/" .. pid .. "/stat")
  local state = file and file:read("*a"):match "%) (%a)"
  if file then file:close() end
  return state ~= nil and state ~= "Z"
end

-- Starts nginx in a folder; the text of the configuration calls it DIR and listens at unix:DIR/socket.
function M.start(conf, dir)
  dir = dir or net.tmpdir()
  M.write(dir .. "/conf", (conf:gsub("DIR", dir)))
  local pipe = assert(io.popen(("echo $$; exec '%s/serve' '%s' 2>'%s/errors'"):format(tools, dir, dir)))
  local server = { dir = dir, pipe = pipe, pid = tonumber(pipe:read "*l") }
  net.await(function()
    if not M.is_alive(server.pid) then error("nginx: " .. M.errors(server), 0) end
    local sock = M.ask(server, "/")
    return sock and M.body(sock)
  end)
  return server
end

-- Ends nginx; answers what it wrote to stdout.
function M.stop(server, sig)
  proc.kill(server.pid, sig)
  local rest = server.pipe:read "*a"
  server.pipe:close()
  return rest
end

return M
