-- load-late: modules that are made on first use need no file: after chroot, when the files are deleted or package.path is
-- wrong, and after a second load.
local const = require "llsocket.core.const"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local sys = require "sys"
local before = leak.count()
local T = require("tap").plan(51)

local source = os.getenv "LLSOCKET_SOURCE"
local real = assert(package.searchpath("llsocket.shim", package.cpath))

local function sh(command) assert(select(2, proc.run(command)), command) end

-- The one file of Meson's installation.
local bundle = net.tmpdir() .. "/modules.bundle"
sh(shell.format("%q %q/csrc/bundle %q/lua %q %q.d", proc.luajit, source, source, bundle, bundle))

-- Each way in which the files lie: where the Lua files go, and the shim; whether modules.bundle is there.
local FORMS = {
  { "the folder lua with the shim in it", "lua", "lua/llsocket" },
  { "an installation", "share/lua/5.1", "lib/lua/5.1/llsocket" },
  { "Meson's installation", "share/lua/5.1", "lib/lua/5.1/llsocket", true },
}

-- Puts the library below a new folder; answers that and where the Lua files are.
local function put(form)
  local dir = net.tmpdir()
  local lua, lib = dir .. "/" .. form[2], dir .. "/" .. form[3]
  sh(shell.format("mkdir -p %q %q && cp -r %q/lua/. %q && cp %q %q/shim.so", lua, lib, source, lua, real, lib))
  if form[4] then sh(shell.format("cp %q %q/llsocket/modules.bundle", bundle, lua)) end
  return dir, lua
end

