-- tls-ways: LuaSec takes a socket as it is; a stream over it in each loop and without one; luaossl in cqueues.
local L = require "llsocket"
local stream = require "llsocket.stream"
local example = require "example"
local leak = require "leak"
local loops = require "loops"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local show = require("show").show
local sys = require "sys"

local T = require("tap").plan(#loops.names * 6 + 23)
loops.settle()
local has_ssl, ssl = pcall(require, "ssl")
local has_luasec, luasec = pcall(require, "llsocket.stream.luasec")
local why = not has_ssl and "LuaSec is missing" or not example.has "openssl" and "openssl is missing" or nil
local before = leak.count()

-- What cannot be told of without LuaSec.
if why then
  T.ok(has_luasec or tostring(luasec):find "ssl", "without LuaSec the module says so")
  T.skip(#loops.names * 6 + 22, why)
  T.done()
end

proc.signal(proc.SIGPIPE, proc.SIG_IGN) -- LuaSec writes to closed connections
local dir = net.tmpdir()
proc.run(shell.format("cd %q && openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 "
  .. "-subj /CN=localhost", dir))
local SERVER = { mode = "server", protocol = "any", certificate = dir .. "/cert.pem", key = dir .. "/key.pem" }
local CLIENT = { mode = "client", protocol = "any", verify = "peer", cafile = dir .. "/cert.pem" }
local BIG = ("0123456789abcdef"):rep(40000)

-- setfd
local a, b = net.pair(L.SOCK_STREAM)
for _, fd in ipairs { 0, 1, -2, 2^31 } do
  T.is(select(2, a:setfd(fd)), L.EINVAL, "setfd(" .. fd .. ") is EINVAL")
end
local fd = a:fd()
T.is(select("#", a:setfd(-1)), 0, "setfd(-1) answers no values")
T.is(a:fd(), -1, "and gives the descriptor up")
T.is(select(2, a:setfd(-1)), L.EBADF, "a second time it is EBADF")
assert(L.socket.wrap(fd)):close()
b:close()

-- LuaSec alone, blocking.
local client, server = net.tcp()
local pid = proc.fork(function()
  client:close()
  local conn = assert(ssl.wrap(server, SERVER))
  assert(conn:dohandshake())
  local line = conn:receive "*l"
  conn:send(line:upper() .. "\n")
  conn:close()
end)
server:close()
local conn = assert(ssl.wrap(client, CLIENT))
T.is(client:fd(), -1, "ssl.wrap takes the descriptor of a socket as it is")
T.ok(conn:dohandshake(), "LuaSec shakes hands on it")
conn:send "hello\n"
T.is(conn:receive "*l", "HELLO", "and talks, blocking")
conn:close()
proc.wait(pid)

-- A stream over it.
local function serve(sock)
  local s = assert(luasec.secure(assert(stream.wrap(sock)), SERVER))
  s:write(s:line():upper(), "\r\n")
  s:write(s:exactly(#BIG))
  s:close()
end

local function talk(sock)
  local s = assert(stream.wrap(sock))
  s:deadline(20)
  local at = s.at
  s = assert(luasec.secure(s, CLIENT, "localhost"))
  assert(at and s.at == at, "the deadline holds on")
  assert(s:write("hel", "lo", "\n"))
  local line = s:line()
  s:write(BIG)
  local same = s:exactly(#BIG) == BIG
  local ended = select("#", s:line()) == 0
  s:close()
  return line, same, ended
end

client, server = net.tcp()
pid = proc.fork(function()
  client:close()
  serve(server)
end)
server:close()
local line, same = talk(client)
T.ok(line == "HELLO" and same, "without a loop a stream over TLS blocks")
proc.wait(pid)

-- Answers the name that a client asks for by SNI.
local function asked_by(name)
  local x, y = net.tcp()
  local child = proc.fork(function()
    y:close()
    luasec.secure(assert(stream.wrap(x)), CLIENT, name):close()
  end)
  x:close()
  local s = assert(luasec.secure(assert(stream.wrap(y)), SERVER))
  local asked = s.sock.conn:getsniname()
  s:close()
  proc.wait(child)
  return asked
end
T.is(asked_by "localhost", "localhost", "the server is told the name by SNI")
T.is(show(asked_by "127.0.0.1", asked_by "::1"), show(nil, nil), "and no address, which is no name in SNI")

-- Another coroutine closes a stream that waits.
local function close_while_it_waits(loop)
  local x, y = net.tcp(L.AF_INET, true)
  local e
  loop.spawn(function()
    local s = assert(luasec.secure(assert(stream.wrap(y)), SERVER))
    s:line()
    s:close()
  end)
  loop.spawn(function()
    local s = assert(luasec.secure(assert(stream.wrap(x)), CLIENT))
    local c, d = net.pair(L.SOCK_STREAM, true)
    loop.spawn(function()
      c:recvable(0.02)
      s:close()
      c:close(); d:close()
    end)
    s:deadline(20)
    e = select(3, s:line())
  end)
  loop.run()
  T.is(e, L.EBADF, loop.name .. ": a stream over TLS that is closed wakes its reader")
end

-- A handler that raises leaves its TLS stream to serve.
local function forgetful(loop)
  local lst, kept, ended = assert(stream.listen("127.0.0.1", 0)), nil, nil
  local ai = lst:getsockname()
  loop.spawn(function()
    stream.serve(lst, function(s)
      kept = assert(luasec.secure(s, SERVER))
      kept:line()
      lst:close()
      error "on purpose"
    end, { spawn = loop.spawn, onerror = function() end })
  end)
  loop.spawn(function()
    local s = assert(stream.connect(ai, 5))
    s:deadline(5)
    s = assert(luasec.secure(s, CLIENT))
    s:write "x\n"
    ended = select("#", s:line())
    s:close()
  end)
  loop.run()
  T.is(show(ended, select(3, kept:line())), ("0, %d"):format(L.EBADF), loop.name .. ": serve closes the TLS stream of a handler")
end

for _, name in ipairs(loops.names) do
  local loop, reason = loops.open(name)
  if loop then
    L.wait.set(loop.wait)
    local x, y = net.tcp(L.AF_INET, true)
    local ended
    line, same = nil, nil
    loop.spawn(function() serve(y) end)
    loop.spawn(function() line, same, ended = talk(x) end)
    loop.run()
    T.is(line, "HELLO", name .. ": a line goes there and back over TLS")
    T.ok(same, name .. ": so do 640,000 bytes")
    T.ok(ended, name .. ": the end is an end")
    local c, d = net.pair(L.SOCK_STREAM, true)
    local e
    loop.spawn(function()
      local plain = assert(stream.wrap(c))
      plain:deadline(0.05)
      e = select(3, luasec.secure(plain, CLIENT))
    end)
    loop.run()
    T.is(e, L.ETIMEDOUT, name .. ": a handshake without a peer runs out of time")
    d:close()
    close_while_it_waits(loop)
    forgetful(loop)
    L.wait.set()
  else T.skip(6, reason) end
end

-- A peer that reads late and writes nothing.
do
  local loop = require "llsocket.wait.coroutine"
  local x, y = net.pair(L.SOCK_STREAM, true)
  local done, got
  loop.spawn(function()
    local s = assert(luasec.secure(assert(stream.wrap(x)), SERVER))
    s:deadline(20)
    done = s:write(BIG, BIG, BIG)
    s:close()
  end)
  loop.spawn(function()
    local s = assert(luasec.secure(assert(stream.wrap(y)), CLIENT))
    loop.sleep(0.1)
    s:deadline(20)
    got = s:all()
    s:close()
  end)
  loop.run()
  T.ok(done, "a write waits for a peer that reads late, not for its bytes")
  T.ok(got == BIG:rep(3), "and all arrives")
end

-- A peer that goes without a close_notify, as an attacker would make it: LuaSec must not be asked again.
for _, way in ipairs { "line", "some", "all", "exactly" } do
  client, server = net.tcp()
  pid = proc.fork(function()
    client:close()
    local c = assert(ssl.wrap(server, SERVER))
    assert(c:dohandshake())
    c:send "half"
    sys.close(c:getfd())
  end)
  server:close()
  local cut = assert(stream.wrap(client))
  cut:deadline(10)
  cut = assert(luasec.secure(cut, CLIENT))
  local first = cut:some()
  local n = way == "exactly" and 100 or nil
  local got, text, no = cut[way](cut, n)
  local again = select(3, cut[way](cut, n))
  T.is(("%s %s %s %s"):format(first, tostring(got), tostring(no), tostring(again)),
    ("half nil %d %d"):format(L.EPROTO, L.EPROTO), way .. ": a connection that is cut off is EPROTO: " .. tostring(text))
  cut:close()
  proc.wait(pid)
end

-- Bytes before the handshake, and a peer that speaks no TLS.
a, b = net.pair(L.SOCK_STREAM, true)
local plain = assert(stream.wrap(a))
b:send "STARTTLS\nEVIL\n"
plain:line()
T.is(select(3, luasec.secure(plain, CLIENT)), L.EPROTO, "bytes that came before the handshake are refused")
b:close()
a, b = net.pair(L.SOCK_STREAM, true)
b:send "this is no TLS at all, and long enough to be a record\n"
T.is(select(3, luasec.secure(assert(stream.wrap(a)), CLIENT)), L.EPROTO, "a peer that speaks no TLS is EPROTO")
b:close()

-- luaossl, where cqueues does TLS.
local has_ossl, context = pcall(require, "openssl.ssl.context")
local has_cqueues, cqueues = pcall(require, "cqueues")
if has_ossl and has_cqueues then
  local socket = require "cqueues.socket"
  client, server = net.tcp(L.AF_INET, true)
  local got
  pid = proc.fork(function()
    client:close()
    server:nonblock(false)
    local c = assert(ssl.wrap(server, SERVER))
    assert(c:dohandshake())
    c:send(c:receive "*l":upper() .. "\n")
    c:close()
  end)
  server:close()
  local controller = cqueues.new()
  controller:wrap(function()
    local con = assert(socket.fdopen(client:unwrap()))
    con:starttls(context.new "TLS")
    con:write "luaossl\n"
    con:flush()
    got = con:read "*l"
    con:close()
  end)
  controller:loop()
  proc.wait(pid)
  T.is(got, "LUAOSSL", "cqueues takes a socket of llsocket, and luaossl does TLS on it")
else T.skip(1, has_cqueues and "luaossl is missing" or "cqueues is missing") end
net.cleanup()
collectgarbage(); collectgarbage()
T.is(leak.count(), before, "no descriptor is left")
T.done()
