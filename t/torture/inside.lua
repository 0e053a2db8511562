-- inside.lua -- nginx with the library inside, as a server for t/torture/peers.lua: each request asks a server behind it, by a
-- client of one face, and is answered what that says; or it is examples/openresty before an upstream.
local example = require "example"
local net = require "net"
local nginx = require "nginx"
local proc = require "proc"
local shell = require "shell"

local M = { FACES = { "stream", "cosocket", "sock" }, missing = nginx.missing }

local CONF = [[
master_process off; error_log stderr error;
events { worker_connections CONNECTIONS; }
http {
  ]] .. nginx.HTTP .. [[
  lingering_close off; client_header_timeout 5; send_timeout 5; keepalive_timeout 0;
  init_by_lua_block {
    local L, stream = require "llsocket", require "llsocket.stream"
    local ask = {}
    function ask.stream()
      local s, err = stream.connect("127.0.0.1", BEHIND, 0.5)
      if not s then return nil, err end
      s:deadline(0.5)
      local text
      if s:write "hello" then text, err = s:exactly(5) end
      s:close()
      return text, err
    end
    function ask.cosocket()
      local sock = require("llsocket.cosocket").ngx().socket.tcp()
      sock:settimeout(500)
      local text, err = sock:connect("127.0.0.1", BEHIND)
      if text then text, err = sock:send "hello" end
      if text then text, err = sock:receive(5) end
      sock:close()
      return text, err
    end
    function ask.sock()
      local sock = L.socket.new(L.inet.getaddrinfo("127.0.0.1", BEHIND)[1], true)
      if not sock then return nil end
      sock:connect()
      local text = sock:sendable(0.5) and sock:send "hello" and sock:recvable(0.5) and sock:recv(5)
      sock:close()
      return text
    end
    function answer()
      L.wait.set(require("llsocket.wait.nginx").wait)
      local text = ask.FACE()
      if text ~= "hello" then return ngx.exit(502) end
      ngx.print(text)
    end
  }
  server {
    listen unix:DIR/socket;
    listen 127.0.0.1:PORT;
    location / { content_by_lua_block { answer() } }
    location /big.bin { content_by_lua_block { answer() for _ = 1, 8 do ngx.print(("x"):rep(65536)) ngx.flush(true) end } }
  }
}
]]

--- Starts it; answers { pid =, pipe =, port =, out = the file with its errors }.
---@param face string
---@param behind integer  the port of the server that it asks
---@param descriptors integer  how many it may have
---@return table server
function M.start(face, behind, descriptors)
  local port = net.free_port()
  local values = { FACE = face, BEHIND = behind, PORT = port, CONNECTIONS = descriptors - 20 }
  local server = nginx.start((CONF:gsub("%u+", values)), nil, ("ulimit -n %d;"):format(descriptors))
  server.port, server.out = port, server.dir .. "/errors"
  return server
end

-- The example as it stands, but for its addresses, and that it is one process.
local CHANGES = {
  { "worker_processes 2;", "worker_processes 1; master_process off;" }, { "worker_connections 1024", "worker_connections 236" },
  { "http {", "http {" .. nginx.HTTP .. " lingering_close off; client_header_timeout 5; send_timeout 5;" },
  { "listen 8080", "listen 127.0.0.1:PORT; listen unix:DIR/socket" },
}

--- Starts examples/openresty before an upstream; answers as start does.
---@param behind integer  the upstream's port
---@param descriptors integer
---@return table server
function M.start_example(behind, descriptors)
  local dir, port, from = net.tmpdir(), net.free_port(), example.dir .. "openresty/"
  proc.run(shell.format("cp %q/*.lua %q", from, dir))
  local conf = nginx.read(from .. "nginx.conf")
  for _, change in ipairs(CHANGES) do
    local n
    conf, n = conf:gsub(change[1]:gsub("%p", "%%%0"), (change[2]:gsub("%%", "%%%%")))
    assert(n > 0, change[1] .. " is not there")
  end
  conf = conf:gsub("808[12]", behind):gsub("PORT", port)
  local server = nginx.start(conf, dir, ("ulimit -n %d;"):format(descriptors))
  server.port, server.out = port, dir .. "/errors"
  return server
end

return M
