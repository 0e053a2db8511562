-- nginx-beside: llsocket, resty.core and ljsyscall in one VM, whichever comes first.  What they declare does not collide.
local leak = require "leak"
local nginx = require "nginx"
local proc = require "proc"
local shell = require "shell"

local PARTS = {
  llsocket = [[
    local L = require "llsocket"
    local socks = assert(L.socket.pair(L.SOCK_DGRAM, true))
    assert(socks[1]:send "text" == 4)
    assert(socks[2]:recv() == "text")
    local _, _, again, e = socks[2]:recv()
    assert(again and e == L.EAGAIN)
    local listener = assert(L.socket.new(L.inet.getaddrinfo("127.0.0.1", "0")[1]))
    assert(not listener:bind() and not listener:listen())
    local name = assert(listener:getsockname())
    assert(name:addr() == "127.0.0.1" and name:port() > 0)
    assert(listener:rcvbuf(8192) and listener:linger(3) == 3)
    local mh = assert(require("llsocket.msghdr").new { data = "message" })
    assert(socks[1]:sendmsg(mh) == 7 and socks[2]:recv() == "message")
    local poller = assert(require("llsocket.poll").new())
    assert(poller:add(socks[1], "w") and poller:wait(0) == 1)
    poller:close()
    listener:close()
    local err, errno = listener:bind()
    assert(errno == L.EBADF and err == "Bad file descriptor" and listener:fd() == -1)
    socks[1]:close() socks[2]:close()
  ]],
  resty = [[
    require "resty.core"
    assert(ngx.md5 "x" == "9dd4e461268c8034f5c8564e155c67a6")
    assert(ngx.re.match("ab12", "[0-9]+", "jo")[0] == "12")
    assert(ngx.decode_base64(ngx.encode_base64 "text") == "text")
    ngx.shared.words:set("a", 1)
    assert(ngx.shared.words:incr("a", 2) == 3)
    local cache = require("resty.lrucache").new(2)
    cache:set("k", "v")
    assert(cache:get "k" == "v")
  ]],
  ljsyscall = [[
    local S = require "syscall"
    local _, _, a, b = assert(S.socketpair("unix", "dgram"))
    assert(a:write "text")
    assert(b:read() == "text")
    local sock = assert(S.socket("inet", "stream"))
    local sa = S.t.sockaddr_in(0, "127.0.0.1")
    assert(sock:bind(sa) and sock:listen())
    assert(sock:getsockname().port > 0)
    local _, err = S.close(-1)
    assert(err.BADF)
    sock:close() a:close() b:close()
  ]],
}

-- Loads and uses each, and then each again; the descriptors are those of before.
local function script(order)
  local out = { [[local leak = require "leak"; local before = leak.count()]] }
  for _ = 1, 2 do
    for name in order:gmatch "%a+" do out[#out + 1] = "do " .. PARTS[name] .. " end" end
  end
  out[#out + 1] = [[assert(leak.count() == before) print("well " .. ngx.get_phase())]]
  return table.concat(out, "\n")
end

local ORDERS = {
  "llsocket resty ljsyscall", "llsocket ljsyscall resty", "resty llsocket ljsyscall",
  "resty ljsyscall llsocket", "ljsyscall llsocket resty", "ljsyscall resty llsocket",
}
local T = require("tap").plan(#ORDERS * 2 + 1)
local before = leak.count()

local function run(path, order, flags)
  local file = os.tmpname()
  nginx.write(file, script(order))
  os.execute(shell.format("chmod 644 %q", file))
  local out = proc.run(shell.format("LUA_PATH=\"$LUA_PATH;\"%q'/usr/share/lua/5.1/?.lua;'%q/usr/share/lua/5.1/?/init.lua "
    .. "%q %s %q", path, path, os.getenv "LLSOCKET_SOURCE" .. "/t/nginx/run", flags, file))
  os.remove(file)
  return out
end

local path, why = nginx.package "lua-ljsyscall"
if path and nginx.read(path .. "/usr/share/lua/5.1/syscall.lua") == "" then
  why = "the package lua-ljsyscall has no syscall.lua" -- that of Debian's sid holds documentation only
end
local missing = nginx.missing() or why
for _, order in ipairs(ORDERS) do
  if missing then T.skip(2, missing)
  else
    T.is(run(path, order, ""), "well timer\n", order .. ": each does its work")
    T.is(run(path, order, "-joff"), "well timer\n", order .. ", interpreted: so, too")
  end
end
T.is(leak.count(), before, "no descriptor is left")
T.done()
