-- cosocket-nginx: inside nginx cosockets of llsocket work in each phase, those that refuse nginx's own among them; and what
-- cosocket.ngx() is there.
local leak = require "leak"
local net = require "net"
local nginx = require "nginx"
local proc = require "proc"
local scripted = require "scripted"
local T = require("tap").plan(16)
local before = leak.count()

local CONF = [[
master_process off; error_log stderr error;
events { worker_connections 300; }
http {
  ]] .. nginx.HTTP .. [[
  lua_shared_dict told 1m;
  init_by_lua_block {
    PORT = SCRIPTED
    -- Connects, asks, answers what came, and what nginx's own says in that phase.
    function ask(program)
      local ngx = require("llsocket.cosocket").ngx()
      local sock = ngx.socket.tcp()
      sock:settimeout(3000)
      local done, err = sock:connect("127.0.0.1", PORT)
      if not done then return err end
      sock:send { program or "wait 0.01|say hello%0A|again", "\n" }
      local line, why = sock:receive()
      sock:setkeepalive(5000)
      return line or why
    end
    function note(phase)
      local has_own, why = pcall(ngx.socket.tcp)
      local said = ask()
      ngx.shared.told:set(phase, said .. (has_own and " allowed" or " refused"))
    end
    note "init"
  }
  init_worker_by_lua_block { note "init_worker" }
  server {
    listen unix:DIR/socket;
    location / { content_by_lua_block { ngx.print "here" } }
    location /all {
      set_by_lua_block $x { note "set" return 1 }
      rewrite_by_lua_block { note "rewrite" }
      access_by_lua_block { note "access" }
      content_by_lua_block { note "content" ngx.timer.at(0, function() note "timer" end) ngx.print "served" ngx.flush(true) }
      header_filter_by_lua_block { note "header_filter" }
      body_filter_by_lua_block { note "body_filter" }
      log_by_lua_block { note "log" }
    }
    location /told { content_by_lua_block { ngx.print(ngx.shared.told:get(ngx.var.arg_phase) or "nothing") } }
    location /table {
      content_by_lua_block {
        local face = require("llsocket.cosocket").ngx()
        local is_other, is_same = face.socket ~= ngx.socket, face.md5 == ngx.md5
        ngx.print(tostring(is_other), " ", tostring(is_same), " ", face.var.uri, " ", face.get_phase())
      }
    }
    location /many {
      content_by_lua_block {
        local threads, right = {}, 0
        local from = require("llsocket.wait.coroutine").now()
        for i = 1, 50 do threads[i] = ngx.thread.spawn(ask, "wait 0.3|say " .. i .. "%0A|again") end
        for i = 1, 50 do
          local done, line = ngx.thread.wait(threads[i])
          if done and line == tostring(i) then right = right + 1 end
        end
        ngx.print(right, " ", require("llsocket.wait.coroutine").now() - from < 3 and "at once" or "one by one")
      }
    }
  }
}
]]

local PHASES = {
  { "init", "refused" }, { "init_worker", "refused" }, { "set", "refused" }, { "rewrite", "allowed" },
  { "access", "allowed" }, { "content", "allowed" }, { "timer", "allowed" }, { "header_filter", "refused" },
  { "body_filter", "refused" }, { "log", "refused" },
}

local function exercise()
  local dir = net.tmpdir()
  proc.run("chmod 755 " .. dir)
  local names, stop = scripted.start(dir)
  local server = nginx.start(CONF:gsub("SCRIPTED", names.PORT), dir)
  T.is(nginx.get(server, "/all"), "served", "a request goes through the phases")
  local function told(phase) return nginx.get(server, "/told?phase=" .. phase) end
  net.await(function() return told "log" ~= "nothing" and told "timer" ~= "nothing" end)
  for _, phase in ipairs(PHASES) do
    local others = phase[2] == "refused" and "where nginx refuses its own" or "where nginx has its own, too"
    T.is(told(phase[1]), "hello " .. phase[2], ("a cosocket of llsocket in %s, %s"):format(phase[1], others))
  end
  T.is(nginx.get(server, "/table"), "true true /table content", "ngx() is nginx's own, but for the sockets")
  T.is(nginx.get(server, "/many"), "50 at once", "fifty light threads wait at once")
  local fds = proc.run(("ls /proc/%d/fd | wc -l"):format(server.pid)):match "%d+"
  for _ = 1, 20 do nginx.get(server, "/all") end
  net.await(function() return math.abs(proc.run(("ls /proc/%d/fd | wc -l"):format(server.pid)):match "%d+" - fds) < 8 end)
  T.ok(true, "twenty more requests take no more descriptors")
  nginx.stop(server, 3)
  local errors = nginx.errors(server)
  T.is(errors:match "[^\n]*%[error%][^\n]*" or errors:match "[^\n]*%[alert%][^\n]*", nil, "no error is logged")
  stop()
end

local why = nginx.missing()
if why then T.skip(15, why) else nginx.guard(exercise) end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
