-- batch-stream: batches on streams: first the bytes and then the error, as in every receive; and a batch whose fields have
-- other sizes, such as the BSDs' msg_len of 8 bytes.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local layout = require "llsocket.core.layout"
local net = require "net"
local proc = require "proc"
local values = require "values"
local show = values.show
local before = leak.count()
local T = require("tap").plan(39)

local function contents(batch)
  local out = {}
  for i = 1, batch:count() do out[i] = batch:data(i) end
  return table.concat(out, " ")
end

local small = assert(L.batch.new { count = 3, size = 2 })

-- A stream that was reset while bytes wait.
local function reset(bytes)
  local a, b = net.tcp(L.AF_INET, true)
  a:send(bytes); b:recvable(5)
  a:linger(0); a:close()
  local CLOSE = 7 -- TCP_CLOSE, the first byte of TCP_INFO
  net.await(function() return b:getsockopt(L.IPPROTO_TCP, L.TCP_INFO, "bytes"):byte() == CLOSE end)
  return b
end

if ffi.os ~= "Linux" then T.skip(11, "the state is asked with Linux's TCP_INFO") else
  local b = reset "0123456789abc"
  T.is(show(b:recvbatch(small)), "3, nil, false", "of a stream that was reset the bytes come first")
  T.is(contents(small), "01 23 45", "as many as the batch has capacity for")
  T.is(b:recv(2), "67", "other receives go on with them")
  T.is(show(b:recvbatch(small)), "3, nil, false", "and batches after those")
  T.is(contents(small), "89 ab c", "with the rest")
  T.is(show(b:recvbatch(small)), values.failed(L.ECONNRESET), "then the reset is reported")
  T.is(show(b:recvbatch(small)), "no values", "and then the end")
  b:close()
  b = reset "012345"
  T.is(show(b:recvbatch(small)), "3, nil, false", "where all bytes fill the batch")
  T.is(show(b:recv()), values.failed(L.ECONNRESET), "the reset is left for any receive")
  b:close()
  b = reset "012"
  T.is(show(b:recvbatch(small)) .. " " .. contents(small), "2, nil, false 01 2", "so where they do not")
  T.is(show(b:recv()), values.failed(L.ECONNRESET), "the reset comes next")
  b:close()
end

for _, kind in ipairs { { "TCP", net.tcp, L.AF_INET }, { "a unix stream", net.pair, L.SOCK_STREAM } } do
  local name = kind[1] .. ": "
  local a, b = kind[2](kind[3], true)
  T.is(show(b:recvbatch(small)), values.again(L.EAGAIN), name .. "nothing has come")
  a:send "abc"; b:recvable(5)
  T.is(show(b:recvbatch(small, L.MSG_PEEK)) .. " " .. contents(small), "2, nil, false ab c",
    name .. "MSG_PEEK tells the bytes in order")
  T.is(show(b:recvbatch(small)) .. " " .. contents(small), "2, nil, false ab c", name .. "and takes none")
  b:nonblock(false)
  local pid = proc.fork(function()
    for i = 1, 6 do
      a:send(tostring(i))
      b:recvable(0)
    end
  end)
  T.is(show(b:recvbatch(small, L.MSG_WAITALL)) .. " " .. contents(small), "3, nil, false 12 34 56",
    name .. "MSG_WAITALL waits until the batch is full")
  proc.wait(pid)
  a:send "xyz"; a:shutdown(L.SHUT_WR); b:recvable(5)
  T.is(show(b:recvbatch(small, L.MSG_WAITALL)) .. " " .. contents(small), "2, nil, false xy z", name .. "or until the end")
  T.is(show(b:recvbatch(small)), "no values", name .. "which is reported next")
  b:send "back"
  T.is(show(a:recvbatch(small)) .. " " .. contents(small), "2, nil, false ba ck", name .. "and the batch is whole")
  a:close(); b:close()
end

-- What comes beside the bytes is the first message's.
local a, b = net.tcp(L.AF_INET, true)
local stamped = assert(L.batch.new { count = 4, size = 2, controlsize = 64 })
T.is(b:timestampns(true), true, "time stamps are asked for")
a:send "abcdef"; b:recvable(5)
T.is(show(b:recvbatch(stamped)), "3, nil, false", "a stream with ancillary data fills a batch")
T.ok(#stamped:control(1) <= 1 and #stamped:control(2) == 0 and #stamped:control(3) == 0, "which the first message has, if any")
a:send "gh"; b:recvable(5)
T.is(show(b:recvbatch(stamped)) .. " " .. contents(stamped), "1, nil, false gh", "and the next receive has its whole capacity")
a:close(); b:close()

-- A row whose size is another: msg_len has 8 bytes on FreeBSD.  On a 64-bit little-endian machine the kernel's 4 are its lower
-- half, and the padding behind them is 0.
local wide = layout.mmsghdr and ffi.typeof("struct { $ msg_hdr; int64_t msg_len; }", layout.msghdr)
if not (wide and ffi.sizeof(wide) == ffi.sizeof(layout.mmsghdr) and ffi.abi "le") then
  T.skip(9, "here msg_len of 8 bytes is no stand-in for the kernel's")
else
  local loaded = {}
  for _, name in ipairs { "batch", "socket.batch" } do
    loaded[name], package.loaded["llsocket." .. name] = package.loaded["llsocket." .. name], nil
  end
  local narrow = layout.mmsghdr
  rawset(layout, "mmsghdr", wide)
  local batches, sockets = require "llsocket.batch", require("llsocket.socket.batch").methods
  rawset(layout, "mmsghdr", narrow)
  for name, module in pairs(loaded) do package.loaded["llsocket." .. name] = module end
  local batch = assert(batches.new { count = 4, size = 10 })
  local y
  local x = net.bound(L.AF_INET, L.SOCK_DGRAM, true)
  batch:to(x:getsockname())
  batch:data(1, "one"); batch:data(2, ""); batch:data(3, "longer")
  T.is(show(sockets.sendbatch(x, batch, 3)), "3, nil, false", "msg_len of 8 bytes: datagrams are sent")
  T.is(show(sockets.recvbatch(x, batch)), "3, nil, false", "and received")
  T.is(show(batch:data(1), batch:data(2), batch:data(3), batch:length(3)), '"one", "", "longer", 6', "each with its bytes")
  T.is(show(x:sendbatch(assert(L.batch.new { count = 1, name = x:getsockname() }))), "1, nil, false", "an empty one")
  T.is(show(sockets.recvbatch(x, batch, L.MSG_TRUNC)) .. show(batch:length(1)), "1, nil, false0", "comes, too")
  x:close()
  x, y = net.pair(L.SOCK_SEQPACKET, true)
  x:send "one"; x:send ""; x:send "two"; x:close()
  T.is(show(sockets.recvbatch(y, batch)) .. contents(batch), "3, nil, falseone  two", "seqpackets, before their end")
  y:close()
  x, y = net.pair(L.SOCK_STREAM, true)
  local large = assert(batches.new { count = 2, size = 2^20 })
  large:data(1, ("x"):rep(2^20)); large:data(2, "end")
  T.is(show(sockets.sendbatch(x, large)), show(0, nil, true), "a stream takes a part of a message")
  local length = large:length(1)
  T.ok(type(length) == "number" and length > 0 and length < 2^20, "which keeps the rest")
  local ten = ("x"):rep(10)
  T.is(show(sockets.recvbatch(y, batch)) .. contents(batch), "4, nil, false" .. (ten .. " "):rep(3) .. ten, "and a part arrives")
  x:close(); y:close()
end
T.is(leak.count(), before, "no descriptor is left")
T.done()
