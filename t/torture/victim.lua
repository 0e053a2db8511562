-- victim.lua KIND WAY [PATH] -- an echo server that receives in one way; t/torture/peers.lua sets hostile peers upon it.
--
-- KIND is tcp, unix, udp or dgram.  It collects garbage whenever a client has gone, so that descriptors that came unasked for
-- are closed by then, or never.
local ffi = require "ffi"
local L = require "llsocket"
local loop = require "llsocket.wait.coroutine"

local KIND, WAY, PATH = arg[1], arg[2], arg[3]
local SIZE = 65536
local STREAM = KIND == "tcp" or KIND == "unix"
L.wait.set(loop.wait)

-- Each answers the text, or nil; then the name of the sender; then whether to try again.
local RECEIVE = {}

function RECEIVE.recv(sock)
  local msg, _, again = sock:recv(SIZE)
  return msg, nil, again
end

function RECEIVE.recvfrom(sock)
  local msg, from, _, again = sock:recvfrom(SIZE)
  return msg, from, again
end

local buffer = ffi.new "uint8_t[65536]"
function RECEIVE.recvinto(sock)
  local n, _, again = sock:recvinto(buffer, SIZE)
  return n and ffi.string(buffer, n), nil, again
end

-- Asks for the ancillary data of every second message only.
local mh, turn = assert(L.msghdr.new { size = SIZE, controlsize = 256 }), false
function RECEIVE.recvmsg(sock)
  local n, _, again = sock:recvmsg(mh)
  turn = not turn
  if n and turn then mh:control() end
  return n and mh:data(), n and mh:name(), again
end

local plain = assert(L.msghdr.new { size = SIZE })
function RECEIVE.plain(sock)
  local n, _, again = sock:recvmsg(plain)
  return n and plain:data(), n and plain:name(), again
end

function RECEIVE.readv(sock)
  local parts, _, again = sock:readv { 10, 1000, SIZE }
  return parts and table.concat(parts), nil, again
end

-- Not for unix sockets: a batch takes no descriptors.
local msgs = assert(L.batch.new { count = 8, size = SIZE, controlsize = 128 })
function RECEIVE.recvbatch(sock)
  local n, _, again = sock:recvbatch(msgs, 8)
  if not n then return nil, nil, again end
  local texts = {}
  for i = 1, n do texts[i] = msgs:data(i) end
  return table.concat(texts), msgs:name(1), again
end

-- With the error queue on, into which a peer that is gone when the answer comes puts an error, and with times.
function RECEIVE.errors(sock)
  for _ = 1, 64 do
    if not sock:recvmsg(mh, L.MSG_ERRQUEUE) then break end
    mh:control()
  end
  return RECEIVE.recvmsg(sock)
end

local function is_sent(sock, text)
  while text ~= "" do
    local n = sock:send(text)
    if not n or n < #text and not sock:sendable(60) then return false end
    text = text:sub(n + 1)
  end
  return true
end

local function echo(sock)
  while sock:recvable(60) do
    local text, _, again = RECEIVE[WAY](sock)
    if not (text or again) or text and not is_sent(sock, text) then break end
  end
  sock:close()
  collectgarbage()
end

-- From the socket through a pipe back into it.
function RECEIVE.splice() end
local function echo_spliced(sock)
  local tube = L.pipe.new()
  if not tube then return sock:close() end
  while sock:recvable(60) do
    local n, _, again = sock:splice(sock, tube, SIZE)
    if not n or not again and n == 0 then break end
    if tube:held() > 0 and not sock:sendable(60) then break end
  end
  tube:close()
  sock:close()
  collectgarbage()
end

local function serve(listener)
  while true do
    local ready = listener:recvable()
    local sock, _, again = listener:accept(true)
    if sock then loop.spawn(WAY == "splice" and echo_spliced or echo, sock) end
    if not sock and not (ready and again) then L.wait.poll(listener:fd(), "w", 0.05) end
  end
end

-- Clients of stream.serve, which accepts and closes by itself.
function RECEIVE.stream() end
local function serve_streams(listener)
  local stream = require "llsocket.stream"
  stream.serve(listener, function(s)
    s:deadline(60)
    repeat local text = s:some(SIZE) until not text or not s:write(text)
  end)
end

-- A server of LuaSocket's face, as programs for LuaSocket are written: a byte is waited for, what came with it is taken along.
function RECEIVE.luasocket() end
local function echo_words(client)
  while true do
    client:settimeout(60)
    local text = client:receive(1)
    if not text then break end
    client:settimeout(0)
    local whole, _, part = client:receive(SIZE)
    client:settimeout(60)
    if not client:send(text .. (whole or part)) then break end
  end
  client:close()
  collectgarbage()
end

local function serve_words(server)
  while true do
    local client = server:accept()
    if client then loop.spawn(echo_words, client) else loop.sleep(0.05) end
  end
end

local function answer(sock)
  while sock:recvable() do
    local text, from = RECEIVE[WAY](sock)
    if text and from and from:addr() ~= "" then sock:sendto(text, from) end
    if WAY == "recvmsg" then collectgarbage() end
  end
end

local function address()
  local socktype = STREAM and L.SOCK_STREAM or L.SOCK_DGRAM
  if PATH then return assert(L.unix.getaddrinfo(PATH, socktype))[1] end
  return assert(L.inet.getaddrinfo("127.0.0.1", "0", socktype))[1]
end

if WAY == "luasocket" then
  local server = require("llsocket.luasocket").tcp()
  assert(server:bind("127.0.0.1", 0) and server:listen(128))
  print("listening on 127.0.0.1:" .. select(2, server:getsockname()))
  io.stdout:flush()
  loop.spawn(serve_words, server)
  return loop.run()
end
assert(RECEIVE[WAY], WAY)
local sock = assert(L.socket.new(address(), true))
local err = sock:bind() or STREAM and sock:listen()
if err then error(err) end
print("listening on " .. tostring(sock:getsockname()))
io.stdout:flush()
if WAY == "errors" then assert(sock:recverr(true) and sock:timestampns(true)) end
loop.spawn(WAY == "stream" and serve_streams or STREAM and serve or answer, sock)
loop.run()
