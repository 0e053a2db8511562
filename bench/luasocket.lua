-- luasocket.lua -- how long do LuaSocket's own calls take, of its C core and of llsocket's face?
--
-- The same call through the FFI sends what is received, and takes what is sent.  "In coroutines" one coroutine waits for what
-- another sends.
local ffi = require "ffi"
local ends = require "bench.lib.ends"
ffi.cdef [[
int llsocket_bench_face_send(int fd, const void *bytes, size_t size, int flags) __asm__("send");
int llsocket_bench_face_recv(int fd, void *bytes, size_t size, int flags) __asm__("recv");
]]
local C = ffi.C
local BATCH = 32768
local memory = ffi.new "uint8_t[1048576]"

local kept = {} -- what was read last: LuaJIT need not make a string that nobody keeps

local function real() return require "socket.core" end
local function face() return require "llsocket.luasocket" end

local function listener(lib)
  local server = assert(lib.tcp4())
  assert(server:bind("127.0.0.1", 0))
  assert(server:listen(32))
  return server, server:getsockname()
end

-- The library's client, connected to a socket whose number is told.
local function client_of(lib)
  local sock, name = ends.listener()
  local client = assert(lib.connect("127.0.0.1", name:port()))
  client:setoption("tcp-nodelay", true)
  return client, (assert(sock:accept())):unwrap()
end

-- A function that sends a batch of parts, of which no two are alike for long; and how many parts it has.
local function sender(fd, size, ending)
  local parts, step = math.floor(BATCH / size), size
  local bytes, count = ffi.new("uint8_t[32768]"), 0
  ffi.fill(bytes, BATCH, 120)
  if ending then
    for i = 1, parts do bytes[i * step - 1] = 10 end
  end
  return function()
    count = (count + 1) % 1000
    local digits = ("%03d"):format(count)
    for at = 0, parts * step - 4, step do ffi.copy(bytes + at, digits, 3) end
    C.llsocket_bench_face_send(fd, bytes, parts * step, 0)
  end, parts
end

-- A function that takes what has been sent and not been taken, up to a number of bytes in all; 0x40 is MSG_DONTWAIT.
local function drainer(fd)
  local taken = 0
  return function(total, flags)
    while taken < total do
      local n = C.llsocket_bench_face_recv(fd, memory, 1048576, flags)
      if n <= 0 then return end
      taken = taken + n
    end
    taken = taken - total
  end
end

-- Kinds: open(driver, size) answers a function that does n of them.
local KINDS = {}

local function receiving(pattern_of, ending)
  return function(driver, size)
    local client, fd = client_of(driver.lib())
    local send, parts = sender(fd, size, ending)
    local pattern = pattern_of(size)
    return driver.exchange(client, send, function(receive)
      for i = 1, parts do kept[i % 8] = receive(client, pattern) end
    end)
  end
end

KINDS.line = receiving(function() return "*l" end, true)
KINDS.bytes = receiving(function(size) return size end)

function KINDS.send(driver, size)
  local client, fd = client_of(driver.lib())
  local msg, times, drain = ("x"):rep(size), size < 1024 and 16 or 1, drainer(fd)
  return driver.run(function(calls)
    for _ = 1, times do calls.send(client, msg) end
    drain(size * times, 0)
  end, function() drain(math.huge, 0x40) end)
end

function KINDS.all(driver, size)
  local server, host, port = listener(driver.lib())
  ffi.fill(memory, size, 120)
  return driver.serve(server, function(peer)
    C.llsocket_bench_face_send(peer:getfd(), memory, size, 0)
    peer:close()
  end, function(calls)
    local client = calls.connect(host, port)
    kept[1] = calls.receive(client, "*a")
    client:close()
  end)
end

-- Blocking --------------------------------------------------------------------------------------------------------

local function receive(client, pattern) return (client:receive(pattern)) end
local function send(client, msg) return (assert(client:send(msg))) end

