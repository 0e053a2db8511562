-- udp.lua -- how many packets go through in a second?
--
-- One process sends 64 packets and then receives them: singly, in batches, or as segments of one large message.
-- Strings are the same each time, so receiving one finds it and allocates nothing.
local ffi = require "ffi"
local ends = require "bench.lib.ends"

local BATCH, ROOM = 64, 2048

-- What does one thing 64 times and another 64 times.
local function by_turns(send, recv)
  return function(n)
    for _ = 1, n / BATCH do
      for _ = 1, BATCH do send() end
      for _ = 1, BATCH do recv() end
    end
  end
end

local function strings(size)
  local a, b = ends.udp()
  local message = ("x"):rep(size)
  return by_turns(function() a:send(message) end, function() return b:recv(ROOM) end)
end

local function buffers(size)
  local a, b = ends.udp()
  local from, into = ffi.new "uint8_t[2048]", ffi.new "uint8_t[2048]"
  size = tonumber(size)
  return by_turns(function() a:sendfrom(from, size) end, function() return b:recvinto(into) end)
end

local function segments(size)
  local L = require "llsocket"
  local a, b = ends.udp()
  local from, into, all = ffi.new "uint8_t[65536]", ffi.new "uint8_t[65536]", BATCH * size
  assert(a:setsockopt(L.IPPROTO_UDP, L.UDP_SEGMENT, "int", tonumber(size)))
  assert(b:setsockopt(L.IPPROTO_UDP, L.UDP_GRO, "int", 1))
  return function(n)
    for _ = 1, n / BATCH do
      a:sendfrom(from, all)
      local left = all
      while left > 0 do left = left - b:recvinto(into) end
    end
  end
end

local function luasocket(size)
  local socket = require "socket"
  local a, b, message = socket.udp(), socket.udp(), ("x"):rep(size)
  assert(b:setsockname("127.0.0.1", 0))
  assert(a:setpeername(b:getsockname()))
  return by_turns(function() a:send(message) end, function() return b:receive(ROOM) end)
end

local function luaposix(size)
  local S = require "posix.sys.socket"
  local a, b = ends.numbers(ends.udp())
  local message = ("x"):rep(size)
  return by_turns(function() S.send(a, message) end, function() return S.recv(b, ROOM) end)
end

local function luv(size)
  local uv = require "luv"
  local a, b, message, left = uv.new_udp(), uv.new_udp(), ("x"):rep(size), 0
  local a_fd, b_fd = ends.numbers(ends.udp())
  assert(a:open(a_fd))
  assert(b:open(b_fd))
  b:recv_start(function(_, got) if got then left = left - 1 end end)
  return function(n)
    for _ = 1, n / BATCH do
      left = BATCH
      for _ = 1, BATCH do a:try_send(message, nil, nil) end
      repeat uv.run "once" until left == 0
    end
  end
end

local function cqueues(size)
  local socket = require "cqueues.socket"
  local a_fd, b_fd = ends.numbers(ends.udp())
  local a, b = assert(socket.fdopen(a_fd)), assert(socket.fdopen(b_fd))
  a:setmode("bn", "bn")
  b:setmode("bn", "bn")
  local message = ("x"):rep(size)
  return by_turns(function() a:write(message) end, function() return b:read(-ROOM) end)
end

local function ljsyscall(size)
  local S = require "syscall"
  local a_fd, b_fd = ends.numbers(ends.udp())
  local a, b, from, into = S.t.fd(a_fd), S.t.fd(b_fd), S.t.buffer(ROOM), S.t.buffer(ROOM)
  size = tonumber(size)
  return by_turns(function() S.send(a, from, size) end, function() return S.recv(b, into, ROOM) end)
end

-- What it makes of tables holds pointers only: `kept` keeps what they point to.  With room for who sent each, as in C.
local function ljsyscall_batches(size)
  local S = require "syscall"
  local a_fd, b_fd = ends.numbers(ends.udp())
  local a, b, kept = S.t.fd(a_fd), S.t.fd(b_fd), {}
  local function messages(bytes, named)
    local list = {}
    for i = 1, BATCH do
      local buf = S.t.buffer(ROOM)
      list[i] = { iov = S.t.iovecs { { buf, bytes } }, name = named and S.t.sockaddr_storage() or nil }
      table.insert(kept, { buf, list[i].iov, list[i].name })
    end
    return S.t.mmsghdrs(list)
  end
  local out, into = messages(tonumber(size)), messages(ROOM, true)
  return function(n)
    for _ = 1, n / BATCH do
      assert(S.sendmmsg(a, out))
      assert(S.recvmmsg(b, into))
    end
    return kept
  end
end

local function batches(size)
  local a, b = ends.udp()
  local batch = require "llsocket.batch"
  local out, into = batch.new { count = BATCH, size = ROOM }, batch.new { count = BATCH, size = ROOM }
  for i = 1, BATCH do out:data(i, ("x"):rep(size)) end
  return function(n)
    for _ = 1, n / BATCH do
      a:sendbatch(out, BATCH)
      b:recvbatch(into)
    end
  end
end

return {
  title = "UDP packets sent and received", unit = "packets", chunk = 6400, chunks = 6,
  note = "The string is the same each time and exists already, so to receive it is a look-up.",
  cases = { { name = "64 B", counts = true, 64 }, { name = "1,000 B", 1000 } },
  rows = {
    { name = "C", work = "udp" },
    { name = "C, batches", work = "udp-batch" },
    { name = "C, segments", work = "udp-segment" },
    { name = "llsocket, strings", start = strings, to_c = 0.95, ahead = "strings" },
    { name = "llsocket, buffers", start = buffers, to_c = 0.95, ahead = "singly", clean = true },
    {
      name = "llsocket, batches", needs = "llsocket.batch", start = batches, to_c = 0.95, base = "C, batches",
      ahead = "all", clean = true, short = { ahead = "lua-ljsyscall's batch makes the same two calls and looks at no message" },
    },
    {
      name = "llsocket, segments", start = segments, to_c = 0.95, base = "C, segments", ahead = "all", times = 15,
      clean = true, short = { times = "the copying of the bytes is most of it" },
    },
    { name = "lua-socket", needs = "socket", start = luasocket },
    { name = "lua-posix", needs = "posix.sys.socket", start = luaposix },
    { name = "lua-luv", needs = "luv", start = luv },
    { name = "lua-cqueues", needs = "cqueues", start = cqueues },
    { name = "lua-ljsyscall", needs = "syscall", start = ljsyscall, buffers = true },
    { name = "lua-ljsyscall, batches", needs = "syscall", start = ljsyscall_batches, batches = true },
  },
}
