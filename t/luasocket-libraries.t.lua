-- luasocket-libraries: LuaSocket's own http, smtp and ftp, LuaSec's https, lua-redis, lua-xmlrpc, lua-soap and Copas run over
-- the face unchanged: they answer what they answer over LuaSocket, and a hundred of each at once wait in one loop.
local T = require "tap"
if not pcall(require, "socket.core") then
  T.plan(1).skip(1, "lua-socket is not installed")
  return T.done()
end
local stream = require "llsocket.stream"
local example = require "example"
local leak = require "leak"
local net = require "net"
local nginx = require "nginx"
local proc = require "proc"
local shell = require "shell"
local folder = os.getenv "LLSOCKET_SOURCE" .. "/t/luasocket/"
package.path = folder .. "?.lua;" .. package.path
local servers = require "servers"

local ONE = { "http", "post", "nginx", "https", "https_body", "smtp", "ftp", "ftp_put", "xmlrpc", "soap", "redis", "redis_unix" }
local MANY = { "http", "post", "nginx", "https", "smtp", "ftp", "xmlrpc", "soap", "redis_wait" }
T.plan(#ONE * 2 + #MANY + 4)
local before = leak.count()
local dir, given, missing = net.tmpdir(), {}, {}
os.execute("chmod 755 " .. dir)

-- A certificate for HTTPS.
local function certificate()
  if not pcall(require, "ssl") then return "LuaSec is missing" end
  if not example.has "openssl" then return "openssl is missing" end
  proc.run(shell.format("cd %q && openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 "
    .. "-subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1", dir))
  given.cert = dir .. "/cert.pem"
end

-- Starts redis-server; answers the function that ends it.
local function redis()
  if not example.has "redis-server" then return nil, "redis-server is missing" end
  local port, path = net.free_port(), dir .. "/redis.sock"
  local command = "exec redis-server --port %d --bind 127.0.0.1 --unixsocket %q --dir %q --save '' 2>&1"
  local pipe = assert(io.popen(shell.format(command, port, path, dir)))
  net.await(function() return stream.connect(path, nil, 1) end):close()
  given.redis, given.redispath = port, path
  return function()
    local s = assert(stream.connect(path, nil, 5))
    s:write "SHUTDOWN NOSAVE\r\n"
    s:all()
    s:close()
    pipe:read "*a"
    pipe:close()
  end
end

local CONF = [[
master_process off; error_log stderr error;
events { worker_connections 300; }
http {
  ]] .. nginx.HTTP .. [[
  lua_shared_dict crowd 100k;
  server {
    listen unix:DIR/socket; listen 127.0.0.1:PORT;
    location / { root DIR/www; }
    location /hundred {
      content_by_lua_block {
        local n = ngx.shared.crowd:incr("n", 1, 0)
        while ngx.shared.crowd:get "n" < 100 do ngx.sleep(0.01) end
        ngx.print "all are here"
      }
    }
  }
}
]]

-- Where the packages are that were unpacked.
local function environment()
  if missing.packages then return "" end
  local lua, path = nginx.prefix .. "/usr/share/lua/5.1/", os.getenv "LUA_PATH" or ";;"
  path = ("%s;%s?.lua;%s?/init.lua"):format(path, lua, lua)
  return shell.format("LUA_PATH=%q LUA_CPATH=\"$(echo %q/usr/lib/*-linux-*)/lua/5.1/?.so;\"%q", path, nginx.prefix,
    os.getenv "LUA_CPATH" or ";;")
end

-- The lines that clients.lua prints, by name.
local function clients(mode)
  local flags, script = jit.status() and "" or "-joff", folder .. "clients.lua"
  local words = { environment(), shell.format("%q %s %q %q", proc.luajit, flags, script, mode) }
  for name, value in pairs(given) do words[#words + 1] = shell.format("%q", name .. "=" .. value) end
  local text = proc.run(table.concat(words, " "))
  local lines = {}
  for name, line in text:gmatch "([%w_]+): ([^\n]*)" do lines[name] = line end
  if not next(lines) then print("# " .. text:gsub("\n", "\n# ")) end
  return lines
end

-- What a library needs that this machine lacks.
local LACKS = {
  https = "https", https_body = "https", nginx = "nginx", redis = "redis", redis_unix = "redis", redis_wait = "redis",
  xmlrpc = "packages", soap = "packages",
}

local EXPECTED = {
  http = "100 times 200 test /hundred  0123456789 30010", post = "100 times 1 200 30020", nginx = "100 times 200 12 all are here",
  https = "100 times 1 200", smtp = "100 times 1", ftp = "100 times 9500 content of hundred content of ",
  xmlrpc = "100 times true ask hundred", soap = "100 times urn:test askResponse hundred", redis_wait = "100 times queue",
}

local function compare(real, face, many)
  for _, name in ipairs(ONE) do
    local why = missing[LACKS[name]]
    if why then
      T.skip(2, why)
    else
      T.ok(real[name] and not real[name]:find "^error", name .. " answers over LuaSocket: " .. tostring(real[name]))
      T.is(face[name], real[name], name .. " answers the same over the face")
    end
  end
  for _, name in ipairs(MANY) do
    local why = missing[LACKS[name]]
    if why then T.skip(1, why) else T.is(many[name], EXPECTED[name], name .. ": a hundred wait at once") end
  end
  T.is(many.descriptors, "0", "and leave no descriptor")
end

local function copas()
  if not pcall(require, "copas") then return T.skip(2, "Copas is missing") end
  T.is(clients("copas real").copas, "100 100", "Copas serves and asks a hundred over LuaSocket")
  T.is(clients("copas face").copas, "100 100", "and over the face")
end

-- Debian's packages that are not installed here are unpacked.
missing.packages = nginx.missing "lua-redis lua-xmlrpc lua-expat lua-soap"
missing.redis = missing.packages
if not missing.packages then given.xmlrpc = "yes" end

missing.https = certificate()
local stop = nil
if not missing.redis then stop, missing.redis = redis() end

local listeners, ports = servers.listen()
for name, port in pairs(ports) do given[name] = port end
if missing.https then given.https = nil end
local pid = proc.fork(function()
  proc.signal(proc.SIGPIPE, proc.SIG_IGN)
  servers.run(listeners, given.cert and {
    mode = "server", protocol = "any", certificate = dir .. "/cert.pem", key = dir .. "/key.pem",
  })
end)
for _, listener in pairs(listeners) do listener:close() end

local function all()
  compare(clients "real", clients "face", clients "many")
  copas()
end

missing.nginx = nginx.missing()
if missing.nginx then
  all()
else
  given.nginx = net.free_port()
  nginx.guard(function()
    os.execute("mkdir " .. dir .. "/www && chmod 755 " .. dir .. "/www")
    nginx.write(dir .. "/www/one", ("0123456789abcdef"):rep(2^14) .. "the end")
    local server = nginx.start((CONF:gsub("PORT", given.nginx)), dir)
    all()
    nginx.stop(server)
  end)
end
proc.kill(pid, proc.SIGKILL)
proc.wait(pid)
if stop then stop() end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
