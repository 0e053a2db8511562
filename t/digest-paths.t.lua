-- digest-paths: bytes stay right through every way in and out, with full collections in between: the digest of what one
-- process sends equals the digest of what another receives.  LLSOCKET_DIGEST_MIB sets the amount for each way.
local ffi = require "ffi"
local L = require "llsocket"
local leak = require "leak"
local net = require "net"
local missing = require "missing"
local proc = require "proc"
local shell = require "shell"
local before = leak.count()
local helper = shell.format("%s %q/stream", os.getenv "LLSOCKET_RUN" or "", os.getenv "LLSOCKET_FACTS":match "^(.*)/")
local MIB = tonumber(os.getenv "LLSOCKET_DIGEST_MIB") or 16
local BYTES, EVERY = MIB * 2^20, MIB > 100 and 256 or 32
local has_buffer, buffers = pcall(require, "string.buffer")

-- A full collection now and then, at places that change.
local rounds = 0
local function breathe()
  rounds = rounds + 1
  if rounds % EVERY == 0 then collectgarbage() end
end

local function wait_in(sock, again)
  if again then sock:recvable(60) end
  return again
end

-- Sends all of `size` bytes by send(n), which sends what is behind the first n.
local function send_all(sink, size, send)
  local sent = 0
  while sent < size do
    local n, err, again = send(sent)
    if not n then error(err or "closed") end
    sent = sent + n
    if again then sink:sendable(60) end
  end
end

-- Until the stream ends; receive() answers as recv does.
local function each(source, receive, use)
  while true do
    local got, err, again = receive()
    if got then use(got)
    elseif not wait_in(source, again) then
      if err then error(err) end
      return
    end
    breathe()
  end
end

