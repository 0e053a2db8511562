-- cosocket-tls: sslhandshake over LuaSec: names, trust, a client's certificate, time limits, the pool; and what it says
-- without LuaSec.
local cosocket = require "llsocket.cosocket"
local loop = require "llsocket.wait.coroutine"
local stream = require "llsocket.stream"
local example = require "example"
local leak = require "leak"
local net = require "net"
local proc = require "proc"
local shell = require "shell"
local T = require("tap").plan(37)

local has_luasec, luasec = pcall(require, "llsocket.stream.luasec")
local why = not has_luasec and "LuaSec is missing" or not example.has "openssl" and "openssl is missing" or nil
local before = leak.count()

local function in_loop(fn)
  loop.spawn(fn)
  loop.run()
end

-- Without LuaSec: another process, which cannot find it.
local WITHOUT = [[
package.preload["ssl"] = function() error "module 'ssl' is not here" end
local cosocket, stream = require "llsocket.cosocket", require "llsocket.stream"
local listener = stream.listen("127.0.0.1", 0)
local sock = cosocket.tcp()
sock:connect("127.0.0.1", listener:getsockname():port())
print(sock:sslhandshake())
print(sock:close())]]
T.ok(proc.lua(WITHOUT):find("^nil\tsslhandshake needs LuaSec, which is not there: .*ssl.*\n1\n"),
  "without LuaSec sslhandshake says so, and the socket stays open")
if why then
  T.skip(33, why)
  T.done()
end

proc.signal(proc.SIGPIPE, proc.SIG_IGN) -- LuaSec writes to closed connections
local dir = net.tmpdir()
local MAKE = "cd %q && openssl req -x509 -newkey rsa:2048 -nodes -keyout %s.key -out %s.pem -days 2 -subj /CN=%s %s"
local function certificate(name, subject, more)
  assert(select(2, proc.run(shell.format(MAKE, dir, name, name, subject, more))))
  return { mode = "server", protocol = "any", certificate = dir .. "/" .. name .. ".pem", key = dir .. "/" .. name .. ".key" }
end
local PLAIN = certificate("plain", "localhost", "")
local NAMED = certificate("named", "ignored", "-addext 'subjectAltName=DNS:one.test,DNS:*.two.test,DNS:*,DNS:a*.three.test'")
local WANTS = { mode = "server", protocol = "any", certificate = PLAIN.certificate, key = PLAIN.key, cafile = NAMED.certificate,
  verify = { "peer", "fail_if_no_peer_cert" } }

-- A server of lines over TLS, for each of the parameters; answers its port and how to end it.
local function start(parameters)
  local listener = assert(stream.listen("127.0.0.1", 0))
  local port = listener:getsockname():port()
  local pid = proc.fork(function()
    stream.serve(listener, function(s)
      s:deadline(10)
      local secured = luasec.secure(s, parameters)
      if not secured then return end
      for line in secured:lines() do
        if line == "bye" then break end
        secured:write(line:upper(), "\r\n", line == "more" and "and more" or "")
      end
      secured:close()
    end, { onerror = function() end })
  end)
  listener:close()
  return port, function()
    proc.kill(pid)
    proc.reap(pid)
  end
end

local plain, stop_plain = start(PLAIN)
local named, stop_named = start(NAMED)
local wants, stop_wants = start(WANTS)

local function connect(port, pool)
  local sock = cosocket.tcp()
  sock:settimeouts(3000, 3000, 3000)
  assert(sock:connect("127.0.0.1", port, pool and { pool = pool }))
  return sock
end

-- A handshake, and a line; answers what both answer.
local function try(port, ...)
  local sock = connect(port)
  local session, err = sock:sslhandshake(...)
  if not session then return tostring(err), sock:close() end
  sock:send "hello\n"
  local line = sock:receive()
  sock:close()
  return line
end

local function trusting(name) cosocket.configure { trusted_certificate = dir .. "/" .. name .. ".pem" } end

