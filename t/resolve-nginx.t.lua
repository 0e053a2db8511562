-- resolve-nginx: names in the Lua of nginx, which serves others meanwhile; where it cannot wait, getaddrinfo(3) asks.
local L = require "llsocket"
local dnsd = require "dnsd"
local leak = require "leak"
local net = require "net"
local nginx = require "nginx"
local proc = require "proc"
local sys = require "sys"

local BOTH = "192.0.2.1:80 [2001:db8::1]:80"
local NAMES = {
  { "usual.lan", BOTH }, { "USUAL.lan.", BOTH }, { "slow.lan", BOTH }, { "alias.lan", BOTH }, { "four.lan", "192.0.2.1:80" },
  { "six.lan", "[2001:db8::1]:80" }, { "hosted.lan", "192.0.2.77:80" }, { "localhost", "127.0.0.1:80" }, { "short", BOTH },
  { "192.0.2.9", "192.0.2.9:80" }, { "nothing.lan", "EAI_NONAME" }, { "empty.lan", "EAI_NONAME" },
  { "refused.lan", "EAI_AGAIN" }, { "failed.lan", "EAI_AGAIN" }, { "two..dots.lan", "EAI_NONAME" },
}
local T = require("tap").plan(#NAMES + 14)
local before = leak.count()

local CONF = [[
master_process off; error_log stderr error;
events { worker_connections 1024; }
http {
  ]] .. nginx.HTTP .. [[
  lua_package_path "DIR/?.lua;PACKAGE/usr/share/lua/5.1/?.lua;;";
  server {
    listen unix:DIR/socket;
    location / { return 200 "quick"; }
    location /look { content_by_lua_block { ngx.print(require("looks").one(ngx.var.arg_name, tonumber(ngx.var.arg_sec))) } }
    location /many { content_by_lua_block { ngx.print(require("looks").many(ngx.var.arg_kind)) } }
    location /memory { content_by_lua_block { collectgarbage() collectgarbage() ngx.print(collectgarbage "count") } }
    location /log { return 200; log_by_lua_block { logged = require("looks").one("usual.lan", 5) } }
    location /logged { content_by_lua_block { ngx.print(tostring(logged)) } }
    location /wrong { content_by_lua_block { ngx.print(require("looks").wrong()) } }
  }
}
]]

local LOOKS = [[
local L = require "llsocket"
local way = require "llsocket.resolve.nginx"
local M, count = {}, 0

local function name_of(code, e)
  for _, name in ipairs { "EAI_NONAME", "EAI_AGAIN", "EAI_FAIL", "EAI_SERVICE" } do
    if L[name] == code then return name end
  end
  return require("llsocket.errno").name(e)
end

function M.one(name, sec)
  local arr, _, code, e = way.resolve(sec, name, 80)
  if not arr then return name_of(code, e) end
  local list = {}
  for i, ai in ipairs(arr) do list[i] = tostring(ai) end
  table.sort(list)
  return table.concat(list, " ")
end

function M.many(kind)
  local threads, right = {}, 0
  for i = 1, 100 do
    count = count + 1
    threads[i] = ngx.thread.spawn(M.one, kind .. count .. ".lan", 20)
  end
  for i = 1, 100 do
    local _, text = ngx.thread.wait(threads[i])
    if text == "192.0.2.1:80 [2001:db8::1]:80" then right = right + 1 end
  end
  return right
end

function M.wrong()
  local _, err = pcall(way.resolve, nil, {})
  local arr = way.resolve(5, "alias.lan", "80", L.SOCK_DGRAM, nil, L.AI_CANONNAME)
  return err:match "bad argument.*" .. "; " .. select(4, way.resolve(-1, "usual.lan")) .. "; " .. arr[1]:canonname() .. " "
    .. arr[1]:socktype()
end

return M
]]

local function open_files(pid)
  return (select(2, proc.run(("ls /proc/%d/fd"):format(pid)):gsub("\n", "")))
end

local function limits(server)
  local from = sys.clock()
  local waiting = nginx.ask(server, "/look?name=silent.lan&sec=1.5")
  T.is(nginx.get(server, "/"), "quick", "while a request waits for a name another is served")
  T.ok(sys.clock() - from < 1.4, "at once")
  T.is(nginx.body(waiting), "ETIMEDOUT", "a server that is silent is timed out")
  local took = sys.clock() - from
  T.ok(took >= 1.5 and took < 5, ("when the time has run out: %.3f s of 1.5"):format(took))
end

local function many(server)
  T.is(nginx.get(server, "/many?kind=usual"), "100", "100 names at once are found")
  local from = sys.clock()
  T.is(nginx.get(server, "/many?kind=slow"), "100", "slow ones, too")
  T.ok(sys.clock() - from < 5, ("in the time of one: %.3f s"):format(sys.clock() - from))
  nginx.get(server, "/many?kind=usual")
  local held, files = tonumber((nginx.get(server, "/memory"))), open_files(server.pid)
  for _ = 1, 5 do nginx.get(server, "/many?kind=usual") end
  local grown = (tonumber((nginx.get(server, "/memory"))) - held) * 1024 / 500
  T.ok(grown < 400, ("a lookup leaves no memory behind: %d bytes"):format(grown))
  T.is(open_files(server.pid), files, "nor a descriptor")
end

local function exercise(folder)
  local dir = net.tmpdir()
  nginx.write(dir .. "/looks.lua", LOOKS)
  local server = nginx.start(CONF:gsub("PACKAGE", (folder:gsub("%%", "%%%%"))), dir)
  for _, row in ipairs(NAMES) do
    T.is(nginx.get(server, "/look?sec=10&name=" .. row[1]), row[2], row[1] .. " gives what it should")
  end
  limits(server)
  many(server)
  T.is(nginx.get(server, "/wrong"), ("bad argument #1 to 'getaddrinfo' (string expected, got table); %d; real.lan %d")
    :format(L.EINVAL, L.SOCK_DGRAM), "arguments are checked as getaddrinfo's are")
  nginx.get(server, "/log")
  T.is(nginx.get(server, "/logged"), BOTH, "where nothing can yield getaddrinfo(3) asks")
  nginx.stop(server)

  local errors = nginx.errors(server):gsub("[^\n]*timed out[^\n]*\n", ""):match "[^\n]*%[error%][^\n]*"
  T.is(errors, nil, "no error is logged but time-outs")
end

local missing = nginx.missing()
local folder, why
if not missing then folder, why = nginx.package "lua-nginx-dns" end
local paths, reason
if folder then
  local conf, hosts = "nameserver 127.0.0.1\nsearch nothing.lan good.lan\n", "127.0.0.1 localhost\n192.0.2.77 hosted.lan\n"
  paths, reason = dnsd.enter(conf, hosts)
end
if paths then
  local server = dnsd.start("127.0.0.1", "53")
  nginx.guard(function() exercise(folder) end)
  dnsd.stop(server)
else
  T.skip(#NAMES + 12, missing or why or reason)
end
net.cleanup()
T.ok(true, "the folders are gone")
T.is(leak.count(), before, "no descriptor is left")
T.done()
