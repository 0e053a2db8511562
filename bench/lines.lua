-- lines.lua -- how long does a batch of lines, records or replies take that is read through a buffer?
--
-- The same call through the FFI sends each batch of 32 KiB; no two are alike.  "In coroutines" one coroutine sends, and another
-- waits for what comes.
local ffi = require "ffi"
local ends = require "bench.lib.ends"
ffi.cdef [[
int llsocket_bench_lines_send(int fd, const void *bytes, size_t size, int flags) __asm__("send");
int llsocket_bench_lines_recv(int fd, void *bytes, size_t size, int flags) __asm__("recv");
]]
local C = ffi.C
local BATCH = 32768

local kept = {} -- what was read last: LuaJIT need not make a string that nobody keeps

local TEXT = {
  line = function(i) return ("%039d\n"):format(i) end,
  record = function(i, size) return ("%010d"):format(i) .. ("x"):rep(size - 10) end,
  reply = function(i) return ("$9\r\nv%08d\r\n"):format(i) end,
}

local function batch_of(kind, size)
  local parts, bytes = {}, 0
  repeat
    parts[#parts + 1] = TEXT[kind](#parts + 1, size)
    bytes = bytes + #parts[#parts]
  until bytes + #parts[1] > BATCH
  return table.concat(parts), #parts
end

-- A function that sends the next batch: the first digits of each part differ from those of the batch before.
local function sender(fd, kind, size)
  local text, parts = batch_of(kind, size)
  local bytes, count, step = ffi.new("uint8_t[65536]"), 0, #text / parts
  ffi.copy(bytes, text)
  return function()
    count = (count + 1) % 1000
    local digits = ("%03d"):format(count)
    for at = kind == "reply" and 5 or 0, #text - 3, step do ffi.copy(bytes + at, digits, 3) end
    C.llsocket_bench_lines_send(fd, bytes, #text, 0)
  end, parts, #text
end

-- A participant that blocks: open(b, size) answers by kind how it reads one.
local function blocking(open)
  return function(kind, size)
    local a, b = ends.pair "TCP"
    local send, parts = sender(a:unwrap(), kind, tonumber(size))
    local read = open(b, tonumber(size))[kind]
    return function(n)
      for _ = 1, n do
        send()
        for _ = 1, parts do read() end
      end
    end
  end
end

-- A participant in coroutines: loop has spawn, run and pause.
local function in_coroutines(open, loop_of)
  return function(kind, size)
    local loop, a, b = loop_of(), ends.pair "TCP"
    local send, parts = sender(a:unwrap(), kind, tonumber(size))
    local read = open(b, tonumber(size))[kind]
    local function reader(n)
      for i = 1, n * parts do kept[i % 8] = read() end
    end
    return function(n)
      loop.spawn(reader, n)
      loop.spawn(function()
        for _ = 1, n do
          send()
          loop.pause()
        end
      end)
      loop.run()
    end
  end
end

local function streams(b, size)
  local s = assert(require("llsocket.stream").wrap(b))
  return {
    line = function() return s:line() end, record = function() return s:exactly(size) end,
    reply = function() return s:exactly(tonumber(s:line():sub(2)) + 2) end,
  }
end

local function cqueues(b, size)
  local s = assert(require("cqueues.socket").fdopen(b:unwrap()))
  s:setmode("bf", "bn")
  return {
    line = function() return s:read "*l" end, record = function() return s:read(size) end,
    reply = function() return s:read(tonumber(s:read("*l"):sub(2)) + 2) end,
  }
end

local LOOPS = {}

function LOOPS.llsocket()
  local loop = require "llsocket.wait.coroutine"
  return { spawn = loop.spawn, run = loop.run, pause = function() loop.sleep(0) end }
end

function LOOPS.cqueues()
  local module = require "cqueues"
  local controller = module.new()
  return {
    spawn = function(fn, ...) controller:wrap(fn, ...) end, run = function() assert(controller:loop()) end,
    pause = function() module.poll(0) end,
  }
end

-- lua-socket's client, connected to a socket that sends.
local function luasocket_pair()
  local listener, name = ends.listener()
  local client = assert(require("socket").connect("127.0.0.1", name:port()))
  client:setoption("tcp-nodelay", true)
  return (assert(listener:accept())), client
end

local function luasocket_reads(receive, size)
  return {
    line = function() return receive "*l" end, record = function() return receive(size) end,
    reply = function() return receive(tonumber(receive("*l"):sub(2)) + 2) end,
  }
end

local function luasocket(kind, size)
  local a, client = luasocket_pair()
  local send, parts = sender(a:unwrap(), kind, tonumber(size))
  local read = luasocket_reads(function(what) return assert(client:receive(what)) end, tonumber(size))[kind]
  return function(n)
    for _ = 1, n do
      send()
      for i = 1, parts do kept[i] = read() end
    end
  end
end

local function copas_loop(kind, size)
  local copas = require "copas"
  local a, client = luasocket_pair()
  client:settimeout(0)
  local send, parts = sender(a:unwrap(), kind, tonumber(size))
  local read = luasocket_reads(function(what) return assert(copas.receive(client, what)) end, tonumber(size))[kind]
  local done = 0
  copas.addthread(function()
    while true do
      for i = 1, parts do kept[i] = read() end
      done = done + 1
    end
  end)
  return function(n)
    for _ = 1, n do
      send()
      local before = done
      while done == before do copas.step() end
    end
  end
end

-- The bytes alone: what the kernel costs, without strings.
local function kernel(kind, size)
  local a, b = ends.pair "TCP"
  local send, _, bytes = sender(a:unwrap(), kind, tonumber(size))
  local into, fd = ffi.new "uint8_t[65536]", b:unwrap()
  return function(n)
    for _ = 1, n do
      send()
      local got = 0
      repeat got = got + C.llsocket_bench_lines_recv(fd, into, 65536, 0) until got >= bytes
    end
  end
end

return {
  title = "32 KiB read as lines, records or replies", unit = "batches", chunk = 20,
  note = "The first row only receives the bytes, and makes nothing of them.",
  cases = {
    { name = "lines of 40 B", counts = true, "line", 40 }, { name = "records of 1 KiB", "record", 1024 },
    { name = "records of 16 KiB", "record", 16384 }, { name = "redis replies", "reply", 9 },
  },
  rows = {
    { name = "bytes alone", start = kernel },
    { name = "llsocket, stream", start = blocking(streams), ahead = "blocking" },
    { name = "llsocket, stream in coroutines", start = in_coroutines(streams, LOOPS.llsocket), ahead = "loops" },
    { name = "lua-socket", needs = "socket", start = luasocket },
    { name = "lua-cqueues", needs = "cqueues", start = blocking(cqueues) },
    { name = "lua-cqueues, loop", needs = "cqueues", start = in_coroutines(cqueues, LOOPS.cqueues), loop = true },
    { name = "lua-copas", needs = "copas", start = copas_loop, loop = true },
  },
  kept = kept,
}