local function blocking(lib)
  local driver = { lib = lib }
  function driver.exchange(_, feed, read)
    return function(n)
      for _ = 1, n do
        feed()
        read(receive)
      end
    end
  end
  function driver.run(each)
    local calls = { send = send }
    return function(n)
      for _ = 1, n do each(calls) end
    end
  end
  -- One process asks and answers, so the answer is sent before it is read.
  function driver.serve(server, handle, ask)
    local connect = lib().connect
    local calls = { receive = receive }
    function calls.connect(host, port)
      local client = assert(connect(host, port))
      handle(assert(server:accept()))
      return client
    end
    return function(n)
      for _ = 1, n do ask(calls) end
    end
  end
  return driver
end

-- In coroutines of llsocket's loop -----------------------------------------------------------------------------------

local function in_coroutines(lib)
  local driver = { lib = lib }
  local loop = require "llsocket.wait.coroutine"
  function driver.exchange(_, feed, read)
    return function(n)
      loop.spawn(function()
        for _ = 1, n do read(receive) end
      end)
      loop.spawn(function()
        for _ = 1, n do
          feed()
          loop.sleep(0)
        end
      end)
      loop.run()
    end
  end
  function driver.run(each)
    local calls = { send = send }
    return function(n)
      loop.spawn(function()
        for _ = 1, n do each(calls) end
      end)
      loop.run()
    end
  end
  function driver.serve(server, handle, ask)
    local calls = { receive = receive, connect = function(host, port) return (assert(lib().connect(host, port))) end }
    return function(n)
      loop.spawn(function()
        for _ = 1, n do handle(assert(server:accept())) end
      end)
      loop.spawn(function()
        for _ = 1, n do ask(calls) end
      end)
      loop.run()
    end
  end
  return driver
end

-- In Copas ---------------------------------------------------------------------------------------------------------

local function until_done(copas, work, meanwhile)
  local done = false
  copas.addthread(function()
    work()
    done = true
  end)
  while not done do
    meanwhile()
    copas.step()
  end
end

local function nothing() end

local function in_copas(lib)
  local driver, copas = { lib = lib }, require "copas"
  copas.autoclose = false -- or it closes what a thread waited for last
  local function copas_receive(client, pattern)
    local msg, _, part = copas.receive(client, pattern)
    return msg or part
  end
  local calls = { send = copas.send, receive = copas_receive }
  function calls.connect(host, port)
    local client = lib().tcp()
    assert(copas.connect(client, host, port))
    return client
  end
  function driver.exchange(client, feed, read)
    client:settimeout(0)
    local batches = 0
    copas.addthread(function()
      while true do
        read(copas_receive)
        batches = batches + 1
      end
    end)
    return function(n)
      for _ = 1, n do
        feed()
        local before = batches
        while batches == before do copas.step() end
      end
    end
  end
  function driver.run(each, drain)
    return function(n)
      until_done(copas, function()
        for _ = 1, n do each(calls) end
      end, drain)
    end
  end
  function driver.serve(server, handle, ask)
    copas.addserver(server, handle)
    return function(n)
      until_done(copas, function()
        for _ = 1, n do ask(calls) end
      end, nothing)
    end
  end
  return driver
end

local function start(driver_of, lib)
  return function(kind, size)
    local driver = driver_of(lib)
    if driver_of == in_copas then driver.lib = function() return require "socket" end end
    return KINDS[kind](driver, tonumber(size))
  end
end

return {
  title = "LuaSocket's calls", unit = "batches", chunk = 20, seconds = 0.2,
  note = "A batch is 32 KiB of lines or records that are received, or sent; or one answer that is read up to its end with a "
    .. "connection of its own.",
  cases = {
    { name = "lines of 40 B", "line", 40 }, { name = "receive(64)", "bytes", 64 }, { name = "receive(8192)", "bytes", 8192 },
    { name = 'receive "*a", 64 KiB', "all", 65536 }, { name = "send of 64 B", "send", 64 },
    { name = "send of 64 KiB", "send", 65536 },
  },
  rows = {
    { name = "lua-socket", needs = "socket.core", start = start(blocking, real) },
    { name = "llsocket, face", start = start(blocking, face), ahead = "blocking" },
    { name = "llsocket, face in coroutines", start = start(in_coroutines, face), ahead = "loops" },
    { name = "lua-copas", needs = "copas", start = start(in_copas, real), loop = true },
  },
  kept = kept,
}
