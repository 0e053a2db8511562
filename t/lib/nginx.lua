-- nginx.lua -- Debian's nginx with its Lua, which t/nginx/ unpacks and runs as an unprivileged user.
local L = require "llsocket"
local net = require "net"
local proc = require "proc"
local shell = require "shell"

local tools = os.getenv "LLSOCKET_SOURCE" .. "/t/nginx/"
local prefix = os.getenv "LLSOCKET_NGINX"
local M = { prefix = prefix }

-- What every http block begins with.
M.HTTP = [[
  access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4;
  scgi_temp_path t5;
]]

local function fetch(dir, packages)
  if not prefix then return "LLSOCKET_NGINX names no folder to unpack nginx in" end
  local out, ok = proc.run(shell.format("%q/fetch %q %s", tools, dir, packages))
  if not ok then return (out:gsub("%s+$", ""):gsub("\n", "; ")) end
end

-- Unpacks nginx, or other packages beside it; answers the reason where they cannot be had, or cannot load the shim.
function M.missing(packages)
  if os.getenv "LLSOCKET_RUN" then return "the shim is of another machine, or another libc, than nginx" end
  return fetch(prefix, packages or "")
end

-- The folder of another package, and of what it needs: apart, for it may bring a LuaJIT of its own.  Nil and the reason
-- where it cannot be had.
function M.package(name)
  local dir = tostring(prefix) .. "/" .. name
  local why = fetch(dir, name)
  return not why and dir or nil, why
end

-- What the shell needs to run a program of such a package.
function M.command(dir, path)
  return shell.format("LD_LIBRARY_PATH=\"$(echo %q/usr/lib/*-linux-*)\" %q/%s", dir, dir, path)
end

function M.write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

-- The text of a file; "" where there is none.
function M.read(path)
  local file = io.open(path)
  local text = file and file:read "*a" or ""
  if file then file:close() end
  return text
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
function M.errors(server) return M.read(server.dir .. "/errors") end

-- Whether the process is there, and no zombie.
function M.is_alive(pid)
  local state = M.read("/proc/" .. pid .. "/stat"):match "%) (%a)"
  return state ~= nil and state ~= "Z"
end

local running = {}

-- Starts nginx in a folder, maybe with variables of the environment; the text of the configuration calls the folder DIR
-- and listens at unix:DIR/socket.
function M.start(conf, dir, environment)
  dir = dir or net.tmpdir()
  M.write(dir .. "/conf", (conf:gsub("DIR", dir)))
  local command = shell.format("echo $$; %s exec %q/serve %q 2>%q/errors", environment or "", tools, dir, dir)
  local pipe = assert(io.popen(command))
  local server = { dir = dir, pipe = pipe, pid = tonumber(pipe:read "*l") }
  running[server.pid] = true
  net.await(function()
    if not M.is_alive(server.pid) then error("nginx: " .. M.errors(server), 0) end
    local sock = M.ask(server, "/")
    return sock and M.body(sock)
  end)
  return server
end

-- Ends nginx; answers what it wrote to stdout.
function M.stop(server, sig)
  running[server.pid] = nil
  proc.kill(server.pid, sig)
  local rest = server.pipe:read "*a"
  server.pipe:close()
  return rest
end

-- Runs fn; an error ends what it started, which would be waited for otherwise before the error is shown.
function M.guard(fn)
  local ok, err = xpcall(fn, debug.traceback)
  if ok then return end
  for pid in pairs(running) do proc.kill(pid) end
  net.cleanup()
  error(err, 0)
end

return M
