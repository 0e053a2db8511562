-- nginx.lua DIR NGINX LIBRARIES -- nginx, as one process that serves the files of a folder.
--
-- nginx cannot choose a port: a socket here finds a free one, and is closed.  The client tries until nginx listens there.
local ffi = require "ffi"
local L = require "llsocket"
ffi.cdef [[
int llsocket_bench_setenv(const char *name, const char *value, int over) __asm__("setenv");
int llsocket_bench_execv(const char *path, const char *const argv[]) __asm__("execv");
]]
local dir, nginx, libraries = arg[1], arg[2], arg[3]

local sock = assert(L.socket.new(L.inet.getaddrinfo("127.0.0.1", "0")[1]))
local err = sock:bind()
assert(not err, err)
local port = sock:getsockname():port()
sock:close()

local CONFIGURATION = [[
daemon off;
master_process off;
pid "%s/.pid%d";
error_log /dev/null crit;
events { worker_connections 1024; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  client_body_temp_path "%s/.temp"; proxy_temp_path "%s/.temp"; fastcgi_temp_path "%s/.temp";
  uwsgi_temp_path "%s/.temp"; scgi_temp_path "%s/.temp";
  server { listen 127.0.0.1:%d backlog=4096; root "%s"; }
}
]]
local conf = ("%s/.conf%d"):format(dir, port) -- two may run at a time
local file = assert(io.open(conf, "w"))
file:write(CONFIGURATION:format(dir, port, dir, dir, dir, dir, dir, port, dir))
file:close()
print(port)
io.stdout:flush()
if libraries ~= "" then ffi.C.llsocket_bench_setenv("LD_LIBRARY_PATH", libraries, 1) end
ffi.C.llsocket_bench_execv(nginx, ffi.new("const char *[8]", nginx, "-e", "/dev/null", "-p", dir, "-c", conf))
error("cannot run " .. nginx)
