-- resolve.lua -- how long does it take to make an address of "127.0.0.1" and "80"?

local function llsocket()
  local L = require "llsocket"
  return function(n)
    local list
    for _ = 1, n do list = L.inet.getaddrinfo("127.0.0.1", "80") end
    return list
  end
end

local function luasocket()
  local dns = require("socket").dns
  return function(n)
    for _ = 1, n do dns.getaddrinfo "127.0.0.1" end -- takes no port
  end
end

local function luaposix()
  local S = require "posix.sys.socket"
  local hints = { socktype = S.SOCK_STREAM }
  return function(n)
    for _ = 1, n do S.getaddrinfo("127.0.0.1", "80", hints) end
  end
end

local function luv()
  local uv = require "luv"
  local hints = { socktype = "stream" }
  return function(n)
    for _ = 1, n do uv.getaddrinfo("127.0.0.1", "80", hints) end
  end
end

-- It has no getaddrinfo(3): an address is made of numbers only, IPv4 only.
local function ljsyscall()
  local S = require "syscall"
  return function(n)
    local name
    for _ = 1, n do name = S.t.sockaddr_in(80, "127.0.0.1") end
    return name
  end
end

return {
  title = "a numeric address resolved", unit = "addresses", chunk = 1000,
  without = "lua-cqueues has no call for it",
  cases = { { name = "127.0.0.1, port 80", counts = true } },
  rows = {
    { name = "C", work = "resolve" },
    {
      name = "llsocket", start = llsocket, to_c = 0.95, ahead = "all",
      short = { to_c = "a list and an object are made, which the collector takes away" },
    },
    { name = "lua-socket", needs = "socket", start = luasocket },
    { name = "lua-posix", needs = "posix.sys.socket", start = luaposix },
    { name = "lua-luv", needs = "luv", start = luv },
    { name = "lua-ljsyscall", needs = "syscall", start = ljsyscall },
  },
}
