-- round.lua -- how long does a message take from one socket to another?
--
-- One process sends on one end and receives on the other: what is seen is the calls, and no scheduler.  Strings are the
-- same each time, so receiving one finds it and allocates nothing; receive.lua asks for new ones.
local ends = require "bench.lib.ends"

-- What a stream has not delivered at once.
local function reader(recv)
  return function(left)
    while left > 0 do left = left - recv(left) end
  end
end

local function strings(how, size)
  local a, b = ends.pair(how)
  local message, rest = ("x"):rep(size), reader(function(n) return #b:recv(n) end)
  size = #message
  return function(n)
    for _ = 1, n do
      a:send(message)
      local got = #b:recv(size)
      if got < size then rest(size - got) end
    end
  end
end

local function buffers(how, size)
  local ffi = require "ffi"
  local a, b = ends.pair(how)
  local from, into = ffi.new "uint8_t[65536]", ffi.new "uint8_t[65536]"
  local rest = reader(function(n) return b:recvinto(into, n) end)
  size = tonumber(size)
  return function(n)
    for _ = 1, n do
      a:sendfrom(from, size)
      local got = b:recvinto(into, size)
      if got < size then rest(size - got) end
    end
  end
end

-- As in a handler that a loop calls: the code that sends and receives is not compiled, the methods are.
local function from_callback(start)
  return function(how, size)
    local run = start(how, size)
    jit.off(run)
    return run
  end
end

-- lua-socket takes no descriptors: it connects by itself, to a path where the others have a socketpair.
local function by_luasocket(how)
  local socket = require "socket"
  local listener, name, port
  local a = how == "TCP" and socket.tcp() or require("socket.unix").stream()
  if how == "TCP" then
    listener = assert(socket.bind("127.0.0.1", 0))
    name, port = listener:getsockname()
  else
    listener, name = require("socket.unix").stream(), os.tmpname()
    os.remove(name)
    assert(listener:bind(name))
    assert(listener:listen())
  end
  assert(a:connect(name, port))
  if how == "TCP" then a:setoption("tcp-nodelay", true) else os.remove(name) end
  return a, (assert(listener:accept()))
end

local function luasocket(how, size)
  local a, b = by_luasocket(how)
  local message = ("x"):rep(size)
  size = #message
  return function(n)
    for _ = 1, n do
      a:send(message)
      b:receive(size) -- all of it
    end
  end
end

local function luaposix(how, size)
  local S = require "posix.sys.socket"
  local a, b = ends.numbers(ends.pair(how))
  local send, recv = S.send, S.recv
  local message, rest = ("x"):rep(size), reader(function(n) return #recv(b, n) end)
  size = #message
  return function(n)
    for _ = 1, n do
      send(a, message)
      local got = #recv(b, size)
      if got < size then rest(size - got) end
    end
  end
end

local function luv(how, size)
  local uv = require "luv"
  local make = how == "TCP" and uv.new_tcp or uv.new_pipe
  local a, b, message, left = make(), make(), ("x"):rep(size), 0
  local a_fd, b_fd = ends.numbers(ends.pair(how))
  assert(a:open(a_fd))
  assert(b:open(b_fd))
  b:read_start(function(_, got) left = left - #got end)
  size = #message
  return function(n)
    for _ = 1, n do
      left = size
      local sent = a:try_write(message) or 0
      if sent < size then a:write(message:sub(sent + 1)) end
      repeat uv.run "once" until left == 0
    end
  end
end

local function cqueues(how, size)
  local socket = require "cqueues.socket"
  local from, to = ends.pair(how)
  from:sndbuf(2^20); to:rcvbuf(2^20) -- a write waits until all is taken, and nobody reads meanwhile
  local a_fd, b_fd = ends.numbers(from, to)
  local a, b = assert(socket.fdopen(a_fd)), assert(socket.fdopen(b_fd))
  a:setmode("bn", "bn")
  b:setmode("bn", "bn")
  local message = ("x"):rep(size)
  size = #message
  return function(n)
    for _ = 1, n do
      a:write(message)
      b:read(size) -- all of it
    end
  end
end

local function ljsyscall(how, size)
  local S = require "syscall"
  local a_fd, b_fd = ends.numbers(ends.pair(how))
  local a, b = S.t.fd(a_fd), S.t.fd(b_fd)
  local from, into = S.t.buffer(65536), S.t.buffer(65536)
  local rest = reader(function(n) return S.recv(b, into, n) end)
  size = tonumber(size)
  return function(n)
    for _ = 1, n do
      S.send(a, from, size)
      local got = S.recv(b, into, size)
      if got < size then rest(size - got) end
    end
  end
end

local function ljsyscall_strings(how, size)
  local S = require "syscall"
  local a_fd, b_fd = ends.numbers(ends.pair(how))
  local a, b = S.t.fd(a_fd), S.t.fd(b_fd)
  local message, rest = ("x"):rep(size), reader(function(n) return #S.read(b, nil, n) end)
  size = #message
  return function(n)
    for _ = 1, n do
      S.write(a, message)
      local got = #S.read(b, nil, size)
      if got < size then rest(size - got) end
    end
  end
end

local SIZES = { { "64 B", 64 }, { "1 KiB", 1024 }, { "16 KiB", 16384 }, { "64 KiB", 65536 } }

local cases = {}
for _, how in ipairs { "socketpair", "TCP" } do
  for _, size in ipairs(SIZES) do
    table.insert(cases, { name = size[1] .. ", " .. how, counts = size[2] == 64, how, size[2] })
  end
end

return {
  title = "a message sent and received", unit = "messages", chunk = 500, cases = cases,
  note = "The string is the same each time and exists already, so to receive it is a look-up; the next table has new ones.",
  rows = {
    { name = "C", work = "round" },
    {
      name = "llsocket, strings", start = strings, to_c = 0.95, ahead = "strings",
      short = { to_c = "a string is made of each message" },
    },
    { name = "llsocket, buffers", start = buffers, to_c = 0.95, ahead = "all", clean = true },
    { name = "llsocket, strings, called from a callback", start = from_callback(strings), ahead = "strings" },
    { name = "llsocket, buffers, called from a callback", start = from_callback(buffers), ahead = "strings", clean = true },
    { name = "lua-socket", needs = "socket", start = luasocket },
    { name = "lua-posix", needs = "posix.sys.socket", start = luaposix },
    { name = "lua-luv", needs = "luv", start = luv },
    { name = "lua-cqueues", needs = "cqueues", start = cqueues },
    { name = "lua-ljsyscall, strings", needs = "syscall", start = ljsyscall_strings },
    { name = "lua-ljsyscall, buffers", needs = "syscall", start = ljsyscall, buffers = true },
  },
}
