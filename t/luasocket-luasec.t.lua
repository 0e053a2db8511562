-- luasocket-luasec: LuaSec's objects answer over the face, blocking and in a coroutine, what they answer over LuaSocket.
local T = require "tap"
local example = require "example"
local proc = require "proc"
local has_ssl, ssl = pcall(require, "ssl")
local why = not pcall(require, "socket.core") and "lua-socket is not installed" or not has_ssl and "LuaSec is missing"
  or not example.has "openssl" and "openssl is missing" or nil
if why then
  T.plan(1).skip(1, why)
  return T.done()
end
local face = require "llsocket.luasocket"
local leak = require "leak"
local loop = require "llsocket.wait.coroutine"
local luasec = require "llsocket.luasocket.luasec"
local net = require "net"
local shell = require "shell"
local show = require("show").show
local real = require "socket.core"

proc.signal(proc.SIGPIPE, proc.SIG_IGN) -- LuaSec writes to closed connections
local dir = net.tmpdir()
proc.run(shell.format("cd %q && openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 "
  .. "-subj /CN=localhost", dir))
local SERVER = { mode = "server", protocol = "any", certificate = dir .. "/cert.pem", key = dir .. "/key.pem" }
local CLIENT = { mode = "client", protocol = "any", verify = "peer", cafile = dir .. "/cert.pem" }
local BIG = ("0123456789abcdef"):rep(20000)
luasec.patch(ssl)

local before = leak.count()

-- The server: a process of its own, over LuaSocket, that answers each line.
local listener = assert(real.tcp4())
listener:bind("127.0.0.1", 0)
listener:listen(32)
local host, port = listener:getsockname()

local ANSWERS = {
  line = function(peer) peer:send "a line\r\nand half" end,
  big = function(peer) peer:send(BIG) end,
  slow = function(peer)
    for i = 1, 5 do
      peer:send(("x"):rep(i * 100))
      real.sleep(0.01)
    end
  end,
  silent = function() real.sleep(0.2) end,
}

local function serve()
  while true do
    local peer = ssl.wrap(listener:accept(), SERVER)
    if peer:dohandshake() then
      local what = peer:receive "*l"
      if ANSWERS[what] then ANSWERS[what](peer) elseif what == "upload" then peer:send(#peer:receive(#BIG) .. "\n") end
    end
    peer:close()
  end
end

-- What a client does: answers values.
local function client(socket, context, what)
  local plain = socket.tcp()
  assert(plain:connect(host, port))
  local conn = assert(ssl.wrap(plain, context))
  conn:settimeout(5)
  local done, err = conn:dohandshake()
  if what and done then conn:send(what .. "\n") end
  return conn, done, err
end

local CASES = {
  { "a handshake is done", function(socket)
    local conn, done, err = client(socket, CLIENT)
    conn:close()
    return done, err
  end },
  { "a certificate that nobody knows is refused", function(socket)
    local conn, done, err = client(socket, { mode = "client", protocol = "any", verify = "peer" })
    conn:close()
    return done, err
  end },
  { "lines come", function(socket)
    local conn = client(socket, CLIENT, "line")
    local line = conn:receive()
    local none, word, part = conn:receive "*l"
    conn:close()
    return line, none, word, part
  end },
  { "a prefix comes before a line", function(socket)
    local conn = client(socket, CLIENT, "line")
    local line = conn:receive("*l", "before ")
    conn:close()
    return line
  end },
  { "bytes come", function(socket)
    local conn = client(socket, CLIENT, "slow")
    local a, b, c = conn:receive(3), conn:receive(500), conn:receive(10, "0123456")
    local none, word, part = conn:receive(100000)
    conn:close()
    return a, #b, c, none, word, #part
  end },
  { "all comes", function(socket)
    local conn = client(socket, CLIENT, "big")
    local msg = conn:receive "*a"
    local none, word, part = conn:receive "*a"
    conn:close()
    return msg == BIG, none, word, part
  end },
  { "all comes behind a prefix", function(socket)
    local conn = client(socket, CLIENT, "slow")
    local msg = conn:receive("*a", "pre")
    conn:close()
    return #msg, msg:sub(1, 5)
  end },
  { "a large record comes whole", function(socket)
    local conn = client(socket, CLIENT, "big")
    local msg = conn:receive(#BIG)
    conn:close()
    return msg == BIG
  end },
  { "a large string is sent whole", function(socket)
    local conn = client(socket, CLIENT, "upload")
    local last, err = conn:send(BIG)
    local said = conn:receive()
    conn:close()
    return last, err, said
  end },
  { "a part is sent from i to j", function(socket)
    local conn = client(socket, CLIENT)
    local last = conn:send("xline\n", 2, 6)
    local line = conn:receive()
    conn:close()
    return last, line
  end },
  { "a time limit ends a wait", function(socket)
    local conn = client(socket, CLIENT, "silent")
    conn:settimeout(0.02)
    local none, word, part = conn:receive()
    conn:close()
    return none, word, part
  end },
  { "with a limit of 0 nothing waits", function(socket)
    local conn = client(socket, CLIENT, "silent")
    conn:settimeout(0)
    local none, word, part = conn:receive "*a"
    conn:close()
    return none, word, part
  end },
}

T.plan(#CASES * 2 + 2)
local pid = proc.fork(serve)
for _, case in ipairs(CASES) do
  local name, run = case[1], case[2]
  local wanted = show(run(real))
  T.is(show(run(face)), wanted, ("%s: %s"):format(name, wanted))
  local got
  loop.spawn(function() got = show(run(face)) end)
  loop.run()
  T.is(got, wanted, name .. ", in a coroutine")
end
proc.kill(pid, proc.SIGKILL)
proc.wait(pid)
local plain = face.tcp4()
local conn = ssl.wrap(plain, SERVER)
T.ok(type(conn) == "table" and plain:getfd() == -1, "a connection is an object of the face, and has the descriptor")
conn:close()
listener:close()
net.cleanup()
T.is(leak.count(), before, "no descriptor is left")
T.done()
