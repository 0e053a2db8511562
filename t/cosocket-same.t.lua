-- cosocket-same: scripts show the same under nginx's cosockets, inside nginx, and under llsocket.cosocket, in a loop.
local L = require "llsocket"
local cosocket = require "llsocket.cosocket"
local loop = require "llsocket.wait.coroutine"
local resolve = require "llsocket.resolve"
local leak = require "leak"
local net = require "net"
local nginx = require "nginx"
local proc = require "proc"
local scripted = require "scripted"
local twins = require "twins"
local source = os.getenv "LLSOCKET_SOURCE"
local before = leak.count()

-- Why a script shows something else here.  NEWER: what this library does as lua-nginx-module 0.10.28 does, and the nginx of the
-- machine is older.
local DIFFERENCES = {
  ["arguments that are missing"] = "they are nil: methods with ... would not be compiled safely",
}
local NEWER = {
  ["a pattern of another type"] = "0.10.28 has words of its own for numbers",
  ["another read after the begin of a pattern"] = "0.10.28 does not lose the begin of a pattern any more",
  ["the iterator wants a number"] = "0.10.28 says argument, not arguments",
  ["settimeouts wants three"] = "0.10.28 calls settimeouts by its name",
  ["setkeepalive with a wrong type"] = "0.10.28 checks both arguments before it does anything",
  ["a place behind the end"] = "0.10.28 has PCRE2, which has another number for it",
  ["a datagram socket may be bound"] = "0.10.28 has udpsock:bind",
}

-- What ends nginx with 0.10.28 by a signal, as Debian 13 has it, and so is not run inside it.
local DEADLY = "two writers disturb each other"

local CONF = [[
master_process off; error_log stderr crit;
events { worker_connections 900; }
http {
  ]] .. nginx.HTTP .. [[
  lua_socket_log_errors off; resolver 127.0.0.1:DNSPORT; resolver_timeout 5s;
  server {
    listen unix:DIR/socket;
    location / { content_by_lua_block { ngx.print(ngx.config.ngx_lua_version) } }
    location /run/ { content_by_lua_file DIR/run.lua; }
  }
}
]]

-- Inside nginx: runs a file's scripts, answers what they show.
local RUN = [[
local twins = dofile "SOURCE/t/lib/twins.lua"
local env = loadfile "DIR/env.lua"()
env.ngx, env.spawn = ngx, ngx.thread.spawn
local function answers(done, ...) return ... end
function env.join(thread) return answers(ngx.thread.wait(thread)) end
local scripts = twins.read("SOURCE/t/cosocket/" .. ngx.var.uri:match "^/run/(.*)$")
local without, only = ngx.unescape_uri(ngx.var.arg_without or ""), ngx.unescape_uri(ngx.var.arg_only or "")
env.COUNT = { tonumber(ngx.var.arg_count) or 0 }
for _, script in ipairs(scripts) do
  if script.name ~= without and (only == "" or only == script.name) then
    ngx.print(twins.dump { [script.name] = twins.run_one(script, env) })
    ngx.flush() -- who asks waits for 20 s at most
  end
end
]]

-- The globals of the scripts, as a file.
local function written(names)
  local lines = {}
  for name, value in pairs(names) do lines[#lines + 1] = ("%s = %q"):format(name, tostring(value)) end
  local text = table.concat(lines, ", "):gsub('"(%d+)"', "%1")
  return "return { " .. text .. " }\n"
end

local FILES = { "tcp.txt", "pool.txt", "udp.txt", "ngx.txt" }
local scripts, count = {}, 0
for i, file in ipairs(FILES) do
  scripts[i] = twins.read(source .. "/t/cosocket/" .. file)
  count = count + #scripts[i]
end

-- The names that the servers have.
local function look_up(_, host, port, socktype)
  if not host:find "^here" then return nil, "unknown", L.EAI_NONAME end
  return L.inet.getaddrinfo("127.0.0.1", port, socktype)
end

local function in_loop(run)
  loop.spawn(run)
  loop.run()
end

local T = require("tap").plan(count + 1)

local function compare(dir)
  local names, stop = scripted.start(dir)
  nginx.write(dir .. "/env.lua", written(names))
  nginx.write(dir .. "/run.lua", (RUN:gsub("SOURCE", (source:gsub("%%", "%%%%"))):gsub("DIR", dir)))
  local server = nginx.start(CONF:gsub("DNSPORT", names.DNS), dir)
  names.ngx, names.coroutine, names.COUNT = cosocket.ngx(), cosocket.coroutine, { 0 }
  names.spawn, names.join = loop.spawn, loop.join
  local is_older = tonumber(nginx.get(server, "/")) < 10028
  for name, reason in pairs(is_older and NEWER or {}) do DIFFERENCES[name] = reason end
  local previous, rerun = resolve.set(look_up), 0
  for i, file in ipairs(FILES) do
    local real = twins.parse(nginx.get(server, "/run/" .. file .. (is_older and "" or "?without=" .. DEADLY:gsub(" ", "+"))))
    local face = twins.run(scripts[i], names, in_loop)
    if not (is_older or real[DEADLY]) then real[DEADLY] = face[DEADLY] end
    local function again(script)
      rerun = rerun + 1
      local only = script.name:gsub("%W", function(c) return ("%%%02x"):format(c:byte()) end)
      local uri = ("/run/%s?only=%s&count=%d"):format(file, only, 1000 * rerun) -- pools have other names than in the runs before
      return twins.parse(nginx.get(server, uri))[script.name], twins.run({ script }, names, in_loop)[script.name]
    end
    twins.compare(T, scripts[i], real, face, DIFFERENCES, nil, again)
  end
  resolve.set(previous)
  nginx.stop(server)
  stop()
end

local why = nginx.missing()
if why then
  T.skip(count, why)
else
  cosocket.configure { log_errors = false, log_level = 0 }
  nginx.guard(function()
    local dir = net.tmpdir()
    proc.run("chmod 755 " .. dir)
    compare(dir)
  end)
  net.cleanup()
end
cosocket.sweep()
collectgarbage()
collectgarbage()
T.is(leak.count(), before, "no descriptor is left")
T.done()
