-- nginx-hostile: inside nginx, too, a client of llsocket ends in time whatever the server does, while nginx serves others; and
-- nginx has its descriptors back.
local askers = require "askers"
local hostile = require "hostile"
local leak = require "leak"
local net = require "net"
local nginx = require "nginx"
local proc = require "proc"
local before = leak.count()
local T = require("tap").plan(#askers.FACES * (#hostile.WAYS + 1) + 4)

local CONF = [[
master_process off; error_log stderr error;
events { worker_connections 300; }
http {
  ]] .. nginx.HTTP .. [[
  lua_package_path "SOURCE/t/lib/?.lua;;";
  init_by_lua_block { askers = require "askers" }
  server {
    listen unix:DIR/socket;
    location / { content_by_lua_block { ngx.print "here" } }
    location /ask {
      content_by_lua_block {
        require("llsocket").wait.set(require("llsocket.wait.nginx").wait)
        local arg = ngx.req.get_uri_args()
        local body, err = askers[arg.kind][arg.face](tonumber(arg.port), tonumber(arg.sec))
        ngx.print(body and "body " .. body or "error " .. tostring(err))
      }
    }
  }
}
]]

local ports, stop = hostile.start()

-- Asks nginx to ask a server; answers as a client does.
local function through(server, kind, face)
  return function(port, sec)
    local text = nginx.get(server, ("/ask?kind=%s&face=%s&port=%d&sec=%g"):format(kind, face, port, sec))
    return text:match "^body (.*)$", text:match "^error (.*)$"
  end
end

local function descriptors(server) return tonumber((proc.run(("ls /proc/%d/fd | wc -l"):format(server.pid)))) end

-- All at once; others are served meanwhile.
local function ask_all(server, cases)
  local pids, slowest = {}, 0
  for i, case in ipairs(cases) do
    pids[i] = proc.fork(function()
      local fault = hostile.judge(through(server, case.kind, case.face), case.port, case.is_good)
      if fault then print("# " .. case.title .. ": " .. fault) end
      return fault and 1 or 0
    end)
  end
  for _ = 1, 10 do
    local start = require("sys").clock()
    assert(nginx.get(server, "/") == "here")
    slowest = math.max(slowest, require("sys").clock() - start)
  end
  for i, case in ipairs(cases) do T.is(proc.wait(pids[i]), 0, case.title) end
  return slowest
end

local function exercise()
  local server = nginx.start((CONF:gsub("SOURCE", (os.getenv "LLSOCKET_SOURCE"))))
  nginx.get(server, ("/ask?kind=CLIENTS&face=stream&port=%d&sec=10"):format(ports["serves well"]))
  local fds, cases = descriptors(server), {}
  for _, face in ipairs(askers.FACES) do
    for i, case in ipairs(hostile.cases(ports, face)) do
      case.face, case.kind = face, i == 1 and "SENDERS" or "CLIENTS"
      cases[#cases + 1] = case
    end
  end
  local slowest = ask_all(server, cases)
  T.ok(slowest < 5, ("meanwhile others are served, the slowest in %.2f s"):format(slowest))
  net.await(function() return descriptors(server) <= fds + 2 end)
  T.ok(true, "nginx has its descriptors back")
  nginx.stop(server, 3)
  local errors = nginx.errors(server)
  T.is(errors:match "[^\n]*traceback[^\n]*" or errors:match "[^\n]*%[alert%][^\n]*", nil, "no error of Lua is logged")
end

local why = nginx.missing()
if why then T.skip(#askers.FACES * (#hostile.WAYS + 1) + 3, why) else nginx.guard(exercise) end
stop()
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