local function strings(source, sink)
  each(source, function() return source:recv(65536) end, function(msg)
    send_all(sink, #msg, function(sent) return sink:send(sent > 0 and msg:sub(sent + 1) or msg) end)
  end)
end

local function arrays(source, sink)
  local buf = ffi.new "uint8_t[65536]"
  each(source, function() return source:recvinto(buf, 65000, 536) end, function(size)
    send_all(sink, size, function(sent) return sink:sendfrom(buf, size - sent, 536 + sent) end)
  end)
end

local function string_buffers(source, sink)
  local buf = buffers.new()
  each(source, function() return source:recvinto(buf, 65536) end, function()
    while #buf > 0 do
      local n, err, again = sink:sendfrom(buf)
      buf:skip(assert(n, err))
      if again then sink:sendable(60) end
    end
  end)
end

local function parts(source, sink)
  each(source, function() return source:readv { 1000, 30000, 1, 34535 } end, function(list)
    local size = #table.concat(list)
    send_all(sink, size, function(sent)
      if sent == 0 then return sink:writev(list) end
      return sink:writev { (table.concat(list):sub(sent + 1)) }
    end)
  end)
end

local function messages(source, sink)
  local mh = assert(L.msghdr.new { size = { 100, 65436 }, controlsize = 0 })
  each(source, function() return source:recvmsg(mh) end, function(size)
    send_all(sink, size, function() return sink:sendmsg(mh) end)
  end)
end

-- What comes is sent on as it is; the batch keeps the rest of what a stream took a part of.
local function batches(source, sink)
  local batch = assert(L.batch.new { count = 16, size = 9000 })
  each(source, function() return source:recvbatch(batch) end, function(count)
    batch:to()
    send_all(sink, count, function(sent) return sink:sendbatch(batch, count - sent, sent + 1) end)
  end)
end

-- The empty datagram is the last.
local function datagrams(source, sink)
  local batch, done = assert(L.batch.new { count = 32, size = 9000 }), false
  each(source, function()
    if done then return end
    return source:recvbatch(batch)
  end, function(count)
    done = batch:length(count) == 0
    batch:to()
    send_all(sink, count, function(sent) return sink:sendbatch(batch, count - sent, sent + 1) end)
  end)
end

local function send_one(sink, send)
  repeat
    local n, err, again = send()
    if not n then error(err or "closed") end
    if again then sink:sendable(60) end
  until not again
end

local function addressed(source, sink, there)
  local done
  each(source, function()
    if done then return end
    local msg, _, err, again = source:recvfrom(9000)
    return msg, err, again
  end, function(msg)
    done = msg == ""
    send_one(sink, function() return sink:sendto(msg, there) end)
  end)
end

local function addressed_arrays(source, sink, there)
  local done, buf, ai = nil, ffi.new "uint8_t[9000]", net.addr()
  each(source, function()
    if done then return end
    local n, _, err, again = source:recvfrominto(buf, nil, ai)
    return n, err, again
  end, function(size)
    done = size == 0
    send_one(sink, function() return sink:sendtofrom(buf, size, there) end)
  end)
end

local function spliced(source, sink)
  local pipe = assert(L.pipe.new())
  while true do
    local n, err, again = source:splice(sink, pipe)
    if not n then error(err or "closed") end
    if again then
      if pipe:held() > 0 then sink:sendable(60) else source:recvable(60) end
    elseif n == 0 then return pipe:close() end
    breathe()
  end
end

-- How the ends meet: each answers Lua's own and the far one, which a child inherits.
local function tcp() return net.tcp(L.AF_INET) end
local function unix() return net.pair(L.SOCK_STREAM) end
local function unix_datagrams() return net.pair(L.SOCK_DGRAM) end
local function named_datagrams()
  local near = net.bound_at(net.places[5], L.SOCK_DGRAM)
  local far = net.bound_at(net.places[5], L.SOCK_DGRAM)
  assert(not far:connect(near:getsockname()))
  return near, far, far:getsockname()
end

-- The memory is used again as soon as the kernel is done with it, and what is less than it takes goes between.
local function uncopied(source, sink)
  local buf = ffi.new "uint8_t[65536]"
  each(source, function() return source:recvinto(buf, 65000) end, function(size)
    send_all(sink, size, function(sent) return sink:sendzerocopy(buf, size - sent, sent, L.MSG_ZEROCOPY) end)
    while sink:completed() > 0 do sink:recvable(60) end
    ffi.fill(buf, 65536, 255)
  end)
end

-- By way of two UDP sockets, cut into datagrams of 1,000 bytes and received joined; one at a time, for UDP drops.
local function segments(source, sink)
  local to, name = net.bound(L.AF_INET, L.SOCK_DGRAM)
  local from = assert(L.socket.new(name))
  assert(not from:connect(name) and from:udpsegment(1000) and to:udpgro(true))
  local mh, batch = assert(L.msghdr.new { size = 65536 }), assert(L.batch.new { count = 4, size = 65536, controlsize = 64 })
  local turn = false
  local function relay()
    turn = not turn
    if turn then
      local size = assert(to:recvmsg(mh))
      send_all(sink, size, function(sent) return sink:send(sent > 0 and mh:data():sub(sent + 1) or mh:data()) end)
      return size
    end
    local count, size = assert(to:recvbatch(batch)), 0
    for i = 1, count do size = size + batch:length(i) end
    batch:to()
    send_all(sink, count, function(sent) return sink:sendbatch(batch, count - sent, sent + 1) end)
    return size
  end
  each(source, function() return source:recv(50500) end, function(msg)
    assert(from:send(msg) == #msg)
    local left = #msg
    while left > 0 do left = left - relay() end
  end)
  from:close(); to:close()
end

local probe = assert(L.socket.new(net.addr()))
local no_zerocopy = select(4, probe:sendzerocopy "x") == L.EOPNOTSUPP and "there is no MSG_ZEROCOPY" or nil
probe:close()
probe = assert(L.socket.new(net.addr(L.AF_INET, L.SOCK_DGRAM)))
local no_segments = not (probe:udpsegment(1000) and probe:udpgro(true)) and "UDP cuts and joins nothing here" or nil
probe:close()

local PATHS = {
  { "recv and send, over TCP", strings, tcp, tcp },
  { "recvinto and sendfrom with arrays, over TCP", arrays, tcp, tcp },
  { "recvinto and sendfrom with a string.buffer, over unix streams", string_buffers, unix, unix,
    not has_buffer and "this LuaJIT has no string.buffer" },
  { "readv and writev, over unix streams", parts, unix, unix },
  { "recvmsg and sendmsg, over TCP", messages, tcp, tcp },
  { "recvbatch and sendbatch, over TCP", batches, tcp, tcp },
  { "recvbatch and sendbatch, over unix datagrams", datagrams, unix_datagrams, unix_datagrams },
  { "recvfrom and sendto, over unix datagrams", addressed, named_datagrams, named_datagrams },
  { "recvfrominto and sendtofrom, over unix datagrams", addressed_arrays, named_datagrams, named_datagrams },
  { "sendzerocopy from memory that is used again, over TCP", uncopied, tcp, tcp, no_zerocopy },
  { "UDP segments, joined and told by recvmsg and recvbatch", segments, tcp, tcp, no_segments },
  { "splice, from TCP to TCP", spliced, tcp, tcp, missing.splice },
  { "splice, from a unix stream to TCP", spliced, unix, tcp, missing.splice },
  { "splice, from TCP to a unix stream", spliced, tcp, unix, missing.splice },
}
local T = require("tap").plan(#PATHS + 3)

-- Starts the helper on one end of a pair; answers the other, non-blocking, and what the helper prints.
local function start(make, what, arguments)
  local near, far, name = make()
  far:cloexec(false)
  local out = assert(io.popen(("exec %s %s %d %s"):format(helper, what, far:fd(), arguments or "")))
  far:close()
  near:nonblock(true)
  return near, out, name
end

local function printed(out)
  local text = out:read "*a"
  out:close()
  return text
end

-- What was given, and what was taken.
local function transfer(seed, path)
  local _, pump, make_source, make_sink = unpack(path)
  local source, given = start(make_source, "give", ("%d %d"):format(BYTES, seed))
  local sink, taken, there = start(make_sink, "take")
  local ok, why = pcall(pump, source, sink, there)
  source:close(); sink:close()
  return printed(given), ok and printed(taken) or why
end

local first
for i, path in ipairs(PATHS) do
  if path[5] then T.skip(1, path[5]) else
    local given, taken = transfer(i, path)
    first = first or given
    T.is(taken, given, ("%s: %d MiB are right"):format(path[1], MIB))
  end
end

-- A file of at most 64 MiB, as often as it takes.
local function files()
  local size = math.min(BYTES, 2^26)
  local path = net.tmpdir() .. "/file"
  local source, given = start(unix, "give", ("%d 99"):format(size))
  local file = assert(io.open(path, "w+"))
  each(source, function() return source:recv(65536) end, function(msg) file:write(msg) end)
  source:close(); file:flush(); printed(given)
  local sink, taken = start(tcp, "take")
  for _ = 1, BYTES / size do
    send_all(sink, size, function(sent)
      breathe()
      return sink:sendfile(file, size - sent, sent)
    end)
  end
  sink:close(); file:close()
  return proc.run(shell.format("%s sum %q %d", helper, path, BYTES / size)), printed(taken)
end
if missing.sendfile then T.skip(1, missing.sendfile) else
  local given, taken = files()
  T.is(taken, given, ("sendfile, over TCP: %d MiB are right"):format(MIB))
end

-- That the digests can differ: by one byte of another stream.
local source, given = start(unix, "give", ("%d 1"):format(BYTES))
local sink, taken = start(unix, "take")
local spoilt = false
each(source, function() return source:recv(65536) end, function(msg)
  if not spoilt then msg, spoilt = string.char((msg:byte() + 1) % 256) .. msg:sub(2), true end
  send_all(sink, #msg, function(sent) return sink:send((msg:sub(sent + 1))) end)
end)
source:close(); sink:close()
local one, other = printed(given), printed(taken)
T.ok(one == first and one ~= other and one:match "^%d+" == other:match "^%d+", "one wrong byte changes the digest")
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
