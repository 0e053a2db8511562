-- batch-hot: loops over batches compile, stay compiled, and allocate nothing.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local sys = require "sys"
local trace = require "trace"
local before = leak.count()

local server, server_name = net.bound(L.AF_INET, L.SOCK_DGRAM, true)
local client, client_name = net.bound(L.AF_INET, L.SOCK_DGRAM, true)
local stamped, stamped_name = net.bound(L.AF_INET, L.SOCK_DGRAM, true)
stamped:timestampns(true)
local a, b = net.pair(L.SOCK_STREAM, true)
local out = assert(L.batch.new { count = 8, size = 64, name = server_name })
local into = assert(L.batch.new { count = 8, size = 64 })
local back = assert(L.batch.new { count = 16, size = 64, controlsize = 64 })
local stream = assert(L.batch.new { count = 4, size = 64 })
for i = 1, 8 do out:data(i, ("x"):rep(i)) end
for i = 1, 4 do stream:data(i, ("y"):rep(i)) end

local CASES = {
  { "a batch and its answer", function()
    client:sendbatch(out, 8)
    local n = server:recvbatch(into)
    server:sendbatch(into, n)
    client:recvbatch(back)
  end },
  { "messages by length and pointer", function()
    for i = 1, 8 do
      local at = out:pointer(i)
      at[0] = i
      out:length(i, 8)
    end
    client:sendbatch(out)
    local n, sum = server:recvbatch(into), 0
    for i = 1, n do
      local at, length = into:pointer(i)
      sum = sum + at[0] + length + into:length(i) + into:flags(i)
    end
    if sum ~= 36 + 16 * 8 then error "wrong" end
  end },
  { "a part of a batch, with flags", function()
    client:sendbatch(out, 3, 2, L.MSG_DONTWAIT)
    server:recvbatch(into, L.MSG_DONTWAIT)
  end },
  { "data that exists, set and told", function()
    out:data(1, "one"); out:name(1, server_name)
    client:sendbatch(out, 1)
    server:recvbatch(into)
    if into:data(1) ~= "one" then error "wrong" end
  end },
  { "a stream", function() a:sendbatch(stream); b:recvbatch(into) end },
  { "a receive that finds nothing", function() server:recvbatch(into) end },
  { "segments", function()
    out:segment(1, 0)
    client:sendbatch(out, 1)
    server:recvbatch(back)
    if back:segment(1) ~= 0 then error "wrong" end
    into:to(client_name)
  end },
  { "times", function()
    out:timestamping(1, 0); out:to(stamped_name)
    client:sendbatch(out, 2)
    out:to(server_name)
    local n, sum = stamped:recvbatch(back), 0
    for i = 1, n do sum = sum + back:timestamp(i) end
    if sum < 2e9 or back:timestamping(1) ~= 0 then error "wrong" end
  end },
}
local T = require("tap").plan(#CASES * 2 + 2)

trace.hot(T, CASES)
while client:recvbatch(back) do end

-- The memory is malloc's, and goes with the object.
local function make() return assert(L.batch.new { count = 1024, size = 65536 }) end -- 64 MiB
local function many()
  local start = sys.memory()
  for i = 1, 500 do
    ffi.fill(make():pointer(1), 1)
    if i % 10 == 0 then collectgarbage() end
  end
  return sys.memory() - start
end
if sys.linux and sys.has_proc then T.ok(many() < 2^31, "collected batches free their memory")
else T.skip(1, "memory is counted on Linux with /proc only") end
for _, sock in ipairs { server, client, a, b, stamped } do sock:close() end
T.is(leak.count(), before, "no descriptor is left")
T.done()