in_loop(function()
  local sock = connect(plain)
  T.is(sock:sslhandshake(), true, "a handshake without verification")
  T.is(sock:sslhandshake(), true, "a second one does nothing")
  T.is(sock:send { "hello", "\n" }, 6, "send")
  T.is(sock:receive(), "HELLO", "receive a line")
  sock:send "more\n"
  T.is(sock:receiveuntil " more"(), "MORE\r\nand", "receiveuntil")
  T.is(sock:setoption("keepalive", 1), true, "an option")
  T.is(sock:getoption "keepalive", 1, "reaches the socket below")
  sock:settimeout(50)
  T.is(select(2, sock:receive()), "timeout", "a time limit")
  sock:settimeout(3000)
  T.is(sock:send "again\n" and sock:receive(), "AGAIN", "leaves it open")
  sock:send "bye\n"
  T.is(select(2, sock:receive()), "closed", "the end")
  T.is(sock:close(), 1, "close")

  T.is(try(plain, nil, "localhost", true), "18: self-signed certificate", "a certificate that nobody trusts")
  T.is(select(2, try(plain, nil, "localhost", true)), nil, "and the socket is closed")
  trusting "plain"
  T.is(try(plain, nil, "localhost", true), "HELLO", "one that is trusted")
  T.is(try(plain, nil, "LOCALHOST", true), "HELLO", "names in capitals are the same")
  T.is(try(plain, nil, "other.test", true), "certificate host mismatch", "one of another name")
  T.is(try(plain, nil, "other.test", false), "HELLO", "which matters only where it is verified")
  T.is(try(plain, false, nil, true), "HELLO", "trust without a name")
  trusting "named"
  T.is(try(named, nil, "one.test", true), "HELLO", "a name of the extension")
  T.is(try(named, nil, "any.two.test", true), "HELLO", "with an asterisk for one label")
  T.is(try(named, nil, "a.b.two.test", true), "certificate host mismatch", "but not for two")
  T.is(try(named, nil, "two.test", true), "certificate host mismatch", "nor for none")
  T.is(try(named, nil, "abc.three.test", true), "certificate host mismatch", "an asterisk in a label counts for nothing")
  T.is(try(named, nil, "ignored", true), "certificate host mismatch", "nor does the subject, nor a lone asterisk")

  sock = cosocket.tcp()
  T.is(select(2, sock:setclientcert("x")), "client certificate must be supplied with corresponding private key",
    "a client's certificate needs its key")
  T.is(sock:setclientcert(), true, "nothing clears both")
  T.ok(sock:setclientcert(NAMED.certificate, NAMED.key), "files are taken")
  sock:settimeouts(3000, 3000, 3000)
  sock:connect("127.0.0.1", wants)
  T.is(sock:sslhandshake() and sock:send "hello\n" and sock:receive(), "HELLO", "and shown to the server")
  sock:close()

  sock = connect(plain, "tls")
  sock:sslhandshake()
  sock:send "one\n"
  sock:receive()
  T.is(sock:setkeepalive(1000), 1, "a connection over TLS goes into the pool")
  sock = connect(plain, "tls")
  T.is(sock:getreusedtimes() .. tostring(sock:sslhandshake()), "1true", "and comes from there with its TLS")
  T.is(sock:send "two\n" and sock:receive(), "TWO", "and works")
  sock:close()

  local silent = assert(stream.listen("127.0.0.1", 0))
  sock = cosocket.tcp()
  sock:settimeout(60)
  sock:connect("127.0.0.1", silent:getsockname():port())
  T.is(select(2, sock:sslhandshake()), "timeout", "a server that is silent")
  silent:close()

  local logged
  cosocket.configure { log_errors = true, log = function(_, text) logged = text end }
  local nonsense = assert(stream.listen("127.0.0.1", 0))
  loop.spawn(stream.serve, nonsense, function(s) s:write "this is no TLS\n" s:some() end)
  sock = connect(nonsense:getsockname():port())
  T.is(select(2, sock:sslhandshake()), "handshake failed", "a server that speaks no TLS")
  T.ok(logged and logged:find "^SSL handshake failed: ", "what OpenSSL says goes to the log")
  nonsense:close()
  cosocket.configure { log_errors = false, trusted_certificate = "/nowhere/x.pem" }
  T.ok(try(plain, nil, "localhost", true):find "CA", "a file that is not there is told as LuaSec tells it")
end)

stop_plain()
stop_named()
stop_wants()
cosocket.sweep()
net.cleanup()
for _ = 1, 3 do collectgarbage() end
T.is(leak.count(), before, "no descriptor is left")
T.done()
