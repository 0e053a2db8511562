-- nginx-load: a datagram from the log phase of each of 100,000 requests, while nginx is reloaded and its workers die.
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local nginx = require "nginx"
local proc = require "proc"
local shell = require "shell"
local T = require("tap").plan(20)
local before = leak.count()

local STEADY, TURBULENT, RELOADS, KILLS = 20000, 80000, 20, 5
local REQUESTS = STEADY + TURBULENT

local CONF = [[
worker_processes 2; error_log stderr warn;
events { worker_connections 256; }
http {
  ]] .. nginx.HTTP .. [[
  lua_package_path "DIR/?.lua;;";
  lua_shared_dict counts 1m;
  init_worker_by_lua_block { require("logger").open() }
  server {
    listen 127.0.0.1:PORT; listen unix:DIR/socket;
    location /udp { return 200 "udp"; log_by_lua_block { require("logger").log "udp" } }
    location /unix { return 200 "unix"; log_by_lua_block { require("logger").log "unix" } }
    location /counts { content_by_lua_block { require("logger").counts() } }
    location / { return 200 "up"; }
  }
}
]]

-- "tried" is counted before the datagram is sent: a worker that is killed in between has tried and does not know.
local LOGGER = [[
local L = require "llsocket"
local M, socks, counts = {}, {}, ngx.shared.counts

function M.open()
  socks.udp = assert(L.socket.new(L.inet.getaddrinfo("127.0.0.1", "UDPPORT", L.SOCK_DGRAM)[1], true))
  socks.unix = assert(L.socket.new(L.unix.getaddrinfo("DIR/collector", L.SOCK_DGRAM)[1], true))
  for _, sock in pairs(socks) do assert(not sock:connect()) end
end

function M.log(place)
  local msg = ("%s %d %s"):format(place, ngx.worker.pid(), ngx.var.request_id)
  counts:incr(place .. " tried", 1, 0)
  local n, err, again = socks[place]:send(msg)
  counts:incr(place .. (n == #msg and " sent" or again and " dropped" or " failed"), 1, 0)
  if err then ngx.log(ngx.ERR, "llsocket: ", err) end
end

function M.counts()
  for _, key in ipairs(counts:get_keys()) do ngx.say(key, " ", counts:get(key)) end
end

return M
]]

-- wrk knows seconds only, and ends early when it is interrupted, if not by the first SIGINT.
local WRK = [[
local n, places = 0, { "/udp", "/unix" }
function request()
  n = n + 1
  return wrk.format("GET", places[n %% 2 + 1])
end
local answers = 0
function response(status)
  answers = answers + (status == 200 and 1 or 0)
  if answers == %d then io.popen 'kill -INT $PPID; sleep 0.3; kill -INT $PPID' end
end
]]

local server, wrk, port
local udp, unix

-- What arrives: by place how many, and the worker that sent last.
local got = { udp = 0, unix = 0 }
local function collect()
  for _, sock in ipairs { udp, unix } do
    for msg in function() return (sock:recv()) end do
      local place, pid = msg:match "^(%a+) (%d+) %x+$"
      got[place], got.pid = got[place] + 1, tonumber(pid)
    end
  end
  return got.udp + got.unix
end

local function exists(path)
  local file = io.open(path)
  if file then file:close() end
  return file ~= nil
end

-- Runs wrk for n requests, and `meanwhile` whenever something arrived; answers what wrk says.
local function run_wrk(n, meanwhile)
  local dir = server.dir
  nginx.write(dir .. "/wrk.lua", WRK:format(n))
  os.remove(dir .. "/over")
  local command = "( %s -t1 -c24 -d80 -s %q/wrk.lua http://127.0.0.1:%d/ >%q/wrk 2>&1; mv %q/wrk %q/over ) >/dev/null"
  proc.run(shell.format(command .. " 2>&1 &", nginx.command(wrk, "usr/bin/wrk"), dir, port, dir, dir, dir))
  while not exists(dir .. "/over") do
    unix:recvable(0.01)
    collect()
    meanwhile(got.udp)
  end
  collect()
  return (proc.run(shell.format("cat %q/over", dir)))
end

local function answered(text) return tonumber(text:match "(%d+) requests in") or 0 end

-- The living workers, and how many descriptors each has.
local function workers()
  local pids = {}
  for pid in proc.run(("cat /proc/%d/task/%d/children"):format(server.pid, server.pid)):gmatch "%d+" do
    if nginx.is_alive(pid) then pids[#pids + 1] = tonumber(pid) end
  end
  return pids
end

local function descriptors(pid) return select(2, proc.run(("ls /proc/%d/fd"):format(pid)):gsub("%d+", "")) end

-- Waits until only two workers are left and no client; answers their counts of descriptors, which must be equal.
local function settled()
  local pids
  net.await(function()
    collect()
    pids = workers()

    return #pids == 2 and descriptors(pids[1]) == descriptors(pids[2])
  end)
  return descriptors(pids[1]), pids
end

-- Reloads and kills, spread evenly over what arrives.
local function turbulence(start)
  local reloads, kills, killed = 0, 0, nil
  local function one(arrived)
    local part = (arrived - start) / TURBULENT * 2 / 0.8 -- done when four fifths have arrived over UDP
    if reloads < RELOADS and part * (RELOADS + 1) > reloads + 1 then
      reloads = reloads + 1
      proc.kill(server.pid, 1)
    elseif kills < KILLS and part * (KILLS + 1) > kills + 1 and got.pid ~= killed and nginx.is_alive(got.pid) then
      kills, killed = kills + 1, got.pid
      proc.kill(got.pid, proc.SIGKILL)
    end
  end
  return one, function() return reloads, kills end
end

local function counts()
  local out = setmetatable({}, { __index = function() return 0 end })
  for key, n in nginx.get(server, "/counts"):gmatch "(%a+ %a+) (%d+)" do out[key] = tonumber(n) end
  return out
end

-- Datagrams that came too fast for the receiver: the ninth number of SO_MEMINFO.
local function overflowed(sock)
  local bytes = assert(sock:getsockopt(L.SOL_SOCKET, L.SO_MEMINFO, "bytes"))
  return require("ffi").cast("const uint32_t *", bytes)[8]
end

local SEVERE = { error = true, crit = true, alert = true, emerg = true }
local function log_lines()
  local kills, others = 0, {}
  for line in nginx.errors(server):gmatch "[^\n]+" do
    if line:find "%[alert%].*worker process %d+ exited on signal 9" then kills = kills + 1
    elseif SEVERE[line:match "%[(%a+)%]"] then others[#others + 1] = line end
  end
  return kills, table.concat(others, "\n")
end

-- The socket becomes nginx's: so nobody else gets the port in between.  nginx takes it as it is, so it must not block.
local function listen()
  local listener, ai = net.listener(L.AF_INET, true)
  listener:cloexec(false)
  return listener, ai:port()
end

local function start()
  local dir = net.tmpdir()
  local sock, ai = net.bound(L.AF_INET, L.SOCK_DGRAM, true)
  udp = sock
  unix = assert(L.socket.new(L.unix.getaddrinfo(dir .. "/collector", L.SOCK_DGRAM)[1], true))
  assert(not unix:bind())
  nginx.write(dir .. "/logger.lua", (LOGGER:gsub("UDPPORT", ai:port()):gsub("DIR", dir)))
  local listener
  listener, port = listen()
  server = nginx.start(CONF:gsub("PORT", port), dir, ("NGINX='%d;'"):format(listener:fd()))
  listener:close()
end

local function accounts(place, known)
  local tried, sent = known[place .. " tried"], known[place .. " sent"]
  local dropped, failed = known[place .. " dropped"], known[place .. " failed"]
  print(("# %s: %d tried, %d sent, %d dropped, %d failed; %d arrived, %d overflowed")
    :format(place, tried, sent, dropped, failed, got[place], overflowed(place == "udp" and udp or unix)))
  local unknown = tried - sent - dropped - failed
  T.is(failed, 0, place .. ": no send fails")
  T.ok(unknown >= 0 and unknown <= KILLS, place .. ": only who was killed does not know what became of a datagram")
  local arrived = got[place] + (place == "udp" and overflowed(udp) or 0)
  T.ok(arrived >= sent and arrived <= sent + unknown, place .. ": what was sent arrives, or the kernel counted it as overflowed")
  T.ok(got[place] > REQUESTS / 20, place .. ": and much does")
  return tried
end

local function exercise()
  start()
  local first, pids = settled()
  local steady = answered(run_wrk(STEADY, function() end))
  T.ok(steady >= STEADY, "wrk got its answers")
  local after, same = settled()
  T.is(after, first, "a worker that has served thousands has as many descriptors as one that has served none")
  T.is(table.concat(same, " "), table.concat(pids, " "), "and they are the same workers")
  local meanwhile, done = turbulence(got.udp)
  local turbulent = answered(run_wrk(TURBULENT, meanwhile))
  local reloads, kills = done()
  T.ok(turbulent >= TURBULENT, "wrk got its answers")
  T.is(reloads, RELOADS, "nginx was reloaded")
  T.is(kills, KILLS, "workers were killed")
  local last, successors = settled()
  T.is(last, first, "their successors have as many descriptors")
  T.ok(successors[1] ~= pids[1] and successors[2] ~= pids[2], "and are others")
  collect()
  local known = counts()
  local tried = accounts("udp", known) + accounts("unix", known)
  T.ok(tried >= REQUESTS, "there was a datagram for each request")
  nginx.stop(server)
  local dead, others = log_lines()
  T.is(dead, KILLS, "nginx noticed the deaths")
  T.is(others, "", "nothing else of weight is logged")
  udp:close(); unix:close()
end

local why
wrk, why = nginx.package "wrk"
local missing = nginx.missing() or why
if missing then T.skip(19, missing) else nginx.guard(exercise) end
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
