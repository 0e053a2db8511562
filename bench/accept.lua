-- accept.lua -- how many connections are accepted in a second?
--
-- A hundred clients are let in by the kernel first; what is measured is to accept each and to close it.
local ends = require "bench.lib.ends"

local function clients_of(port)
  return function(n) ends.ask("connect", port, n) end
end

local function llsocket()
  local listener, name = ends.listener()
  return function(n)
    for _ = 1, n do listener:accept():close() end
  end, clients_of(name:port())
end

local function luasocket()
  local listener = assert(require("socket").bind("127.0.0.1", 0, 4096))
  local _, port = listener:getsockname()
  return function(n)
    for _ = 1, n do listener:accept():close() end
  end, clients_of(port)
end

local function luaposix()
  local S, close = require "posix.sys.socket", require("posix.unistd").close
  local listener, name = ends.listener()
  local accept, fd = S.accept, listener:unwrap()
  return function(n)
    for _ = 1, n do close((accept(fd))) end
  end, clients_of(name:port())
end

local function luv()
  local uv = require "luv"
  local listener, left = uv.new_tcp(), 0
  assert(listener:bind("127.0.0.1", 0))
  assert(listener:listen(4096, function()
    local sock = uv.new_tcp()
    listener:accept(sock)
    sock:close()
    left = left - 1
  end))
  return function(n)
    left = n
    repeat uv.run "once" until left == 0
  end, clients_of(listener:getsockname().port)
end

local function cqueues()
  local socket = require "cqueues.socket"
  local listener = assert(socket.listen { host = "127.0.0.1", port = 0 })
  assert(listener:listen())
  local _, _, port = listener:localname()
  return function(n)
    for _ = 1, n do listener:accept():close() end
  end, clients_of(port)
end

local function ljsyscall()
  local S = require "syscall"
  local listener, name = ends.listener()
  local fd = S.t.fd(listener:unwrap())
  return function(n)
    for _ = 1, n do S.accept4(fd, nil, nil, "cloexec"):close() end
  end, clients_of(name:port())
end

return {
  title = "connections accepted and closed", unit = "connections", chunk = 100, chunks = 200, crowd = true,
  cases = { { name = "TCP", counts = true } },
  rows = {
    { name = "C", work = "accept" },
    {
      name = "llsocket", start = llsocket, to_c = 0.95, ahead = "all",
      short = {
        to_c = "an object with a finaliser is made and collected", ahead = "lua-ljsyscall's object is smaller",
      },
    },
    { name = "lua-socket", needs = "socket", start = luasocket },
    { name = "lua-posix", needs = "posix.sys.socket", start = luaposix },
    { name = "lua-luv", needs = "luv", start = luv },
    { name = "lua-cqueues", needs = "cqueues", start = cqueues },
    { name = "lua-ljsyscall", needs = "syscall", start = ljsyscall },
  },
}