-- Uses what is there by its first use: each of the fields, and a method of each module.  S and L are made before.
local PRELUDE = [[
local ffi = require "ffi"
local function sh(command)
  local ended = os.execute(command)
  assert(ended == 0 or ended == true, command) -- true: a LuaJIT with the ways of Lua 5.2
end
local function clear()
  for name in pairs(package.loaded) do if name:find "^llsocket" then package.loaded[name] = nil end end
end
local function use(L, S)
  local a, b = S[1], S[2]
  local out = {}
  local function note(...)
    for i = 1, select("#", ...) do out[#out + 1] = tostring((select(i, ...))) end
  end
  if L then
    local buf = ffi.new "uint8_t[8]"
    for _, name in ipairs { "msghdr", "batch", "cmsghdr", "descriptor", "pipe", "poll", "wait" } do
      if type(L[name]) ~= "table" then note(name) end
    end
    note(a:sendmsg(L.msghdr.new { data = "m" }), b:recv())
    local batch = L.batch.new { n = 2 }
    a:send "b"
    note(b:recvbatch(batch), batch:data(1))
    note(a:sendfrom("fr", 2), b:recvinto(buf))
    for _, word in ipairs { "epoll", "kqueue", "poll" } do
      local poller, err, errno = L.poll.new(word)
      if poller then
        poller:add(a, "w", "ready")
        note(poller:wait(1))
        poller:close()
      elseif errno ~= L.ENOSYS then note(err) end
    end
    note(#L.socket.activated(), L.wait.poll(a:fd(), "w", 0), L.cmsghdr.ttl(1) ~= nil, L.pipe.new() ~= nil)
    note(type(L.device.getifaddrs()), type(L.socket.congestions), type(L.inet.getaddrinfo("127.1", 80)))
    note(select(3, a:splice(b, L.pipe.new())), select(2, a:setsockopt(-1, -1, "int", 1)) == nil)
  end
  note(a:writev { "w", "v" }, b:recv())
  note(a:supports "meminfo", type(a.originaldst and a.tcpmd5sig))
  note(type(a.sendzerocopy), type(a.mcastjoin), type(a.steer), type(a.filter), type(a.splice), type(a.recvbatch))
  note(a:getfd() == a:fd(), a.nothing)
  a:onclose(function() note "closing" end)
  a:close(); b:close()
  return table.concat(out, " ")
end
local function pair(socket, SOCK_DGRAM) return assert(socket.pair(SOCK_DGRAM)) end
]]

-- Runs Lua with the library of a folder and nothing else.
local function run(lua, code)
  local path = net.tmpdir() .. "/code.lua"
  local file = assert(io.open(path, "w"))
  file:write(PRELUDE .. code)
  file:close()
  return (proc.run(shell.format("cd / && LUA_PATH=%q'/?.lua' LUA_CPATH= %q %q", lua, proc.luajit, path)))
end

local ALL = [[
local L = require "llsocket"
local S = pair(L.socket, L.SOCK_DGRAM)
]]
local _, lua = put(FORMS[1])
local WANT = run(lua, ALL .. "io.write(use(L, S))")
T.ok(WANT:find "^1 m nil false 1 b 2 2 "
  and WANT:find " 2 wv nil false %a+ function function function function function function function true nil closing$",
  "with the files in place everything answers: " .. WANT)

-- What happens between loading and the first use.  Whatever needs a place outside has it from DIR.
local GONE = [[sh "rm -r 'DIR'"
]]
local CHROOT = [[
ffi.cdef "int llsocket_t_chroot(const char *) __asm__(\"chroot\"); int llsocket_t_chdir(const char *) __asm__(\"chdir\");"
sh "rm -rf 'DIR/empty' && mkdir 'DIR/empty'"
assert(ffi.C.llsocket_t_chroot "DIR/empty" == 0 and ffi.C.llsocket_t_chdir "/" == 0)
]]
local PATHS = [[package.path, package.cpath, package.loaders = "/nowhere/?.lua", "/nowhere/?.so", {}
]]
local REQUIRE = [[function require(name) error("require of " .. name) end
]]

local function is(form, between, load, use, name)
  local dir, folder = put(form)
  local code = (load .. between .. use):gsub("DIR", dir)
  T.is(run(folder, code), WANT, form[1] .. ": " .. name)
end

local TOLD = "io.write(use(L, S))"
local AGAIN = [[
clear()
local M = require "llsocket"
local other = use(M, pair(M.socket, M.SOCK_DGRAM))
]]
for _, form in ipairs(FORMS) do
  is(form, GONE, ALL, TOLD, "when the files are gone")
  if sys.getuid() == 0 then is(form, CHROOT, ALL, TOLD, "after chroot into an empty folder")
  else T.skip(1, "only root may chroot") end
  is(form, PATHS, ALL, TOLD, "when package.path and package.cpath lead nowhere, and require has no loaders")
  is(form, REQUIRE, ALL, TOLD, "when the program has a require of its own")
  is(form, AGAIN .. GONE, ALL, "io.write(use(L, S))", "in the first load, after a second")
  is(form, AGAIN:gsub("local other[^\n]*", "") .. GONE, ALL, "io.write(use(M, pair(M.socket, M.SOCK_DGRAM)))",
    "in a second load")
  is(form, AGAIN .. GONE, ALL, "local old = use(L, S) io.write(old == other and old or 'first: ' .. old .. ' second: ' .. other)",
    "in both")
end

-- What poll.new answers for poll, epoll and kqueue: an errno where the system has none.
local BACKENDS = ("nil %s %s "):format(const.EPOLLIN and "nil" or "ENOSYS", const.EV_ADD and "nil" or "ENOSYS")

-- A part of the library, required by itself.
local PART = [[
local socket, const = require "llsocket.socket", require "llsocket.core.const"
local S = pair(socket, const.SOCK_DGRAM)
]]
local ALONE = WANT:match " (2 wv .*)$"
local function alone(form, name, between)
  local dir, folder = put(form)
  T.is(run(folder, (PART .. between .. "io.write(use(nil, S))"):gsub("DIR", dir)), ALONE,
    form[1] .. ": llsocket.socket alone works " .. name)
  dir, folder = put(form)
  T.is(run(folder, ([[
local poll, socket = require "llsocket.poll"
]] .. between .. [[
for _, word in ipairs { "poll", "epoll", "kqueue" } do io.write(tostring((select(3, poll.new(word)))), " ") end]])
    :gsub("DIR", dir)):gsub("%d%d", "ENOSYS"), BACKENDS, "so does llsocket.poll " .. name)
  dir, folder = put(form)
  T.is(run(folder, ([[
local poll = require "llsocket.poll"
clear()
local again = require "llsocket.poll"
]] .. between .. [[
io.write(tostring(poll.new "poll" ~= nil), tostring(again.new "poll" ~= nil), tostring(poll ~= again))]])
    :gsub("DIR", dir)), "truetruetrue", "and so do two loads of llsocket.poll " .. name)
end
for _, i in ipairs { 1, 3 } do
  alone(FORMS[i], "when the files are gone", GONE)
  alone(FORMS[i], "when the paths lead nowhere", PATHS)
end

-- What a program required by itself belongs to the same load as the methods, which then come first from this file.
for i, name in ipairs { "msghdr", "batch", "pipe", "descriptor", "cmsghdr", "poll" } do
  local dir, folder = put(FORMS[i % 2 == 1 and 1 or 3])
  T.is(run(folder, ([[
local part = require "llsocket.NAME"
local L = require "llsocket"
clear()
local M = require "llsocket"
]] .. GONE .. [[
local same = L.NAME == part and M.NAME ~= part
local S, R = pair(L.socket, L.SOCK_DGRAM), pair(M.socket, M.SOCK_DGRAM)
io.write(tostring(same), " ", use(L, S), " ", use(M, R))]]):gsub("DIR", dir):gsub("NAME", name)),
    "true " .. WANT .. " " .. WANT, ("llsocket.%s is one for a program and for the methods of its load"):format(name))
end

-- Which modules are held, and for how long.  meta is an editor's.  renamed is required by libc alone, at once or never.
local FILES = "cd %q/lua/llsocket && find . -name '*.lua' ! -name meta.lua ! -path './wait/*' "
  .. "! -path './stream*' ! -path './resolve*' ! -path './luasocket*' ! -path './cosocket*' "
  .. "! -path ./core/forks.lua" -- a program gets these by require, or what it gets requires them
local pipe = assert(io.popen(shell.format(FILES, source)))
local wrong = {}
local code = [[
require "llsocket"
for name in pairs(require("llsocket.core.lazy").texts) do io.write(name, " ") end
for name in pairs(package.loaded) do io.write(name, " ") end]]
local there = " llsocket.core.renamed " .. run(lua, code):gsub("llsocket%.core%.renamed ", "")
for name in pipe:lines() do
  local _, n = there:gsub(" llsocket%." .. name:match "^%./(.*)%.lua$":gsub("/", "%%.") .. " ", " ")
  if n ~= 1 then wrong[#wrong + 1] = name end
end
pipe:close()
T.is(table.concat(wrong, " "), "", "each module is loaded by require, or its text is held")
T.is(run(lua, ALL .. [[
use(L, S)
local lazy = require "llsocket.core.lazy"
lazy.require "llsocket.address.ifaddrs" -- of systems without netlink(7), where nothing can make the other two
if not L.RTM_GETLINK then lazy.texts["llsocket.address.links"], lazy.texts["llsocket.address.netlink"] = nil, nil end
for name in pairs(lazy.texts) do io.write(name, " ") end]]), "", "a text is freed when its module is made")

-- Which modules.bundle is read.
local MARKED = "package.loaded[...] = nil return { marked = true }"
local function mark(folder, release)
  sh(shell.format("mkdir -p %q/llsocket", folder))
  local file = assert(io.open(folder .. "/llsocket/modules.bundle", "wb"))
  file:write(("%s unix %d\n%s"):format(release, #MARKED, MARKED))
  file:close()
end
local MARK = [[
local L = require "llsocket"
io.write(tostring(L.unix.marked), " ", type(L.poll.new "poll"))]]
local release = run(lua, [[io.write(require("llsocket")._VERSION)]])
local _, folder = put(FORMS[1])
mark(folder, release)
T.is(run(folder, MARK), "true table",
  "a modules.bundle beside the files is read, and missing modules are read from their files")
mark(folder, "0.1.9")
T.is(run(folder, MARK), "nil table", "but not one of another release")
local other = net.tmpdir()
mark(other, release)
T.is(run(other, ("package.path = %q\n"):format(other .. "/?.lua;" .. lua .. "/?.lua") .. MARK), "true table",
  "nor is one needed beside them: in the build tree its folder comes first on the path")
T.is(run(other, ("package.path = %q\n"):format(lua .. "/?.lua;" .. other .. "/?.lua") .. MARK), "nil table",
  "one that comes after them on the path may be another copy's, and is left alone")
_, folder = put(FORMS[3])
sh(shell.format("head -c 100000 %q > %q/llsocket/modules.bundle", bundle, folder))
T.is(run(folder, ALL .. "io.write(use(L, S))"), WANT, "the whole modules of a modules.bundle that is cut short are used")
T.is(run(lua, ALL .. [[io.write(tostring(require("llsocket.core.lazy").release == L._VERSION))]]), "true",
  "lazy.lua is of the release that _VERSION tells")

-- What the program makes of the globals concerns nobody.
T.is(run(lua, ALL .. [[
local called = 0
local NAMES = "type pairs ipairs select setmetatable getmetatable tonumber pcall error assert unpack rawset rawget next"
for name in NAMES:gmatch "%a+" do
  local real = _G[name]
  _G[name] = function(...) called = called + 1 return real(...) end
end
for _, fields in ipairs { math, table } do
  for name, real in pairs(fields) do
    if type(real) == "function" then fields[name] = function(...) called = called + 1 return real(...) end end
  end
end
called = 0
local module = L.msghdr, S[1].recvbatch, S[1].sendmsg, S[1].recvinto, S[1].steer, S[1].sendzerocopy, S[1].onclose, L.poll
local mh = L.msghdr.new { data = "x" }
S[1]:sendmsg(mh); S[2]:recvmsg(mh)
local poller = L.poll.new "poll"
io.write(called)]]), "0", "functions that the program puts in place of global ones are not called")

-- Where an error says that it happened.
T.is(run(lua, ALL .. "\nlocal function call() S[1]:writev(5) end\n"
  .. "io.write((select(2, pcall(call)):gsub('^.*/', '')), ' ', debug.getinfo(S[1].writev, 'S').source)")
  :gsub("code.lua:%d+", "HERE"),
  ("HERE: bad argument #1 to 'writev' (array of strings expected, got number) @%s/llsocket/socket/message.lua"):format(lua),
  "a wrong argument is the caller's error, and the module has its file's name")

net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
