-- receive.lua -- how long does a message take that is received as a new string?
--
-- The same call through the FFI sends each, from an array of which 8 bytes change, so no two messages are alike.
-- The question "round" sends and receives one string again and again: LuaJIT then finds it, and allocates nothing.
local ffi = require "ffi"
local ends = require "bench.lib.ends"
ffi.cdef [[
int llsocket_bench_send(int fd, const void *bytes, size_t size, int flags) __asm__("send");
int llsocket_bench_recv(int fd, void *bytes, size_t size, int flags) __asm__("recv");
]]
local C = ffi.C

-- Two sockets, and a function that sends the next message on the first.
local function ends_of(size)
  local a, b = ends.pair "socketpair"
  local message = ffi.new "uint8_t[65536]"
  ffi.fill(message, 65536, 0x78)
  local count, fd = ffi.cast("uint64_t *", message), a:unwrap()
  return b, function()
    count[0] = count[0] + 1
    C.llsocket_bench_send(fd, message, size, 0)
  end
end

-- A participant: `start(b, size)` answers a function that receives up to n bytes and answers how many there were.
local function participant(start)
  return function(size)
    size = tonumber(size)
    local b, send = ends_of(size)
    local receive = start(b, size)
    return function(n)
      for _ = 1, n do
        send()
        local left = size
        repeat left = left - receive(left) until left == 0
      end
    end
  end
end

local strings = participant(function(b)
  return function(n) return #b:recv(n) end
end)

local buffers = participant(function(b)
  local into = ffi.new "uint8_t[65536]"
  return function(n) return b:recvinto(into, n) end
end)

local ffi_strings = participant(function(b)
  local into, fd = ffi.new "uint8_t[65536]", b:unwrap()
  return function(n) return #ffi.string(into, C.llsocket_bench_recv(fd, into, n, 0)) end
end)

local ffi_buffers = participant(function(b)
  local into, fd = ffi.new "uint8_t[65536]", b:unwrap()
  return function(n) return C.llsocket_bench_recv(fd, into, n, 0) end
end)

local luaposix = participant(function(b)
  local recv, fd = require("posix.sys.socket").recv, b:unwrap()
  return function(n) return #recv(fd, n) end
end)

local luv = participant(function(b)
  local uv = require "luv"
  local pipe, got = uv.new_pipe(), 0
  assert(pipe:open(b:unwrap()))
  pipe:read_start(function(_, message) got = got + #message end)
  return function()
    got = 0
    repeat uv.run "once" until got > 0
    return got
  end
end)

local cqueues = participant(function(b)
  local sock = assert(require("cqueues.socket").fdopen(b:unwrap()))
  sock:setmode("bn", "bn")
  return function(n) return #sock:read(n) end
end)

local ljsyscall = participant(function(b)
  local S = require "syscall"
  local fd = S.t.fd(b:unwrap())
  return function(n) return #S.read(fd, nil, n) end
end)

return {
  title = "a new message received", unit = "messages", chunk = 500,
  without = "lua-socket takes no descriptors",
  note = "No two messages are alike: who answers strings makes a new one of each. The same call sends for all.",
  cases = {
    { name = "64 B", counts = true, 64 }, { name = "1 KiB", 1024 }, { name = "16 KiB", 16384 }, { name = "64 KiB", 65536 },
  },
  rows = {
    { name = "C", work = "receive" },
    { name = "bare FFI, strings", start = ffi_strings },
    { name = "bare FFI, buffers", start = ffi_buffers },
    { name = "llsocket, strings", start = strings, to_c = 0.95, base = "bare FFI, strings", ahead = "strings" },
    { name = "llsocket, buffers", start = buffers, to_c = 0.95, ahead = "all", clean = true },
    { name = "lua-posix", needs = "posix.sys.socket", start = luaposix },
    { name = "lua-luv", needs = "luv", start = luv },
    { name = "lua-cqueues", needs = "cqueues", start = cqueues },
    { name = "lua-ljsyscall", needs = "syscall", start = ljsyscall },
  },
}
